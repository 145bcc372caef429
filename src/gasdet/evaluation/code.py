"""Hashes of code that decides a result, so that nobody has to remember to raise a version number."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from gasdet.registry import load_target

_ROOT = Path(__file__).resolve().parents[1]


def packages_sha256(targets: Iterable[str]) -> str:
    """SHA-256 over all Python files of the packages that some components are in; gasdet, which has a version, is left out.

    Args:
        targets: Import paths of the components.

    Raises:
        PluginError: One cannot be imported.
    """
    digest = hashlib.sha256()
    for root in sorted({_package(target.partition(":")[0]) for target in targets} - {"gasdet"}):
        for name, path in _sources(root):
            digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def modules_sha256(modules: Iterable[str]) -> str:
    """SHA-256 over the source files of some modules of gasdet, by their names."""
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\0".encode() + hashlib.sha256(_file(name).read_bytes()).digest())
    return digest.hexdigest()


def reached_from(*modules: str, stop: Collection[str] = ()) -> frozenset[str]:
    """The modules of gasdet that some of them import, directly or through others, at their beginning or in a function.

    With a module come the packages that it is in, but for gasdet itself. What only a type checker imports does not count.

    Args:
        modules: Where to begin; they count too.
        stop: Modules that count, but not what they import.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name not in stop:
                waiting.extend(_imported(name))
    return frozenset(found)


def _imported(module: str) -> Iterator[str]:
    file = _file(module)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(file.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]  # each of them may be a module
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "gasdet" and _file(name).is_file():
                parts = name.split(".")
                yield from (".".join(parts[:count]) for count in range(min(2, len(parts)), len(parts) + 1))


def _file(module: str) -> Path:
    """Where a module of gasdet is, if it is one."""
    place = _ROOT.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")


def _package(module: str) -> str:
    """The outermost package of a module that has code of its own; of a namespace package, the part that has."""
    load_target(module)
    parts = module.split(".")
    names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return next((name for name in names if getattr(sys.modules.get(name), "__file__", None)), module)


def _sources(root: str) -> Iterator[tuple[str, Path]]:
    """Name and path of each source file of a package, or of a module that is in none."""
    spec = importlib.util.find_spec(root)
    if spec is None or spec.origin is None:
        return
    if spec.submodule_search_locations is None:
        yield root, Path(spec.origin)
        return
    for folder in map(Path, spec.submodule_search_locations):
        for path in sorted(folder.rglob("*.py")):
            yield f"{root}/{path.relative_to(folder).as_posix()}", path
