"""What a simulated device and a simulated generator state about themselves, whatever their modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Device(Protocol):
    """A simulated camera or recorder."""

    @property
    def name(self) -> str:
        """As the manifest has it."""

    @property
    def summary(self) -> str:
        """One line for the manifest and the documentation."""

    @property
    def held_back(self) -> bool:
        """Whether it occurs in the test split only."""


@dataclass(frozen=True, slots=True)
class Generator:
    """A simulated generator. Its trace is a function in the module of its modality, of the same name.

    Attributes:
        name: As the manifest has it.
        summary: One line for the manifest and the documentation.
        difficulty: easy, medium or hard.
        held_back: Whether it occurs in the test split only.
        strengths: The range from which a sample's strength is drawn: 0 is a device's own file, 1 the full trace.
    """

    name: str
    summary: str
    difficulty: str
    held_back: bool
    strengths: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene, utterance or motion, of which there is one real and one synthetic file: a group.

    Attributes:
        modality: image, video or audio.
        split: train, val, test or calibration.
        group: Unique name; also names the random streams of everything drawn for it.
        device: Name of the device that captured the real file and whose look the generator imitates.
        generator: Name of the generator of the synthetic file.
        strength: Of the generator's trace in this sample, 0 to 1.
        real_path: Relative to the folder of the demo data.
        synthetic_path: The same for the synthetic file.
        form: What both files share: size, container, quality, rate, duration.
    """

    modality: str
    split: str
    group: str
    device: str
    generator: str
    strength: float
    real_path: str
    synthetic_path: str
    form: Mapping[str, int | str]

    def number(self, key: str) -> int:
        """A whole number out of ``form``."""
        return int(self.form[key])
