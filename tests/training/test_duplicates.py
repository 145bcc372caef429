from __future__ import annotations

import hashlib
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gasdet.training.duplicates import digest, drop_duplicates, find_duplicates


def test_the_digest_is_of_type_shape_and_values() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert digest(array) == hashlib.sha256(b"|u1 (3, 4)\0" + bytes(range(12))).hexdigest()
    different = [
        array,
        array.reshape(4, 3),
        array.reshape(12),
        array.astype(np.int8),
        array.astype(np.float32),
        array + 1,
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.array(7, np.uint8),
    ]
    assert len({digest(a) for a in different}) == len(different)


def test_the_layout_in_memory_does_not_count() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    turned = np.ascontiguousarray(array.transpose(2, 1, 0)).transpose(2, 1, 0)
    assert not turned.flags.c_contiguous
    assert digest(turned) == digest(array) == digest(np.repeat(array, 2, axis=0)[::2])


def test_duplicates_are_found_on_both_sides() -> None:
    training = ["a", "b", "c", "a", None, "d", "e"]
    judged = ["x", "a", "d", None, "a", "y"]
    assert find_duplicates(training, judged).tolist() == [1, 2, 4]
    found = drop_duplicates(training, judged)
    assert found.dropped.tolist() == [0, 3, 5]
    assert found.kept.tolist() == [1, 2, 4, 6]
    assert found.judged.tolist() == [1, 2, 4]
    assert str(found) == "3 training samples dropped, with the same decoded content as 3 validation samples; 4 remain"


@pytest.mark.parametrize(("training", "judged"), [([], []), (["a"], []), ([], ["a"]), ([None], [None]), (["a"], ["b"])])
def test_without_duplicates_nothing_is_dropped(training: list[str | None], judged: list[str | None]) -> None:
    found = drop_duplicates(training, judged)
    assert found.kept.tolist() == list(range(len(training)))
    assert len(found.dropped) == len(found.judged) == 0


def test_a_million_digests_take_no_time() -> None:
    training = [f"{i:064x}" for i in range(1_000_000)]
    judged = [f"{i:064x}" for i in range(0, 2_000_000, 10)]
    began = time.process_time()
    assert len(drop_duplicates(training, judged).dropped) == 100_000
    assert time.process_time() - began < 5


@pytest.mark.slow
def test_exactly_the_listed_test_images_of_cifake_are_in_its_training_part(shared_cifake: Path) -> None:
    from gasdet.data import load_data, read_source
    from gasdet.media import decode
    from gasdet.types import Modality, Preprocessing

    whole = Preprocessing(modality=Modality.IMAGE, resize_mode="none")

    def read(name: str) -> tuple[list[str], list[str]]:
        samples = load_data(shared_cifake / f"{name}.parquet").samples
        members = [sample.member.removeprefix(f"{name}.parquet/") for sample in samples]
        return members, [digest(decode(read_source(sample.locator), whole).array) for sample in samples]

    _, training = read("train")
    members, test = read("test")
    listed = (shared_cifake / "test_duplicates_of_train.txt").read_text().split("\n")
    listed = [line for line in listed if line]
    assert len(listed) == 378
    found = [members[i] for i in find_duplicates(training, test)]
    assert sorted(found) == sorted(listed)
    dropped = drop_duplicates(training, test)
    assert len(dropped.judged) == 378
    # what is dropped is what equals one of them, and nothing else
    contents = Counter(test[i] for i in dropped.judged)
    assert all(training[i] in contents for i in dropped.dropped)
    assert not any(training[i] in contents for i in dropped.kept)
    assert len(dropped.kept) + len(dropped.dropped) == 100_000
