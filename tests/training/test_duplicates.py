from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from gasdet.media.digest import digest
from gasdet.training.duplicates import drop_duplicates, find_duplicates


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
