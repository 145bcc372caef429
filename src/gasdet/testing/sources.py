"""The folder of a plugin's source to the name under which it is installed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import importlib_metadata

from gasdet.errors import UsageError
from gasdet.hookspecs import PROJECT


def plugin_of(text: str) -> str:
    """What to look for in the registry: the text itself, or, where it is a folder with a pyproject.toml, its distribution.

    Raises:
        UsageError: It is a path and no folder, a folder without a usable pyproject.toml, or what it holds is not installed.
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
    if not project.get("entry-points", {}).get(PROJECT):
        raise UsageError(f"{file} has no entry point in the group {PROJECT!r}, so that it is no plugin.")
    try:
        importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:
        raise UsageError(f"{name} is not installed here; install it with: pip install -e {text}.") from None
    return re.sub(r"[-_.]+", "-", name).lower()
