"""From a name, a modality and a kind to the files of a plugin that works as it is."""

from __future__ import annotations

import re
import string
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import importlib_metadata

from gasdet.errors import UsageError
from gasdet.hookspecs import HOOKS
from gasdet.registry import load_registry
from gasdet.types import Kind, Modality
from gasdet.version import __version__

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40
"""Letters of a name: it stands in file names, in lines of code and in the names of wheels."""

_TARGETS = {"metric": "metric", "loss": "loss", "calibrator": "Calibrator", "preprocessor": "find"}
"""What a component is called in its module. The plugin's name could be a keyword there, or hide what the code uses."""

_SIZES = {
    Modality.IMAGE: {"size": "width", "tensor": "stem.weight", "default": "16"},
    Modality.VIDEO: {"size": "width", "tensor": "stem.weight", "default": "16"},
    Modality.AUDIO: {"size": "hidden", "tensor": "hidden.weight", "default": "32"},
}
"""The one size of each network that its weights tell."""

_EXTRA = {"metric": "    higher_is_better=False,\n    bounds=(0.0, 1.0),\n"}
"""Fields of a component's spec that only its kind has."""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A plugin that was written.

    Attributes:
        folder: Where it lies.
        name: Of its detector or component.
        files: Below the folder, sorted.
    """

    folder: Path
    name: str
    files: tuple[str, ...]


def write_plugin(
    name: str, *, kind: Kind = "detector", modality: Modality = Modality.IMAGE, out: Path | None = None
) -> Scaffold:
    """Write a plugin.

    Args:
        name: Of the detector or component: at most 40 lower case letters, digits and hyphens, a letter first. The package is
            called ``gasdet-NAME``.
        kind: What it brings.
        modality: What its detector takes; of no effect for other kinds.
        out: The folder to make; None is ``gasdet-NAME`` in the working directory.

    Raises:
        UsageError: The name is unusable or taken, or the folder is there already or cannot be written.
    """
    _check_name(name, kind)
    folder = Path(f"gasdet-{name}") if out is None else out
    _check_place(folder)
    files = _files(name, kind, modality)
    try:
        _write(folder, files)
    except (OSError, ValueError) as error:  # ValueError: a null byte in a path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{folder} cannot be written ({reason}); name another folder with --out.") from None
    return Scaffold(folder, name, tuple(sorted(files)))


def _check_place(folder: Path) -> None:
    try:
        if folder.exists() or folder.is_symlink():
            raise UsageError(f"{folder} is there already; name another folder with --out, or remove it.")
        if not folder.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {folder.absolute().parent} to write the plugin into; make it first.")
    except (OSError, ValueError) as error:  # a part of it is longer than the system allows, or holds what no name can
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{folder} cannot be a folder ({reason}); name another one with --out.") from None


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """All files or none: they are written beside the folder, and renamed."""
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".gasdet-plugin-") as pending:
        whole = Path(pending) / "plugin"
        for path, content in files.items():
            target = whole / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
        whole.rename(folder)


def _check_name(name: str, kind: Kind) -> None:
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").lstrip("0123456789-")
        hint = f", such as {near!r}" if _NAME.fullmatch(near) else ""
        raise UsageError(
            f"{name!r} is no name for a plugin: take lower case letters, digits and single hyphens, a letter first{hint}."
        )
    if len(name) > _LONGEST:
        raise UsageError(
            f"a plugin's name has at most {_LONGEST} letters, and {name[:20]!r}… has {len(name)}; shorten it."
        )
    registry = load_registry()
    entries = registry.detectors() if kind == "detector" else registry.components(kind)
    taken = next((entry for entry in entries if entry.spec.name == name), None)
    if taken is not None:
        raise UsageError(f"there is a {kind} called {name!r} already, of {taken.plugin.origin}; choose another name.")
    package = f"gasdet-{name}"
    try:
        found = importlib_metadata.distribution(package)
    except importlib_metadata.PackageNotFoundError:
        return
    raise UsageError(f"a package {package} {found.version} is installed here already; choose another name.")


def _files(name: str, kind: Kind, modality: Modality) -> dict[str, str]:
    """The files' contents by their paths below the plugin's folder."""
    module = f"gasdet_{name.replace('-', '_')}"
    words = {
        "name": name,
        "package": f"gasdet-{name}",
        "module": module,
        "target": _TARGETS.get(kind, ""),
        "kind": kind,
        "modality": str(modality),
        "modality_constant": modality.name,
        "requires": _requires(),
        "hook": HOOKS["model" if kind == "detector" else kind],
        "extra": _EXTRA.get(kind, ""),
        **_SIZES[modality],
    }
    own = "detector" if kind == "detector" else "component"
    common = {
        "pyproject.toml": f"{own}/pyproject.toml",
        "README.md": f"{own}/README-{kind}.md" if kind != "detector" else "detector/README.md",
        "LICENSE": "LICENSE",
        ".gitignore": "gitignore",
        ".github/workflows/test.yml": "test.yml",
        f"src/{module}/__init__.py": "init.py",
        f"src/{module}/plugin.py": f"{own}/plugin.py",
        "tests/test_conformance.py": f"{own}/test_conformance.py",
    }
    if kind == "detector":
        common |= {
            f"src/{module}/recipe.py": f"detector/recipe-{modality}.py",
            f"src/{module}/training.py": "detector/training.py",
            "tests/test_model.py": f"detector/test_model-{modality}.py",
        }
        network = _filled(f"detector/network-{modality}.py", words)
        files = {f"src/{module}/model.py": network + _filled("detector/loading.py", words)}
    else:
        files = {f"src/{module}/{kind}.py": _filled(f"component/{kind}.py", words)}
    files |= {path: _filled(template, words) for path, template in common.items()}
    return {**files, f"src/{module}/py.typed": ""}


def _requires() -> str:
    """The versions of the core that a plugin written by this one is made for: this minor version, below the next major."""
    major, minor = __version__.split(".")[:2]
    return f">={major}.{minor},<{int(major) + 1}"


def _filled(template: str, words: dict[str, str]) -> str:
    text = resources.files("gasdet.scaffold").joinpath("templates", f"{template}.tmpl").read_text(encoding="utf-8")
    return string.Template(text).substitute(words)
