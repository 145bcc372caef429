"""What is in the files: what they claim, that nothing but the picture or sound differs, and the same bytes each time."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from gasdet.data.demo.catalogue import Scene
from gasdet.data.demo.voice_generators import GENERATORS as VOICE_GENERATORS

Paths = list[tuple[Scene, Path, Path]]


def of(modality: str, scenes: list[Scene], folder: Path) -> Paths:
    return [(s, folder / s.real_path, folder / s.synthetic_path) for s in scenes if s.modality == modality]


def outer_properties(path: Path) -> dict[str, Any]:
    """All that a file tells without its picture or sound; its size in bytes excepted."""
    about: dict[str, Any] = {"suffix": path.suffix}
    if path.suffix in (".jpg", ".png", ".webp"):
        with Image.open(path) as image:
            about |= {"format": image.format, "mode": image.mode, "width": image.width, "height": image.height}
            about |= {"info": sorted(image.info), "exif": len(image.getexif())}
            if image.format == "JPEG":
                about |= {"tables": str(image.quantization), "layers": str(image.layer)}
        return about
    with av.open(str(path)) as container:
        about |= {"container": container.format.name, "metadata": str(sorted(container.metadata))}
        about |= {"duration": container.duration if path.suffix != ".mp3" else None}
        for stream in container.streams:
            context = stream.codec_context
            about |= {"codec": context.name, "time_base": str(stream.time_base), "tags": str(sorted(stream.metadata))}
            if stream.type == "video":
                about |= {"width": context.width, "height": context.height, "rate": str(stream.average_rate)}
                about |= {"pixel": context.pix_fmt, "frames": sum(1 for _ in container.decode(stream))}
            else:
                about |= {"rate": context.sample_rate, "layout": context.layout.name, "sample": context.format.name}
    if path.suffix in (".wav", ".flac", ".mp3"):
        about |= {"samples": soundfile.info(str(path)).frames, "subtype": soundfile.info(str(path)).subtype}
    return about


def test_both_files_of_a_scene_have_the_same_outer_properties(scenes: list[Scene], made: Path) -> None:
    for scene in scenes:
        assert outer_properties(made / scene.real_path) == outer_properties(made / scene.synthetic_path)


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_a_classifier_on_outer_properties_alone_stays_near_chance(
    modality: str, scenes: list[Scene], made: Path
) -> None:
    files = [(p, y) for _, real, synthetic in of(modality, scenes, made) for p, y in ((real, 0), (synthetic, 1))]
    about = [outer_properties(path) for path, _ in files]
    keys = sorted({key for a in about for key in a})
    words = {key: sorted({str(a.get(key)) for a in about}) for key in keys}
    table = np.array([[words[key].index(str(a.get(key))) for key in keys] for a in about], float)
    label = np.array([y for _, y in files])
    half = len(files) // 2  # groups are neighbours, so that halves do not share one
    model = RandomForestClassifier(50, random_state=0).fit(table[:half], label[:half])
    auroc = roc_auc_score(label[half:], model.predict_proba(table[half:])[:, 1])
    assert 0.4 <= auroc <= 0.6
    assert len(keys) > 5


def test_files_are_what_the_plan_says(scenes: list[Scene], made: Path) -> None:
    for scene in scenes:
        about = outer_properties(made / scene.synthetic_path)
        for key in ("width", "height", "frames", "samples"):
            assert about.get(key) == scene.form.get(key, about.get(key))
        if scene.modality == "audio":
            assert about["rate"] == scene.form["rate"]
        if scene.modality == "video":
            assert about["rate"] == str(scene.form["rate"])
            assert about["codec"] in {"mp4": ("h264",), "webm": ("vp9", "libvpx-vp9")}[str(scene.form["container"])]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), float)


def coarse(image: np.ndarray) -> np.ndarray:
    """Means over 8 x 8 blocks of [..., height, width, 3]."""
    h, w = image.shape[-3] // 8 * 8, image.shape[-2] // 8 * 8
    return image[..., :h, :w, :].reshape(*image.shape[:-3], h // 8, 8, w // 8, 8, 3).mean(axis=(-4, -2))


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]).astype(float)


def test_content_does_not_tell_the_label_both_classes_show_the_same_scene(scenes: list[Scene], made: Path) -> None:
    for _, real, synthetic in of("image", scenes, made):
        a, b = coarse(picture(real)), coarse(picture(synthetic))
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97
        assert abs(a.mean() - b.mean()) < 4
    for _, real, synthetic in of("video", scenes, made):
        a, b = coarse(frames(real)), coarse(frames(synthetic))
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9


def test_the_files_differ_and_neither_is_degenerate(scenes: list[Scene], made: Path) -> None:
    for scene in scenes:
        assert (made / scene.real_path).read_bytes() != (made / scene.synthetic_path).read_bytes()
    for _, *both in of("image", scenes, made):
        for path in both:
            assert picture(path).std() > 8
    for _, *both in of("video", scenes, made):
        for path in both:
            clip = frames(path)
            assert clip.std() > 8
            assert np.abs(np.diff(clip, axis=0)).mean(axis=(1, 2, 3)).min() > 0  # no frame twice
    for _, *both in of("audio", scenes, made):
        for path in both:
            sound, _ = soundfile.read(str(path))
            assert 0.2 < np.abs(sound).max() <= 1.0
            assert 0.01 < sound.std() < 0.5
            assert np.isfinite(sound).all()


def hashes(scenes: list[Scene], folder: Path) -> dict[str, str]:
    paths = [path for scene in scenes for path in (scene.real_path, scene.synthetic_path)]
    return {path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in paths}


def test_the_bytes_do_not_depend_on_order_process_or_processor(scenes: list[Scene], made: Path, tmp_path: Path) -> None:
    """Another process makes some of the scenes in reverse order, with numpy's processor-specific code switched off."""
    chosen = [s for m in ("image", "video", "audio") for s in [s for s in scenes if s.modality == m][:2]]
    script = """
import sys
from pathlib import Path
from gasdet.data.demo.__main__ import make_scene
from gasdet.data.demo.plan import plan
wanted = sys.argv[2:]
for scene in reversed([s for s in plan() if s.group in wanted]):
    (Path(sys.argv[1]) / scene.real_path).parent.mkdir(parents=True, exist_ok=True)
    make_scene(scene, Path(sys.argv[1]))
"""
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(_optional_processor_features())}
    command = [sys.executable, "-c", script, str(tmp_path), *[s.group for s in chosen]]
    subprocess.run(command, check=True, env=environment)
    assert hashes(chosen, tmp_path) == hashes(chosen, made)


def _optional_processor_features() -> list[str]:
    """The processor features that numpy found here and can do without."""
    try:
        from numpy._core import _multiarray_umath as core
    except ImportError:  # numpy 1
        from numpy.core import _multiarray_umath as core  # type: ignore[no-redef]
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


def variant(scene: Scene, folder: Path, **changes: Any) -> tuple[Path, Path]:
    """The two files of a scene with some of its fields changed, losslessly saved where the modality can."""
    from gasdet.data.demo.__main__ import make_scene

    form = dict(scene.form)
    if scene.modality != "video":
        form["container"] = {"image": "png", "audio": "wav"}[scene.modality]
    suffix = form["container"]
    changed = dataclasses.replace(scene, **changes, form=form, real_path=f"r.{suffix}", synthetic_path=f"s.{suffix}")
    make_scene(changed, folder)
    return folder / changed.real_path, folder / changed.synthetic_path


def residual(image: np.ndarray) -> np.ndarray:
    grey = image.mean(axis=2)
    return grey[1:-1, 1:-1] - 0.25 * (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:])


def test_without_strength_a_synthetic_image_is_one_more_of_the_camera(scenes: list[Scene], tmp_path: Path) -> None:
    scene = next(s for s in scenes if s.modality == "image")
    for generator in ("checkerboard", "latent", "patches"):
        real, synthetic = variant(scene, tmp_path, generator=generator, strength=0.0)
        a, b = residual(picture(real)), residual(picture(synthetic))
        assert not np.array_equal(a, b)  # its own noise
        assert a.std() == pytest.approx(b.std(), rel=0.1)


def test_full_strength_leaves_the_stated_trace_in_an_image(scenes: list[Scene], tmp_path: Path) -> None:
    scene = next(s for s in scenes if s.modality == "image")

    def phases(image: np.ndarray, period: int) -> float:
        """How unlike the mean levels of the grid's phases are."""
        grey = image.mean(axis=2)
        h, w = grey.shape[0] // period * period, grey.shape[1] // period * period
        return float(np.std(grey[:h, :w].reshape(-1, period, w // period, period).mean(axis=(0, 2))))

    real, synthetic = variant(scene, tmp_path, generator="checkerboard", strength=1.0)
    assert phases(picture(synthetic), 2) > 2 * phases(picture(real), 2)
    real, synthetic = variant(scene, tmp_path, device="compact", generator="latent", strength=1.0)
    assert residual(picture(synthetic)).std() < 0.8 * residual(picture(real)).std()
    real, synthetic = variant(scene, tmp_path, generator="nearest", strength=1.0)

    def pair_ratio(image: np.ndarray) -> float:
        """Differences across pairs of pixels that one source pixel became, relative to the others."""
        steps = np.abs(np.diff(image.mean(axis=2), axis=1))
        return float(steps[:, 0::2].mean() / steps[:, 1::2].mean())

    assert pair_ratio(picture(synthetic)) < 0.9
    assert 0.95 < pair_ratio(picture(real)) < 1.05


@pytest.mark.parametrize("generator", ["flicker", "jitter", "morph", "subtle", "chunks"])
def test_full_strength_bends_the_trajectory_of_a_clip(generator: str, scenes: list[Scene], tmp_path: Path) -> None:
    scene = next(s for s in scenes if s.modality == "video")
    form = {**scene.form, "height": 96, "width": 96, "frames": 30}
    scene = dataclasses.replace(scene, device="stabilised", form=form)

    def curvature(path: Path) -> float:
        steps = np.diff(coarse(frames(path)).reshape(30, -1), axis=0)
        lengths = np.linalg.norm(steps, axis=1)
        cosine = (steps[:-1] * steps[1:]).sum(axis=1) / (lengths[:-1] * lengths[1:])
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())

    real, full = variant(scene, tmp_path, generator=generator, strength=1.0)
    straight, bent = curvature(real), curvature(full)
    none = curvature(variant(scene, tmp_path, generator=generator, strength=0.0)[1])
    assert bent > straight + 5
    assert abs(none - straight) < 5


def test_an_even_voice_leaves_out_the_breaths(scenes: list[Scene], tmp_path: Path) -> None:
    from gasdet.data.demo.recordings import breaths

    scene = next(s for s in scenes if s.modality == "audio" and s.device in ("studio", "headset") and breaths(s, False))
    real, synthetic = variant(scene, tmp_path, generator="even", strength=1.0)
    assert breaths(dataclasses.replace(scene, generator="even", strength=1.0), True) == []
    (a, rate), (b, _) = soundfile.read(str(real)), soundfile.read(str(synthetic))
    for start, end in breaths(scene, False):
        span = slice(int(start * rate), int(end * rate))
        assert b[span].std() / b.std() < 0.5 * a[span].std() / a.std()


@pytest.mark.parametrize("generator", [g.name for g in VOICE_GENERATORS if g.name not in ("even", "refined")])
def test_without_strength_a_vocoder_gives_back_what_the_recorder_saved(
    generator: str, scenes: list[Scene], tmp_path: Path
) -> None:
    from gasdet.data.demo.recordings import utterance_of

    scene = next(s for s in scenes if s.modality == "audio")
    _, synthetic = variant(scene, tmp_path, generator=generator, strength=0.0)
    sound, _ = soundfile.read(str(synthetic))
    saved = utterance_of(scene).recorded("synthetic")
    assert np.corrcoef(sound, saved)[0, 1] > 0.9999


@pytest.mark.parametrize("generator", ["griffinlim", "phasereset", "codec"])
def test_full_strength_of_a_vocoder_keeps_the_loudness_and_loses_the_phase(
    generator: str, scenes: list[Scene], tmp_path: Path
) -> None:
    from gasdet.data.demo.recordings import utterance_of

    scene = next(s for s in scenes if s.modality == "audio" and s.device == "studio")
    _, synthetic = variant(scene, tmp_path, generator=generator, strength=1.0)
    sound, rate = soundfile.read(str(synthetic))
    saved = utterance_of(scene).recorded("synthetic")

    def envelope(x: np.ndarray) -> np.ndarray:
        block = rate // 50
        return np.sqrt((x[: len(x) // block * block].reshape(-1, block) ** 2).mean(axis=1))

    assert np.corrcoef(envelope(sound), envelope(saved))[0, 1] > 0.85
    high_a, high_b = np.diff(sound, 2), np.diff(saved, 2)
    assert abs(np.corrcoef(high_a, high_b)[0, 1]) < 0.9
