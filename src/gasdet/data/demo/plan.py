"""Which files the demo data consist of: decided from names alone, before anything is rendered.

Each group is one scene with a real and a synthetic file that share device, size, container, quality, rate and length, so
that neither content nor a file's outer properties tell the label.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gasdet.data.demo import clips, images, recordings
from gasdet.data.demo.camcorders import CAMCORDERS
from gasdet.data.demo.cameras import CAMERAS
from gasdet.data.demo.catalogue import Device, Generator, Scene
from gasdet.data.demo.clip_generators import GENERATORS as CLIP_GENERATORS
from gasdet.data.demo.image_generators import GENERATORS as IMAGE_GENERATORS
from gasdet.data.demo.recorders import RECORDERS
from gasdet.data.demo.seeds import stream
from gasdet.data.demo.voice_generators import GENERATORS as VOICE_GENERATORS

SPLITS = ("train", "val", "test", "calibration")
"""A split's scenes come from streams of its own, so that the size of one changes no file of another."""
COLUMNS = ("path", "label", "modality", "generator", "split", "group", "difficulty", "breath_mask", "description")


@dataclass(frozen=True, slots=True)
class Part:
    """One modality of the demo data.

    Attributes:
        scenes: Scenes in each of ``SPLITS``; each gives two files.
        devices: All simulated cameras or recorders.
        generators: All simulated generators.
        draw_form: Draws what both files of a scene share.
    """

    scenes: tuple[int, int, int, int]
    devices: Sequence[Device]
    generators: Sequence[Generator]
    draw_form: Callable[[np.random.Generator], dict[str, int | str]]


PARTS = {
    "image": Part((120, 40, 60, 48), CAMERAS, IMAGE_GENERATORS, images.draw_form),
    "video": Part((100, 30, 60, 48), CAMCORDERS, CLIP_GENERATORS, clips.draw_form),
    "audio": Part((100, 30, 60, 48), RECORDERS, VOICE_GENERATORS, recordings.draw_form),
}


def plan() -> tuple[Scene, ...]:
    """All scenes of the demo data, in a fixed order."""
    return tuple(
        scene
        for modality, part in PARTS.items()
        for split, count in zip(SPLITS, part.scenes, strict=True)
        for scene in _scenes(modality, part, split, count)
    )


def _dealt(rng: np.random.Generator, names: Sequence[str], count: int) -> list[str]:
    """``count`` names, each as often as the others (give or take one), in random order."""
    return [names[int(i) % len(names)] for i in rng.permutation(count)]


def _spread(rng: np.random.Generator, generator: Generator, count: int) -> list[float]:
    """``count`` strengths, one at random from each of as many equal parts of the generator's range, in random order."""
    low, high = generator.strengths
    parts = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    return [round(low + (high - low) * float(part), 4) for part in parts]


def _scenes(modality: str, part: Part, split: str, count: int) -> Iterable[Scene]:
    rng = stream("plan", modality, split)
    generators = {g.name: g for g in part.generators if split == "test" or not g.held_back}
    devices = [d.name for d in part.devices if split == "test" or not d.held_back]
    chosen_devices = _dealt(rng, devices, count)
    chosen_generators = _dealt(rng, list(generators), count)
    strengths = {name: iter(_spread(rng, g, chosen_generators.count(name))) for name, g in generators.items()}
    numbers = rng.permutation(2 * count)  # the file's name does not tell which of the two it is
    for index in range(count):
        group = f"{modality}-{split}-{index:03d}"
        form = part.draw_form(stream(group, "form"))
        real, synthetic = (f"{modality}/{split}/{int(n):06d}.{form['container']}" for n in numbers[2 * index :][:2])
        strength = next(strengths[chosen_generators[index]])
        yield Scene(
            modality, split, group, chosen_devices[index], chosen_generators[index], strength, real, synthetic, form
        )


def manifest(scenes: Iterable[Scene]) -> str:
    """The text of manifest.csv: one row a file, sorted by path."""
    rows = sorted(row for scene in scenes for row in _rows(scene))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def _rows(scene: Scene) -> Iterable[tuple[str, ...]]:
    part = PARTS[scene.modality]
    device = next(d for d in part.devices if d.name == scene.device)
    generator = next(g for g in part.generators if g.name == scene.generator)
    common = (scene.split, scene.group)
    yield (
        scene.real_path, "real", scene.modality, device.name, *common, "", _breaths(scene, synthetic=False),
        f"{device.name}: {device.summary}",
    )  # fmt: skip
    yield (
        scene.synthetic_path, "synthetic", scene.modality, generator.name, *common, generator.difficulty,
        _breaths(scene, synthetic=True),
        f"{generator.name}: {generator.summary}; strength {scene.strength:.4f}; imitates {device.name}",
    )  # fmt: skip


def _breaths(scene: Scene, *, synthetic: bool) -> str:
    """Where the breaths of a recording are, in seconds, for detectors that learn from them; empty where it has none."""
    if scene.modality != "audio":
        return ""
    spans = ((f"{start:.2f}", f"{end:.2f}") for start, end in recordings.breaths(scene, synthetic))
    # a file may end as a breath begins
    return " ".join(f"{start}-{end}" for start, end in spans if start != end)
