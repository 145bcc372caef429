"""``faces``: detectors of images and clips that get the largest face of each picture instead of the whole of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gasdet.bundle import Detector
from gasdet.errors import UsageError
from gasdet.evaluation.regions import region_finder
from gasdet.types import Modality, Preprocessing

FACES = "faces"
"""Name of the preprocessor that finds them."""


def check_faces() -> None:
    """See that there is something that finds faces, before any work is done.

    Raises:
        GasdetError: There is none; the message says what to install.
    """
    region_finder(FACES)


def with_faces(detectors: Sequence[Detector]) -> list[Detector]:
    """The detectors with face crops before them; those of recordings, and what is handed over, stay as they are.

    Raises:
        UsageError: All of them take recordings.
    """
    if detectors and all(detector.modality is Modality.AUDIO for detector in detectors):
        raise UsageError(_no_faces(", ".join(detector.name for detector in detectors)))
    return [dataclasses.replace(d, preprocessing=of_faces(d.preprocessing)) for d in detectors]


def faces_setting(name: str, modality: Modality) -> str:
    """What ``gasdet train --set`` would be given for it.

    Raises:
        UsageError: The detector takes recordings.
        GasdetError: As ``check_faces``.
    """
    if modality is Modality.AUDIO:
        raise UsageError(_no_faces(name))
    check_faces()
    return f"preprocessing.region={FACES}"


def of_faces(preprocessing: Preprocessing) -> Preprocessing:
    """A preprocessing with the region of faces; that of recordings as it is."""
    if preprocessing.modality is Modality.AUDIO:
        return preprocessing
    keys = {**preprocessing.to_mapping(), "region": FACES}
    return Preprocessing.from_mapping(preprocessing.modality, keys, where="preprocessing with --faces")


def _no_faces(names: str) -> str:
    return f"faces are looked for in images and clips, and {names} takes recordings; leave --faces out."
