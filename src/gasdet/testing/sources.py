"""The folder of a plugin's source to the name under which it is installed."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path

import importlib_metadata

from gasdet.errors import UsageError
from gasdet.hookspecs import PROJECT

_INSTALLED = {"site-packages", "dist-packages"}


def plugin_of(text: str) -> str:
    """What to look for in the registry: the text itself, or, where it is a folder with a pyproject.toml, its distribution.

    Raises:
        UsageError: It is a path and no folder, a folder without a usable pyproject.toml, what it holds is not installed, or
            what is installed under that name is other code.
    """
    folder = Path(text).expanduser()
    if not text.startswith((".", "/", "~")) and not ("/" in text and folder.is_dir()):
        return text
    if not folder.is_dir():
        raise UsageError(f"there is no folder {text}; give a plugin's name or the folder of its source.")
    file = folder / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        name = str(project["name"])
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(
            f"{file} is no pyproject.toml with a project's name; give the folder of a plugin's source."
        ) from None
    entries = project.get("entry-points", {}).get(PROJECT)
    if not entries:
        raise UsageError(f"{file} has no entry point in the group {PROJECT!r}, so that it is no plugin.")
    try:
        importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:
        raise UsageError(f"{name} is not installed here; install it with: {_install(folder)}.") from None
    for module in dict.fromkeys(str(value).partition(":")[0] for value in entries.values()):
        _check_same(module, folder, name)
    return re.sub(r"[-_.]+", "-", name).lower()


def _install(folder: Path) -> str:
    return f"pip install -e {shlex.quote(str(folder))}"


def _check_same(module: str, folder: Path, name: str) -> None:
    """Refuse a folder whose code is not what an import of the module gives: the kit would check that other code."""
    imported = module.partition(".")[0]
    origin = _origin(imported)
    if origin is None:  # a namespace that several distributions share
        imported, origin = module, _origin(module)
    if origin is None:
        return
    package = origin.parent if origin.name == "__init__.py" else origin
    below = Path(*imported.split(".")).parent / package.name
    here = next((p.resolve() for p in (folder / "src" / below, folder / below) if p.exists()), None)
    if here is None:
        # an editable installation of a layout that is not known here; but a copy in the folder's own .venv is no source
        inside = origin.is_relative_to(folder.resolve())
        if inside and not _INSTALLED & set(origin.relative_to(folder.resolve()).parts):
            return
        raise UsageError(
            f"the {name} that is installed here is that of {package}, and cannot be compared with {folder}, which has no "
            f"{below} nor {Path('src') / below}; give the name {name} to check what is installed."
        )
    if origin.is_relative_to(here):
        return
    # installed from a wheel: what the folder's package has is to be there too; a build may add files of its own
    built = _code(package)
    if any(built.get(path) != content for path, content in _code(here).items()):
        raise UsageError(
            f"the {name} that is installed here is that of {package}, and the code in {folder} is not the same; "
            f"install it with: {_install(folder)}."
        )


def _origin(module: str) -> Path | None:
    """The file that an import would take; None where there is none, which the registry then says."""
    try:
        found = importlib.util.find_spec(module)
    except Exception:  # a package's __init__ may raise anything
        return None
    return Path(found.origin).resolve() if found is not None and found.origin else None


def _code(path: Path) -> dict[str, bytes]:
    """Content of each Python file by its path below."""
    files: Iterable[Path] = path.rglob("*.py") if path.is_dir() else (path,)
    # editors leave dangling links there, e.g. .#loss.py
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files if file.is_file()}
