"""Near duplicates among images and clips."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pdqhash
import pytest
from PIL import Image, ImageEnhance

SUPPORT = Path(__file__).resolve().parent.parent / "support"
sys.path.insert(0, str(SUPPORT))

from made_media import frames_of, remux, scene, write_clip, write_picture  # noqa: E402

from gasdet.inspection.checking.clips import near_clips  # noqa: E402
from gasdet.inspection.checking.near import Sets, near_images  # noqa: E402
from gasdet.inspection.checking.pictures import picture_hash  # noqa: E402
from gasdet.inspection.checking.probe import MAX_FRAME_HASHES, FrameHashes, probe_sample  # noqa: E402
from gasdet.media import MediaLimits  # noqa: E402
from gasdet.types import Locator, Modality, Preprocessing  # noqa: E402


def bits_apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def facts_of(path: Path, modality: Modality = Modality.VIDEO) -> dict:
    return dict(probe_sample(Locator("file", str(path)), Preprocessing(modality), MediaLimits()).facts)


def through(image: Image.Image, form: str, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return np.asarray(Image.open(buffer).convert("RGB"))


CHANGES = {
    "JPEG 30": lambda image: through(image, "JPEG", quality=30),
    "WebP 40": lambda image: through(image, "WEBP", quality=40),
    "half the size": lambda image: np.asarray(image.resize((image.width // 2, image.height // 2))),
    "three times the size": lambda image: np.asarray(image.resize((image.width * 3, image.height * 3))),
    "other proportions": lambda image: np.asarray(image.resize((image.width, image.height // 2))),
    "brighter": lambda image: np.asarray(ImageEnhance.Brightness(image).enhance(1.15)),
    "gray": lambda image: np.asarray(image.convert("L").convert("RGB")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_pictures_are_near_to_their_originals_only(change: str) -> None:
    originals = [scene(seed) for seed in range(8)]
    changed = [CHANGES[change](Image.fromarray(pixels)) for pixels in originals]
    hashes = [picture_hash(pixels) for pixels in (*originals, *changed)]
    assert all(len(content) == 32 for content in hashes)
    sets = near_images(hashes, 31)
    assert sets.together() == [[n, n + 8] for n in range(8)]
    assert [sets.nearest[n] for n in range(8)] == [bits_apart(hashes[n], hashes[n + 8]) for n in range(8)]


def test_the_hash_is_pdq() -> None:
    pixels = scene(1)
    bits, quality = pdqhash.compute(pixels)
    assert quality >= 50
    assert picture_hash(pixels) == bytes(np.packbits(bits.astype(np.uint8)))
    assert picture_hash(pixels.transpose(1, 0, 2)) == picture_hash(np.ascontiguousarray(pixels.transpose(1, 0, 2)))


def test_flat_pictures_have_no_hash() -> None:
    assert picture_hash(np.full((100, 100, 3), 90, np.uint8)) == b""


def test_chains_are_one_set_and_the_distance_is_to_the_nearest() -> None:
    def at(*bits: int) -> bytes:
        content = np.zeros(256, np.uint8)
        content[list(bits)] = 1
        return np.packbits(content).tobytes()

    a, b, c, far = at(), at(*range(20)), at(*range(40)), at(*range(100))
    sets = near_images([far, c, b"", a, b, a], 31)
    assert sets.together() == [[1, 3, 4, 5]]
    assert sets.nearest.tolist() == [float("inf"), 20, float("inf"), 0, 20, 0]


def test_the_order_of_pairs_has_no_bearing_on_sets() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 60, (40, 2)).tolist()
    expected = None
    for _ in range(5):
        sets = Sets(60)
        for one, other in rng.permutation(pairs).tolist():
            sets.add(one, other, 1)
        expected = expected or sets.together()
        assert sets.together() == expected


def test_very_many_near_pictures_are_one_set_in_little_memory() -> None:
    """600 pictures at a few bits from one another are 180,000 pairs, most of them several times over."""
    rng = np.random.default_rng(0)
    centre = rng.integers(0, 256, 32, dtype=np.uint8)
    hashes = []
    for _ in range(600):
        own = np.unpackbits(centre)
        own[rng.choice(256, 8, replace=False)] ^= 1
        hashes.append(np.packbits(own).tobytes())
    sets = near_images([*hashes, b""], 31)
    assert sets.together() == [list(range(600))]
    ahead = np.array([[bits_apart(hashes[0], other)] for other in hashes[1:]])
    assert sets.nearest[0] == ahead.min()
    clips = near_clips([b"".join(hashes[n : n + 3]) for n in range(0, 600, 3)], 31)
    assert clips.together() == [list(range(200))]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    original = write_clip(folder / "original.mp4", 1)
    return {
        "original": original,
        "remuxed": remux(original, folder / "remuxed.mkv"),
        "re-encoded": write_clip(folder / "re-encoded.mp4", 1, crf=38),
        "smaller": write_clip(folder / "smaller.mp4", 1, size=(96, 72)),
        "mpeg4": write_clip(folder / "mpeg4.avi", 1, codec="mpeg4"),
        "other rate": write_clip(folder / "other-rate.mp4", 1, fps=25),
        "cut": write_clip(folder / "cut.mp4", 1, seconds=2, begin=0.5),
        "other": write_clip(folder / "other.mp4", 2),
    }


def test_copies_of_a_clip_are_near_and_others_are_not(clips: dict[str, Path]) -> None:
    names = list(clips)
    facts = {name: facts_of(path) for name, path in clips.items()}
    assert all(len(facts[name]["hashes"]) >= 4 * 32 for name in names)
    sets = near_clips([facts[name]["hashes"] for name in names], 31)
    assert [[names[i] for i in items] for items in sets.together()] == [names[:-1]]
    assert all(sets.nearest[i] <= 0.5 for i in range(len(names) - 1))


def test_the_same_coded_frames_in_another_container_are_exact_copies(clips: dict[str, Path]) -> None:
    original, remuxed = facts_of(clips["original"]), facts_of(clips["remuxed"])
    assert original["content"] == remuxed["content"]
    assert original["bytes"] != remuxed["bytes"]
    assert (original["format"], remuxed["format"]) == ("mp4", "matroska")
    assert original["content"] != facts_of(clips["re-encoded"])["content"]


def test_a_shared_title_does_not_make_clips_near(tmp_path: Path) -> None:
    title = scene(99)
    hashes = [facts_of(write_clip(tmp_path / f"{n}.mp4", n, seconds=5, first=title))["hashes"] for n in range(4)]
    assert len({content[:32] for content in hashes}) < 4  # the title's own hash is there
    assert near_clips(hashes, 31).together() == []


def test_a_clip_as_a_folder_of_frames_is_near_to_the_file(clips: dict[str, Path], tmp_path: Path) -> None:
    for number, pixels in enumerate(frames_of(clips["original"])):
        write_picture(tmp_path / "frames" / f"{number}.png", pixels)
    folder = facts_of_frames(tmp_path / "frames")
    assert near_clips([facts_of(clips["original"])["hashes"], folder["hashes"]], 31).together() == [[0, 1]]
    assert facts_of_frames(tmp_path / "frames")["content"] == folder["content"]
    write_picture(tmp_path / "frames" / "29.png", scene(7, 192, 144))
    assert facts_of_frames(tmp_path / "frames")["content"] != folder["content"]


def facts_of_frames(folder: Path) -> dict:
    return dict(probe_sample(Locator("frames", str(folder)), Preprocessing(Modality.VIDEO), MediaLimits()).facts)


def test_frame_hashes_stay_few_and_spread_over_a_clip_of_any_length() -> None:
    rng = np.random.default_rng(0)
    for seconds in (1, 10, 16, 17, 60, 300):
        hashes, times = FrameHashes(), []
        for frame in range(seconds * 5):
            if hashes.wants(frame / 5):
                times.append(frame / 5)
                hashes.add(frame / 5, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        assert min(seconds * 2, MAX_FRAME_HASHES // 2) <= len(hashes.kept) <= MAX_FRAME_HASHES
        assert times[0] == 0
        assert times[-1] > seconds - 1.5 * hashes.step


def test_a_gap_in_a_clip_is_not_made_up_for() -> None:
    hashes = FrameHashes()
    hashes.add(0.0, scene(0))
    hashes.add(10.0, scene(1))
    assert not hashes.wants(10.1)
    assert hashes.wants(10.5)
