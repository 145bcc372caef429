"""``equalise``: detectors that get files of which both classes went through the same crop, size and codec."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gasdet.bundle import Detector
from gasdet.equalise_profiles import keys_of, numbers_of, only_for
from gasdet.errors import UsageError
from gasdet.media.equalising import check_encoders
from gasdet.types import Modality, Preprocessing

_WHERE = "--equalise"


def check_equalise(text: str, modalities: Sequence[Modality]) -> None:
    """See that a profile is one and can be followed for these modalities, before any work is done.

    A key may be one modality's alone, where others are there too; it must be a key of at least one of them.

    Raises:
        ConfigError: There is no such profile, or a key of it is unknown or unusable.
        UsageError: An encoder is lacking, or none of the modalities has one of the keys.
    """
    known: set[str] = set()
    for modality in modalities:
        known |= set(numbers_of(only_for(text, modality, where=_WHERE), modality, where=_WHERE))
        check_encoders(modality)
    if modalities and (useless := [key for key in keys_of(text, where=_WHERE) if key not in known]):
        taken = " and ".join(sorted(set(modalities)))
        raise UsageError(f"{_WHERE}: {useless[0]} has no bearing on {taken}; leave it out.")


def with_equalise(detectors: Sequence[Detector], text: str) -> list[Detector]:
    """The detectors with an equalisation before everything else that is done to a file; what is handed over stays as it is.

    Raises:
        ConfigError: As ``check_equalise``.
        UsageError: Likewise.
    """
    check_equalise(text, [detector.modality for detector in detectors])
    return [dataclasses.replace(d, preprocessing=equalised_preprocessing(d.preprocessing, text)) for d in detectors]


def equalise_setting(text: str, modality: Modality) -> str:
    """What ``gasdet train --set`` would be given for it.

    Raises:
        ConfigError: As ``check_equalise``.
        UsageError: Likewise.
    """
    check_equalise(text, [modality])
    return f"preprocessing.equalise={only_for(text, modality, where=_WHERE)}"


def equalised_preprocessing(preprocessing: Preprocessing, text: str) -> Preprocessing:
    """A preprocessing that equalises first.

    Raises:
        ConfigError: There is no such profile, or a key of it is unusable.
    """
    profile = only_for(text, preprocessing.modality, where=_WHERE)
    keys = {**preprocessing.to_mapping(), "equalise": profile}
    return Preprocessing.from_mapping(preprocessing.modality, keys, where=f"preprocessing with {_WHERE}")
