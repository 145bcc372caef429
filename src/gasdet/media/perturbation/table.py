"""The one table of all perturbations, and what looks them up."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gasdet.errors import UsageError
from gasdet.media.decoded import Array
from gasdet.media.perturbation.audio_table import SOUND
from gasdet.media.perturbation.geometric_table import GEOMETRIC
from gasdet.media.perturbation.perturbation import Perturbation, did_you_mean
from gasdet.media.perturbation.pixel_table import COLOUR, COMPRESSION, DEEPERFORENSICS, DEGRADATION
from gasdet.media.perturbation.randomness import generator
from gasdet.types import Modality

PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {p.name: p for p in (*GEOMETRIC, *COLOUR, *COMPRESSION, *DEGRADATION, *DEEPERFORENSICS, *SOUND)}
)
"""Every perturbation by its name."""


def perturbations_for(modality: Modality | str) -> dict[str, Perturbation]:
    """The perturbations that apply to a modality, by name."""
    return {name: p for name, p in PERTURBATIONS.items() if Modality(modality) in p.modalities}


def find_perturbation(name: Any, modality: Modality | str, where: str = "perturbation") -> Perturbation:
    """The perturbation of that name.

    Raises:
        UsageError: There is none, or it does not apply to the modality; the message lists those that do.
    """
    known = perturbations_for(modality)
    if isinstance(name, str) and name in known:
        return known[name]
    names = ", ".join(known)
    kind = Modality(modality).value
    if isinstance(name, str) and name in PERTURBATIONS:
        others = " and ".join(m.value for m in PERTURBATIONS[name].modalities)
        raise UsageError(f"{where}: {name} is for {others}, not for {kind}; for {kind} there are: {names}.")
    raise UsageError(f"{where}: there is no {name!r}{did_you_mean(name, tuple(known))}; for {kind} there are: {names}.")


def perturb(
    array: Array,
    modality: Modality | str,
    name: str,
    *,
    level: int | None = None,
    seed: int = 0,
    key: str = "",
    sample_rate: int | None = None,
    **options: Any,
) -> Array:
    """Apply one perturbation at a severity, for a robustness evaluation.

    Args:
        array: uint8 ``[3, H, W]`` or ``[T, 3, H, W]``, or float32 ``[N]``.
        modality: Of the array.
        name: In :data:`PERTURBATIONS`.
        level: 1 to 5; None where the perturbation has no levels, or for its defaults.
        seed: Of the random numbers, with name, level and key.
        key: What the random numbers are for, e.g. the sample's id.
        sample_rate: Of audio, in Hz; needed where the perturbation depends on it.
        options: Options over the defaults, as in a training's augmentation.

    Returns:
        An array of the same kind, contiguous. The input is never changed; it may itself be the result.

    Raises:
        UsageError: Name, level or an option is unknown or unusable, or the sample rate is needed.
    """
    perturbation = find_perturbation(name, modality)
    given = perturbation.check({**options, **({} if level is None else {"level": level})}, name)
    rng = generator(seed, name, str(level), key)
    return perturbation.apply(array, rng, perturbation.draw(perturbation.settings(given), rng), sample_rate)
