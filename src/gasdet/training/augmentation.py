"""Augmentation for training: which perturbations a sample goes through in an epoch, and with which values.

A recipe's ``augmentation`` is a list of steps, each a mapping with ``name`` (in the table of
``gasdet.media.perturbation``), ``p`` (how likely it is, 1 unless stated) and the perturbation's options. Where an option is
a number it may be a range ``[low, high]``; ``level`` may be one as well. Seed, epoch and sample id alone decide the result:
neither the order of the samples nor threads or processes play a part. All frames of a clip get the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gasdet.errors import UsageError
from gasdet.media.decoded import Array
from gasdet.media.perturbation import Perturbation, find_perturbation, generator
from gasdet.types import Modality, Preprocessing


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an augmentation, checked.

    Attributes:
        perturbation: What is done.
        p: How likely.
        settings: Values and ranges of all options.
        fixed: The values themselves where nothing is drawn from a range, else None.
    """

    perturbation: Perturbation
    p: float
    settings: Mapping[str, Any]
    fixed: Mapping[str, Any] | None


def check_augmentation(augmentation: Sequence[Mapping[str, Any]], modality: Modality | str) -> tuple[Step, ...]:
    """The steps of a recipe's ``augmentation``, with every name, option and value checked.

    Raises:
        UsageError: A step is no mapping, its name or an option is unknown (the message lists the known ones), or a value is
            unusable.
    """
    if isinstance(augmentation, str | Mapping) or not isinstance(augmentation, Sequence):
        raise UsageError(f"augmentation must be a list of steps such as {{name: hflip, p: 0.5}}, not {augmentation!r}.")
    return tuple(_step(step, f"augmentation step {number}", modality) for number, step in enumerate(augmentation, 1))


def check_fits(
    augmentation: Sequence[Mapping[str, Any]],
    preprocessing: Preprocessing,
    check_input: Callable[[tuple[int, ...]], None] | None = None,
) -> None:
    """See that an augmentation can be applied to what a preprocessing gives, where that is pixels of one size.

    Every step is taken once, on a blank sample, whatever its ``p``: a crop that is too large is found before anything is
    decoded, and not in the first epoch.

    Args:
        augmentation: Its steps.
        preprocessing: What comes before them.
        check_input: The model's own check of the shape that it is then given, a batch of one; raises ValueError.

    Raises:
        UsageError: See :func:`check_augmentation`; a step does not fit; or the model does not take the outcome.
    """
    if preprocessing.modality is Modality.AUDIO or preprocessing.resize_mode in ("none", "shortest_edge"):
        return
    frames = (preprocessing.num_frames,) if preprocessing.modality is Modality.VIDEO else ()
    blank = np.zeros((*frames, 3, *preprocessing.resize), np.uint8)
    always = [{**step, "p": 1.0} for step in augmentation]
    made = Augmenter(always, preprocessing.modality, seed=0)(blank, "", 1)
    if check_input is not None:
        try:
            check_input((1, *made.shape))
        except ValueError as error:
            what = "after augmentation" if augmentation else "as they are decoded"
            raise UsageError(f"samples {what} do not fit the model: {error}") from None


def _step(step: Any, where: str, modality: Modality | str) -> Step:
    if not isinstance(step, Mapping) or "name" not in step:
        raise UsageError(f"{where} must be a mapping with a name, such as {{name: hflip, p: 0.5}}, not {step!r}.")
    perturbation = find_perturbation(step["name"], modality, where)
    p = step.get("p", 1.0)
    if not isinstance(p, int | float) or isinstance(p, bool) or not 0 <= p <= 1:
        raise UsageError(f"{where} ({perturbation.name}): p must be a number from 0 to 1, not {p!r}.")
    given = {name: value for name, value in step.items() if name not in ("name", "p")}
    settings = perturbation.settings(perturbation.check(given, f"{where} ({perturbation.name})"))
    fixed = None if perturbation.draws(settings) else perturbation.draw(settings, generator(0))
    return Step(perturbation, float(p), settings, fixed)


class Augmenter:
    """Applies an augmentation to decoded samples.

    Safe to share between threads: a call has random numbers of its own.
    """

    def __init__(
        self,
        augmentation: Sequence[Mapping[str, Any]],
        modality: Modality | str,
        *,
        seed: int,
        sample_rate: int | None = None,
    ) -> None:
        """Check the augmentation.

        Args:
            augmentation: Steps in their order.
            modality: Of the samples.
            seed: Of the training.
            sample_rate: Of audio samples, in Hz; needed where a step depends on it.

        Raises:
            UsageError: See :func:`check_augmentation`; or a step needs the sample rate.
        """
        self.steps = check_augmentation(augmentation, modality)
        needing = [step.perturbation.name for step in self.steps if step.perturbation.needs_rate]
        if needing and sample_rate is None:
            raise UsageError(f"The augmentation {needing[0]} depends on the sample rate: give sample_rate in Hz.")
        self.modality = Modality(modality)
        self.seed = seed
        self.sample_rate = sample_rate

    def __call__(self, array: Array, sample_id: str, epoch: int) -> Array:
        """A sample as it is seen in an epoch.

        Args:
            array: uint8 ``[3, H, W]`` or ``[T, 3, H, W]``, or float32 ``[N]``, as decoding gives it.
            sample_id: Its id.
            epoch: Number of the pass, from 1.

        Returns:
            The same kind of array, contiguous; a crop may have changed height and width. The input itself where no step
            applies; it is never changed.

        Raises:
            UsageError: A crop does not fit.
        """
        if self.steps:
            rng = generator(self.seed, epoch, sample_id)
            for step in self.steps:
                array = self._apply(step, array, rng)
        return array

    def batch(self, arrays: Array, sample_ids: Sequence[str], epoch: int) -> Array:
        """Samples of equal shape, each augmented exactly as one by one.

        Args:
            arrays: ``[B, ...]`` of what a call takes.
            sample_ids: Their ids, B of them.
            epoch: Number of the pass, from 1.

        Returns:
            ``[B, ...]``, contiguous; a new array.

        Raises:
            UsageError: The results have different shapes, or a crop does not fit.
        """
        results = [self(array, name, epoch) for array, name in zip(arrays, sample_ids, strict=True)]
        if not results:
            return arrays.copy()
        shapes = {result.shape for result in results}
        if len(shapes) > 1:
            raise UsageError(
                "The augmentation leaves samples of one batch with different shapes "
                f"({', '.join(map(str, sorted(shapes)))}); give each step that changes the size p: 1 and a fixed size."
            )
        return np.stack(results)

    def _apply(self, step: Step, array: Array, rng: np.random.Generator) -> Array:
        if step.p < 1.0 and rng.random() >= step.p:
            return array
        values = step.perturbation.draw(step.settings, rng) if step.fixed is None else step.fixed
        return step.perturbation.apply(array, rng, values, self.sample_rate)
