"""From a plugin's detector or a bundle's folder to a `Detector`."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import itertools
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

from gasdet.bundle.archive import unpack_bundle
from gasdet.bundle.codecheck import check_file
from gasdet.bundle.config import CODE_NAME, CONFIG_NAME, BundleConfig, read_config, weights_in
from gasdet.bundle.delta import read_delta
from gasdet.bundle.detector import Detector, WeightsInfo
from gasdet.bundle.fidelity import check_complete, check_used, has_foreign_names
from gasdet.bundle.safefile import Header, read_header, sha256_of
from gasdet.bundle.weights import ResolvedWeights
from gasdet.errors import BundleError, GasdetError, GasdetWarning, PluginError, WeightsError, first_line
from gasdet.types import DetectorSpec, Modality, Preprocessing

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "flash_attn": "flash-attn",
}
_SEES_DTYPE = frozenset(
    ("uint8", "to_dtype", "ToDtype", "convert_image_dtype", "ConvertImageDtype", "is_floating_point", "to_pil_image")
)
"""Names in a model.py that treat whole-number pixels and floating-point pixels differently."""

_serial = itertools.count()


def load_bundle(path: str | Path, *, trust_code: bool = False) -> Detector:
    """Load a model bundle: a folder or zip with model_config.yaml, model.py and a safetensors file.

    Its code is checked first, always; it runs only if `trust_code` says so. What runs is the very text that was checked.

    Args:
        path: The folder or zip.
        trust_code: The user's word that the bundle's code may run with all of the user's rights.

    Raises:
        BundleError: Something is missing, the code check refuses model.py, the code may not run, or load_model fails.
        ConfigError: model_config.yaml has problems; all are listed.
        WeightsError: A safetensors file is none or damaged, or load_model did not load it.
    """
    given = Path(path).expanduser()
    folder = bundle_folder(given)
    config = read_config(
        folder / CONFIG_NAME, default_name=given.resolve().stem if given.is_file() else given.resolve().name
    )
    code, weights = folder / CODE_NAME, _weights_of(folder, config)
    tree = check_file(code)
    headers = {file: read_header(file) for file in sorted({weights, *folder.glob("*.safetensors")})}
    if read_delta(weights) is not None:
        raise BundleError(
            f"{weights} is a delta file, and a bundle holds whole weights; run it with --plugin and --weights, or export it."
        )
    if not trust_code:
        raise BundleError(
            f"{given} brings its own code: {CODE_NAME} passed the code check, which is no sandbox, and would run with all your "
            "rights; read it, then add --trust-code to run it."
        )
    notes: list[str] = []
    model_sha256 = sha256_of(code)
    with _quiet_and_restored():
        module = _execute(tree, code)
        try:
            function = _load_function(module, code)
            kwargs = _kwargs_like_gasbench(function, config, code, notes)
            network = _call(function, weights, kwargs, who=config.name, code=code)
            notes += check_used(network, headers[weights], weights, who=config.name)
        except BaseException:
            del sys.modules[module.__name__]
            raise
        weakref.finalize(network, sys.modules.pop, module.__name__, None)
    detector = Detector(
        name=config.name,
        modality=config.modality,
        preprocessing=config.preprocessing,
        module=network.eval(),
        num_classes=config.num_classes,
        dtype=config.dtype,
        input_dtype=_input_dtype(config, tree, notes),
        weights=WeightsInfo(weights.name, "bundle", weights, sha256_of(weights), config.licence, str(given)),
        origin=str(given),
        model_sha256=model_sha256,
        model_kwargs=kwargs,
        version=config.version,
        files={name: sha256_of(file) for name, file in _deciding_files(folder, headers)},
        libraries=libraries_of(tree),
        notes=tuple(notes),
    )
    for note in notes:
        warnings.warn(f"{config.name}: {note}.", GasdetWarning, stacklevel=2)
    return detector.to("cpu")


def load_detector(spec: DetectorSpec, weights: ResolvedWeights, *, origin: str) -> Detector:
    """Load an installed plugin's detector with weights that `resolve_weights` found.

    Args:
        spec: What the plugin registered.
        weights: The file, and what it needs over the detector's own model and preprocessing keys.
        origin: Distribution and version of the plugin.

    Raises:
        PluginError: The plugin's model module does not import, or has no load_model that takes these arguments.
        ConfigError: The preprocessing keys are unusable.
        WeightsError: The file does not fit the model: tensors missing, unexpected, misshapen, or not loaded.
        BundleError: load_model fails otherwise.
    """
    header = read_header(weights.path)
    preprocessing = Preprocessing.from_mapping(
        spec.modality, {**spec.preprocessing, **weights.preprocessing}, where=f"preprocessing of {spec.name}"
    )
    with _quiet_and_restored():
        module, code = _import_target(spec, origin)
        function = _load_function(module, code)
        kwargs = {**spec.model, **weights.model}
        try:
            inspect.signature(function).bind(str(weights.path), **kwargs)
        except TypeError as error:
            raise PluginError(
                f"load_model of {spec.name} ({code}) does not take what {origin} registers for it: {error}."
            ) from None
        network = _call(function, weights.path, kwargs, who=spec.name, code=code)
        notes = _check_weights(module, network, header, weights.path, who=spec.name)
    detector = Detector(
        name=spec.name,
        modality=Modality(spec.modality),
        preprocessing=preprocessing,
        module=network.eval(),
        num_classes=int(kwargs.get("num_classes", 2)),
        dtype=weights.dtype,
        input_dtype=weights.input_dtype,
        weights=WeightsInfo(
            weights.name,
            weights.kind,
            weights.path,
            weights.sha256,
            weights.licence,
            weights.source or str(weights.path),
            weights.given,
            {"source": weights.delta.base.source, "sha256": weights.delta.base.sha256} if weights.delta else {},
        ),
        origin=origin,
        model_sha256=sha256_of(code),
        model_kwargs=kwargs,
        libraries=libraries_of(ast.parse(code.read_bytes())),
        notes=tuple(notes),
    )
    return detector.to("cpu")


# --- a bundle's files ----------------------------------------------------------------------------------------------


def bundle_folder(given: Path) -> Path:
    """The folder of a bundle, of a zip that of its unpacked files.

    Raises:
        BundleError: There is no such file, or it is no bundle.
    """
    if not given.exists():
        raise BundleError(f"{given} does not exist; give the folder or zip of a bundle.")
    folder = given if given.is_dir() else unpack_bundle(given)
    missing = [name for name in (CONFIG_NAME, CODE_NAME) if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"{given} is no bundle: it lacks {' and '.join(missing)}.")
    return folder


def _weights_of(folder: Path, config: BundleConfig) -> Path:
    if config.weights_file is not None and not (folder / config.weights_file).is_file():
        raise BundleError(f"{folder} lacks the weights_file that its {CONFIG_NAME} names, {config.weights_file!r}.")
    chosen = weights_in(folder, config.weights_file)
    if chosen is not None:
        return chosen
    files = sorted(folder.glob("*.safetensors"))
    found = f"several safetensors files ({', '.join(f.name for f in files)})" if files else "no safetensors file"
    raise BundleError(f"{folder} has {found}; name the weights with 'weights_file' under 'model:' in {CONFIG_NAME}.")


def _deciding_files(folder: Path, headers: Mapping[Path, Header]) -> Iterator[tuple[str, Path]]:
    for name in (CONFIG_NAME, CODE_NAME, "config.json"):
        if (folder / name).is_file():
            yield name, folder / name
    for file in headers:
        yield file.relative_to(folder).as_posix(), file


def _input_dtype(config: BundleConfig, tree: ast.Module, notes: list[str]) -> str:
    """What forward is handed where the configuration does not say: float32, or uint8 as in GASBench if it may matter."""
    if config.input_dtype is not None:
        return config.input_dtype
    seen = _signs_of_dtype(tree)
    if config.modality is Modality.AUDIO or not seen:
        return "float32"
    notes.append(
        f"{CODE_NAME} looks at its input's dtype ({', '.join(sorted(seen))}) and {CONFIG_NAME} states no input_dtype: it gets "
        "uint8, as GASBench hands it"
    )
    return "uint8"


def _signs_of_dtype(tree: ast.Module) -> set[str]:
    """What in a model.py may treat whole-number pixels and floating-point pixels differently."""
    signs: set[str] = set()
    inputs: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "forward" and len(node.args.args) > 1:
            inputs.add(node.args.args[1].arg)
        signs |= _SEES_DTYPE & {getattr(node, key, "") for key in ("id", "attr", "name")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "dtype" and isinstance(node.value, ast.Name):
            signs |= {f"{node.value.id}.dtype"} if node.value.id in inputs else set()
    return signs


# --- running code that others wrote --------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet_and_restored() -> Iterator[None]:
    """Keep what a model's code prints off stdout, and torch's global settings as they were."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _execute(tree: ast.Module, code: Path) -> ModuleType:
    """Run a checked model.py as a module of its own, so that two bundles never meet in sys.modules.

    The tree that was checked is what is compiled; the file is not read again, and no __pycache__ is written beside it.
    """
    name = f"_gasdet_bundle_{next(_serial)}"
    spec = importlib.util.spec_from_file_location(name, code)
    assert spec is not None  # because the file's name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, typing and torch.jit look their modules up there
    try:
        exec(compile(tree, str(code), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, ModuleNotFoundError):
            raise BundleError(f"{code} needs the package {error.name!r}, which is not installed here.") from error
        raise BundleError(f"{code} fails when it is imported: {_described(error, code)}.") from error
    return module


def _import_target(spec: DetectorSpec, origin: str) -> tuple[ModuleType, Path]:
    """A plugin's model module and the file that it came from."""
    try:
        module = importlib.import_module(spec.target)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and not spec.target.startswith(error.name):
            what = f"needs the package {error.name!r}, which is not installed here"
        else:
            what = f"does not import ({type(error).__name__}: {first_line(error)})"
        raise PluginError(f"{spec.target}, the model of {spec.name} ({origin}), {what}.") from error
    file = inspect.getsourcefile(module)
    if file is None:
        raise PluginError(f"{spec.target}, the model of {spec.name} ({origin}), has no source file.")
    return module, Path(file)


def _load_function(module: ModuleType, code: Path) -> Callable[..., Any]:
    function = getattr(module, "load_model", None)
    if not callable(function):
        raise BundleError(f"{code} defines no function load_model(weights_path, num_classes=2, **model).")
    return function  # type: ignore[no-any-return]


def _kwargs_like_gasbench(
    function: Callable[..., Any], config: BundleConfig, code: Path, notes: list[str]
) -> dict[str, Any]:
    """The keyword arguments for a bundle's load_model: all of ``model:``, or num_classes alone if it does not take them."""
    kwargs = dict(config.model)
    signature = inspect.signature(function)
    try:
        signature.bind("weights_path", **kwargs)
    except TypeError:
        only = {"num_classes": config.num_classes}
        try:
            signature.bind("weights_path", **only)
        except TypeError as error:
            raise BundleError(
                f"load_model{signature} in {code} takes neither the keys under 'model:' nor num_classes ({error}); "
                "its form is load_model(weights_path, num_classes=2, **model)."
            ) from None
        left_out = ", ".join(repr(key) for key in kwargs if key != "num_classes")
        if left_out:
            notes.append(
                f"load_model{signature} does not take {left_out} of {CONFIG_NAME}: it gets num_classes only, as in GASBench"
            )
        return only
    return kwargs


def _check_weights(module: ModuleType, network: torch.nn.Module, header: Header, path: Path, *, who: str) -> list[str]:
    """Hold a plugin's model to its file, by name unless model.py says that the file has names of its publisher's.

    Such a file is one for which ``is_foreign(names)`` of model.py is true: ``load_model`` renames and converts its tensors, and
    answers for that none is missing or left over.
    """
    if has_foreign_names(module, header.tensors):
        return check_used(network, header, path, who=who)
    check_complete(network, header, path, who=who)
    return []


def _call(
    function: Callable[..., Any], weights: Path, kwargs: Mapping[str, Any], *, who: str, code: Path
) -> torch.nn.Module:
    try:
        network = function(str(weights), **kwargs)
    except GasdetError:
        raise
    except (Exception, SystemExit) as error:
        text = _described(error, code)
        if isinstance(error, SafetensorError) or "state_dict" in str(error) or str(weights) in str(error):
            raise WeightsError(f"load_model of {who} cannot use {weights}: {text}.") from error
        if isinstance(error, ModuleNotFoundError):
            raise BundleError(f"{code} needs the package {error.name!r}, which is not installed here.") from error
        raise BundleError(f"load_model of {who} fails: {text}.") from error
    if not isinstance(network, torch.nn.Module):
        raise BundleError(f"load_model in {code} must return a torch.nn.Module, not a {type(network).__name__}.")
    return network


def _described(error: BaseException, code: Path) -> str:
    """An error in one line: its type, its message (state_dict errors have several lines that matter), and where in `code`."""
    message = " ".join(line.strip() for line in str(error).splitlines() if line.strip()).rstrip(".")
    message = message if len(message) <= 600 else message[:600] + " ..."
    lines = [t.tb_lineno for t in _traceback(error) if t.tb_frame.f_code.co_filename == str(code)]
    where = f" (line {lines[-1]} of {code})" if lines else ""
    return f"{type(error).__name__}{': ' + message if message else ''}{where}"


def _traceback(error: BaseException) -> Iterator[Any]:
    step = error.__traceback__
    while step is not None:
        yield step
        step = step.tb_next


def libraries_of(tree: ast.Module) -> dict[str, str]:
    """Versions of the installed packages that a model.py imports, torch among them in any case."""
    names = {"torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    versions = {}
    for name in sorted(names - sys.stdlib_module_names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(_DISTRIBUTIONS.get(name, name))
    return versions
