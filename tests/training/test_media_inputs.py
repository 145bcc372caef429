"""Batches of pixels and waveforms: the same whatever their source, threads and company."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gasdet.data import load_data, read_source
from gasdet.errors import DataError
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.evaluation.pipeline import DecodePool
from gasdet.media import decode
from gasdet.training.augmentation import Augmenter
from gasdet.training.decoded_store import DecodedSet, decode_to_store
from gasdet.training.media_inputs import MediaInputs
from gasdet.training.targets import Targets
from gasdet.types import Modality, Preprocessing, Sample

PREPROCESSING = Preprocessing.from_mapping(Modality.IMAGE, {"resize": [16, 16]})
AUGMENTATION = ({"name": "hflip", "p": 0.5}, {"name": "random_crop", "size": 16, "padding": 4})

MakeSamples = Callable[..., list[Sample]]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(workers=1, timeout=20.0) as started:
        yield started


@pytest.fixture
def stored(tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path) -> DecodedSet:
    return decode_to_store(tiny_samples(20), PREPROCESSING, pool=pool, root=tmp_path / "store")


@pytest.fixture
def streamed(stored: DecodedSet, pool: DecodePool, tmp_path: Path) -> DecodedSet:
    found = decode_to_store(stored.samples, PREPROCESSING, pool=pool, root=tmp_path / "streamed", max_bytes=100)
    assert found.store is None
    return found


def augmenter() -> Augmenter:
    return Augmenter(AUGMENTATION, Modality.IMAGE, seed=3)


def by_row(inputs: MediaInputs, batches: list[list[int]], **kwargs: Any) -> dict[int, np.ndarray]:
    """What each row became."""
    found = {}
    for batch in inputs.batches(batches, **kwargs):
        found |= {int(row): x.numpy() for row, x in zip(batch.rows, batch.inputs, strict=True)}
    return found


def assert_same(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for row, array in one.items():
        np.testing.assert_array_equal(array, other[row])


def test_batches_hold_the_rows_asked_for(stored: DecodedSet) -> None:
    inputs = MediaInputs(stored)
    assert not inputs.from_features
    assert inputs.samples == stored.samples
    asked = [[3, 1, 19], [0], [5, 5, 2, 7]]
    batches = list(inputs.batches(asked, epoch=1, augment=True))
    assert [batch.rows.tolist() for batch in batches] == asked
    for rows, batch in zip(asked, batches, strict=True):
        assert batch.inputs.dtype is torch.uint8
        assert batch.labels.tolist() == [stored.samples[row].label for row in rows]
        assert batch.weights.tolist() == [1.0] * len(rows)
        for row, x in zip(rows, batch.inputs, strict=True):
            expected = decode(read_source(stored.samples[row].locator), PREPROCESSING).array
            np.testing.assert_array_equal(x.numpy(), expected)


def test_a_batch_may_be_written_to_and_the_store_stays(stored: DecodedSet) -> None:
    inputs = MediaInputs(stored)
    (before,) = inputs.batches([[0, 1]], epoch=1, augment=False)
    kept = before.inputs.clone()
    before.inputs.zero_()
    (after,) = inputs.batches([[0, 1]], epoch=1, augment=False)
    assert torch.equal(after.inputs, kept)


def test_a_part_has_rows_of_its_own(stored: DecodedSet) -> None:
    part = stored.part([stored.samples[i] for i in (9, 4, 13)])
    (batch,) = MediaInputs(part).batches([[2, 0]], epoch=1, augment=False)
    whole = by_row(MediaInputs(stored), [[13, 9]], epoch=1, augment=False)
    np.testing.assert_array_equal(batch.inputs.numpy(), np.stack([whole[13], whole[9]]))


@pytest.mark.parametrize("augment", [False, True])
def test_a_stream_gives_what_the_store_gives(augment: bool, stored: DecodedSet, streamed: DecodedSet) -> None:
    asked = [[3, 1, 19], [0, 4], [5, 12, 2, 7]]
    one = by_row(MediaInputs(stored, augment=augmenter()), asked, epoch=2, augment=augment)
    other = by_row(MediaInputs(streamed, augment=augmenter(), workers=2), asked, epoch=2, augment=augment)
    assert_same(one, other)


def test_a_stream_through_a_decode_cache_gives_the_same(
    streamed: DecodedSet, stored: DecodedSet, tmp_path: Path
) -> None:
    asked = [[3, 1, 19], [0, 4], [5, 12, 2, 7]]
    cache = DecodeCache(tmp_path / "cache", 2**30)
    expected = by_row(MediaInputs(stored), asked, epoch=2, augment=False)
    for _ in range(2):
        assert_same(by_row(MediaInputs(streamed, decode_cache=cache), asked, epoch=2, augment=False), expected)
        assert len(list((tmp_path / "cache" / "entries").rglob("*.npy.zst"))) == 9
    # a file that has changed is another
    for row in (3, 19):
        Path(streamed.samples[row].locator.path).write_bytes(Path(streamed.samples[0].locator.path).read_bytes())
    changed = by_row(MediaInputs(streamed, decode_cache=cache), asked, epoch=2, augment=False)
    np.testing.assert_array_equal(changed[3], expected[0])


def test_augmentation_goes_by_seed_epoch_and_sample_alone(stored: DecodedSet) -> None:
    def run(batches: list[list[int]], epoch: int, **options: int) -> dict[int, np.ndarray]:
        return by_row(MediaInputs(stored, augment=augmenter(), **options), batches, epoch=epoch, augment=True)

    rows = list(range(20))
    first = run([rows], 1)
    plain = by_row(MediaInputs(stored), [rows], epoch=1, augment=True)
    assert sum(not np.array_equal(first[row], plain[row]) for row in rows) > 10
    assert_same(first, run([rows[::-1][i : i + 3] for i in range(0, 20, 3)], 1))
    assert_same(first, run([[row] for row in rows], 1, threads=3, ahead=2))
    second = run([rows], 2)
    assert sum(not np.array_equal(first[row], second[row]) for row in rows) > 10
    expected = augmenter()
    for row in rows:
        np.testing.assert_array_equal(first[row], expected(plain[row], stored.samples[row].sample_id, 1))


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("source", ["stored", "streamed"])
def test_targets_are_made_before_the_augmentation(augment: bool, source: str, request: pytest.FixtureRequest) -> None:
    decoded = request.getfixturevalue(source)
    inputs = MediaInputs(
        decoded, augment=augmenter(), targets=Targets("media_targets:corner", PREPROCESSING), threads=2
    )
    rows = [[3, 1, 19], [0, 4]]
    plain = by_row(MediaInputs(decoded), rows, epoch=2, augment=False)
    for asked, batch in zip(rows, inputs.batches(rows, epoch=2, augment=augment), strict=True):
        expected = [[plain[row][0, 0, 0], decoded.samples[row].label] for row in asked]
        assert batch.targets is not None
        assert batch.targets.tolist() == expected
        changed = any(not np.array_equal(x, plain[row]) for x, row in zip(batch.inputs, asked, strict=True))
        assert changed is augment
        assert batch.to("cpu").targets is not None
    assert all(batch.targets is None for batch in MediaInputs(decoded).batches(rows, epoch=1, augment=False))


def test_validation_is_not_augmented(stored: DecodedSet) -> None:
    asked = [[0, 1, 2]]
    with_one = by_row(MediaInputs(stored, augment=augmenter()), asked, epoch=1, augment=False)
    assert_same(with_one, by_row(MediaInputs(stored), asked, epoch=1, augment=False))


def test_an_augmentation_cannot_change_the_store(stored: DecodedSet) -> None:
    def writes(array: np.ndarray, sample_id: str, epoch: int) -> np.ndarray:
        array += 1
        return array

    with pytest.raises(ValueError, match="read-only"):
        list(MediaInputs(stored, augment=writes).batches([[0]], epoch=1, augment=True))


@pytest.mark.parametrize("source", ["stored", "streamed"])
def test_leaving_early_ends_threads_and_processes(source: str, request: pytest.FixtureRequest) -> None:
    decoded = request.getfixturevalue(source)
    before = set(threading.enumerate())
    endless = MediaInputs(decoded, augment=augmenter(), threads=2).batches([[0, 1]] * 1000, epoch=1, augment=True)
    for _ in itertools.islice(endless, 3):
        pass
    endless.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_a_validation_may_begin_in_the_middle_of_an_epoch(streamed: DecodedSet) -> None:
    inputs = MediaInputs(streamed, workers=1)
    training = inputs.batches([[i, i + 1] for i in range(10)], epoch=1, augment=True)
    first = next(training)
    (judged,) = MediaInputs(streamed, workers=1).batches([[5, 6]], epoch=1, augment=False)
    assert judged.rows.tolist() == [5, 6]
    assert [first.rows.tolist()[0], *(batch.rows.tolist()[0] for batch in training)] == list(range(10))


def test_batches_are_made_ahead_and_only_so_many(stored: DecodedSet) -> None:
    made: list[str] = []

    def notes(array: np.ndarray, sample_id: str, epoch: int) -> np.ndarray:
        made.append(sample_id)
        return array.copy()

    batches = MediaInputs(stored, augment=notes, ahead=3).batches([[i] for i in range(20)], epoch=1, augment=True)
    next(batches)
    until = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made == [sample.sample_id for sample in stored.samples[:4]]
    assert len(list(batches)) == 19


def test_what_an_augmentation_raises_reaches_the_trainer(stored: DecodedSet) -> None:
    def fails(array: np.ndarray, sample_id: str, epoch: int) -> np.ndarray:
        raise KeyError("from the thread")

    with pytest.raises(KeyError, match="from the thread"):
        list(MediaInputs(stored, augment=fails).batches([[0]], epoch=1, augment=True))


def test_a_file_that_vanished_during_the_training_stops_it(streamed: DecodedSet) -> None:
    Path(streamed.samples[3].locator.path).unlink()
    with pytest.raises(DataError, match=r"^003\.png could be .* any more \(there is no such file\)"):
        list(MediaInputs(streamed).batches([[3]], epoch=1, augment=False))


def test_unequal_shapes_are_an_error_unless_a_crop_makes_them_equal(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(4)
    Image.new("RGB", (30, 20), (200, 100, 50)).save(samples[1].locator.path)
    as_it_is = Preprocessing.from_mapping(Modality.IMAGE, {"resize_mode": "none"})
    found = decode_to_store(samples, as_it_is, pool=pool, root=tmp_path / "store")
    with pytest.raises(DataError, match="cannot go into one batch"):
        list(MediaInputs(found).batches([[0, 1]], epoch=1, augment=False))
    crop = Augmenter([{"name": "random_crop", "size": 12}], Modality.IMAGE, seed=0)
    (batch,) = MediaInputs(found, augment=crop).batches([[0, 1]], epoch=1, augment=True)
    assert batch.inputs.shape == (2, 3, 12, 12)


def test_clips_and_recordings(shared_media: Path, pool: DecodePool, tmp_path: Path) -> None:
    for modality, keys, shape, dtype in (
        (Modality.AUDIO, {"duration_seconds": 0.5}, (8000,), torch.float32),
        (Modality.VIDEO, {"resize": [32, 32], "num_frames": 3}, (3, 3, 32, 32), torch.uint8),
    ):
        samples = load_data(shared_media / modality.value, modalities=(modality,), limit=3).samples
        preprocessing = Preprocessing.from_mapping(modality, keys)
        found = [
            decode_to_store(samples, preprocessing, pool=pool, root=tmp_path / name, max_bytes=bound)
            for name, bound in (("store", 2**30), ("stream", 1))
        ]
        assert (found[0].store is None, found[1].store is None) == (False, True)
        (one,), (other,) = (MediaInputs(part).batches([[1, 0]], epoch=1, augment=False) for part in found)
        assert one.inputs.shape == (2, *shape)
        assert one.inputs.dtype is dtype
        assert torch.equal(one.inputs, other.inputs)
