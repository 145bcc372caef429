"""Which file of a folder holds a user's weights, and what a model_config.yaml beside them says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gasdet.bundle.delta import read_delta
from gasdet.errors import GasdetError, WeightsError, first_line
from gasdet.types import DetectorSpec

if TYPE_CHECKING:
    from gasdet.bundle.config import BundleConfig


def config_of(spec: DetectorSpec, folder: Path) -> BundleConfig | None:
    """The folder's model_config.yaml, if it has one.

    Raises:
        WeightsError: It describes another modality's weights.
        ConfigError, BundleError: It cannot be used.
    """
    from gasdet.bundle.config import CONFIG_NAME, read_config  # here, because `gasdet list` does without YAML

    if not (folder / CONFIG_NAME).is_file():
        return None
    config = read_config(folder / CONFIG_NAME)
    if config.modality is not spec.modality:
        raise WeightsError(
            f"{folder / CONFIG_NAME} describes {config.modality} weights, and {spec.name} takes {spec.modality}."
        )
    return config


def config_beside(spec: DetectorSpec, file: Path) -> tuple[BundleConfig | None, str]:
    """What a model_config.yaml beside a file says of it, and a line for the user where that is not plain.

    The user named the file, so that a configuration that is none or belongs to something else does not stop it.
    """
    from gasdet.bundle.config import CONFIG_NAME, weights_in

    try:
        config = config_of(spec, file.parent)
    except GasdetError as error:
        why = first_line(error).rstrip(".:")
        return None, f"The {CONFIG_NAME} beside {file} is not used: {why}."
    if config is None:
        return None, ""
    described = weights_in(file.parent, config.weights_file)
    if described is None:
        return config, f"The {CONFIG_NAME} beside {file} names no weights_file; it is taken to describe this one."
    if described.resolve() == file.resolve():
        return config, ""
    return None, f"The {CONFIG_NAME} beside {file} is not used: it describes {described.name}."


def unused_beside_delta(file: Path) -> str:
    """The line that says that a model_config.yaml beside a delta file is not used; empty where there is no such thing.

    Raises:
        WeightsError: The file is no safetensors file, or a damaged delta.
    """
    from gasdet.bundle.config import CONFIG_NAME

    if not (file.parent / CONFIG_NAME).is_file() or read_delta(file) is None:
        return ""
    return f"The {CONFIG_NAME} beside {file} is not used: a delta file says itself how its weights are used."


def file_in(folder: Path, config: BundleConfig | None) -> Path:
    """The safetensors file of a folder: the one that its configuration names, else model.safetensors, else the only one.

    Raises:
        WeightsError: It holds none, or several.
    """
    from gasdet.bundle.config import weights_in

    chosen = weights_in(folder, config.weights_file if config else None)
    if chosen is not None:
        return chosen
    files = sorted(folder.glob("*.safetensors"))
    found = f"holds {len(files)}: {', '.join(f.name for f in files[:5])}" if files else "holds none"
    raise WeightsError(f"{folder} should hold one safetensors file and {found}; give the path of the file.")
