from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gasdet.data import Dataset, load_csv_pair
from gasdet.errors import DataError, UsageError
from gasdet.training.splits import Split, origins, split_samples
from gasdet.types import Locator, MediaType, Modality, Reason, Sample, sample_id


def sample(name: str, label: int | None, *, dataset: str = "d", group: str = "", **more: Any) -> Sample:
    identity = sample_id(dataset, name)
    media_type = None if label is None else (MediaType.REAL, MediaType.SYNTHETIC)[label]
    locator = Locator("file", f"/{dataset}/{name}")
    return Sample(identity, dataset, name, locator, Modality.IMAGE, media_type, group=group or identity, **more)


def made(name: str, generator: str, **more: Any) -> Sample:
    return sample(name, 1, generator=generator, **more)


def data(samples: Sequence[Sample], description: str = "the data") -> Dataset:
    return Dataset(samples=tuple(samples), fingerprint="0", description=description, is_demo=False)


def divided(samples: Sequence[Sample], **options: Any) -> Split:
    """The split, checked for what holds of every split."""
    split = split_samples(data(samples), **{"val_fraction": 0.2, "seed": 0, **options})
    for tie in ("sample_id", "group", "pair"):
        values = [{getattr(s, tie) for s in part} - {""} for part in (split.train, split.validation)]
        assert values[0].isdisjoint(values[1]), tie
    assert not {s.member for s in split.train} & {s.member for s in split.validation}
    assert len(split.train) + len(split.validation) + sum(split.left_out.values()) == len(samples)
    for part in (split.train, split.validation):
        assert list(part) == [s for s in samples if s in set(part)]
        assert {s.label for s in part} == {0, 1}
        assert not [s for s in part if s.split == "test" or s.skip]
    return split


def generators(part: Sequence[Sample]) -> set[str]:
    return {s.generator for s in part if s.label == 1}


def test_stated_splits_are_kept_and_test_is_left_out() -> None:
    samples = [
        sample(f"{split}-{label}-{i}", label, split=split)
        for split in ("train", "Val", "test")
        for label in (0, 1)
        for i in range(3)
    ]
    samples.append(sample("nolabel", None, split="train"))
    samples.append(dataclasses.replace(sample("bad", 0), skip=Reason.LABEL_UNREADABLE))
    split = split_samples(data(samples), 0.2, 0)
    assert {s.split for s in split.train} == {"train"}
    assert {s.split for s in split.validation} == {"Val"}
    assert len(split.train) == len(split.validation) == 6
    assert split.left_out == {"belongs to split 'test'": 6, "no label": 1, "skipped: label_unreadable": 1}
    assert sum(split.left_out.values()) + len(split.train) + len(split.validation) == len(samples)


def test_groups_are_held_out_whole_and_by_class() -> None:
    samples = [sample(f"{g}-{i}", g % 2, group=f"g{g}") for g in range(100) for i in range(3)]
    split = split_samples(data(samples), 0.2, 7)
    assert {s.group for s in split.train}.isdisjoint({s.group for s in split.validation})
    for label in (0, 1):
        held_out = sum(s.label == label for s in split.validation)
        assert 30 <= held_out <= 32  # a fifth of 150, and at most the rest of a group
    assert len(split.train) + len(split.validation) == 300


def test_the_choice_depends_on_the_seed_and_not_on_the_order() -> None:
    samples = [sample(f"s{i}", i % 2) for i in range(60)]
    one = {s.member for s in split_samples(data(samples), 0.25, 1).validation}
    assert one == {s.member for s in split_samples(data(samples[::-1]), 0.25, 1).validation}
    assert one != {s.member for s in split_samples(data(samples), 0.25, 2).validation}


def test_with_more_data_most_of_the_choice_stays() -> None:
    """And not all of it: the share is reached elsewhere in the order of the hashes."""
    samples = [sample(f"s{i}", i % 2) for i in range(200)]
    small = {s.member for s in split_samples(data(samples[:100]), 0.2, 0).validation}
    large = {s.member for s in split_samples(data(samples), 0.2, 0).validation}
    assert 0.5 * len(small) < len(small & large)


@pytest.mark.parametrize(
    "samples",
    [
        [sample(f"s{i}", 0) for i in range(10)],
        [sample(f"s{i}", i % 2, group="one") for i in range(10)],
        [sample(f"t{i}", i % 2, split="train") for i in range(10)] + [sample("v", 0, split="val")],
        [sample(f"t{i}", i % 2, split="test") for i in range(10)],
        [],
    ],
)
def test_both_classes_are_needed_in_both_parts(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="needs both classes"):
        split_samples(data(samples), 0.2, 0)


def test_a_group_in_two_splits_is_a_leak() -> None:
    samples = [sample(f"{split}{i}", i % 2, group=f"g{i}", split=split) for split in ("train", "val") for i in range(6)]
    with pytest.raises(DataError, match=r"6 groups, e\.g\. 'g0', are in both"):
        split_samples(data(samples), 0.2, 0)


REALS = [sample(f"r{i}", 0) for i in range(100)]
THREE = REALS + [made(f"{g}{i}", g) for g in ("sdxl", "flux", "GAN") for i in range(20)]


def test_leave_one_generator_out() -> None:
    for generator in ("sdxl", "flux", "GAN"):
        split = divided(THREE, by="generator", hold_out=[generator])
        assert generators(split.validation) == {generator}
        assert generators(split.train) == {"sdxl", "flux", "GAN"} - {generator}
        assert Counter(s.label for s in split.validation) == {0: 20, 1: 20}
        assert Counter(s.label for s in split.train) == {0: 80, 1: 40}
        assert split.name == f"generator {generator}"
        assert split.left_out == {}


def test_generators_by_patterns_and_in_any_case() -> None:
    split = divided(THREE, by="generator", hold_out=["gan", "F*"])
    assert generators(split.validation) == {"GAN", "flux"}
    assert generators(split.train) == {"sdxl"}


def test_real_samples_of_a_generators_validation_follow_the_seed_and_not_the_order() -> None:
    def real(samples: Sequence[Sample], seed: int) -> set[str]:
        split = divided(samples, by="generator", hold_out=["flux"], seed=seed)
        return {s.member for s in split.validation if s.label == 0}

    assert real(THREE, 1) == real(THREE[::-1], 1) != real(THREE, 2)


def test_a_synthetic_sample_of_no_known_generator_could_be_of_the_one_held_out() -> None:
    split = divided([*THREE, made("who", "")], by="generator", hold_out=["flux"])
    assert split.left_out == {"synthetic, and its generator is not known": 1}


@pytest.mark.parametrize("tie", ["group", "pair"])
def test_one_forgery_by_each_method_of_each_clip(tie: str) -> None:
    """Every origin has a real clip and one of each method: the held-out method is judged on other clips, too."""
    samples = [
        s
        for i in range(50)
        for s in (
            sample(f"r{i}", 0, **{tie: f"clip{i}"}),
            *(made(f"{g}{i}", g, **{tie: f"clip{i}"}) for g in ("swap", "reenact", "lip")),
        )
    ]
    split = divided(samples, by="generator", hold_out=["lip"])
    assert Counter((s.label, s.generator) for s in split.validation) == {(0, ""): 10, (1, "lip"): 10}
    assert Counter((s.label, s.generator) for s in split.train) == {(0, ""): 40, (1, "swap"): 40, (1, "reenact"): 40}
    assert split.left_out == {
        "held out, and shares its origin with training samples": 40,
        "shares its origin with validation samples": 20,
    }


def test_each_generator_with_real_samples_of_its_own() -> None:
    samples = [
        s
        for g in ("a", "b", "c", "d")
        for i in range(25)
        for s in (sample(f"r{g}{i}", 0, pair=f"{g}{i}"), made(f"{g}{i}", g, pair=f"{g}{i}"))
    ]
    split = divided(samples, by="generator", hold_out=["b"])
    assert {s.pair[0] for s in split.validation} == {"b"}
    assert (len(split.validation), len(split.train), split.left_out) == (50, 150, {})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"by": "generator"}, UsageError, "needs --hold-out with the name of a generator; there are GAN, flux, sdxl"),
        (
            {"by": "generator", "hold_out": ["x"]},
            DataError,
            "no synthetic samples of a generator called that; there are GAN",
        ),
        ({"by": "generator", "hold_out": ["*"]}, DataError, "the training part has 80 real and 0 synthetic"),
        ({"by": "dataset"}, UsageError, "needs --hold-out with the name of a dataset; there are d"),
        ({"by": "dataset", "hold_out": ["e"]}, DataError, "no samples of a data set called that; there are d"),
        ({"by": "group", "hold_out": ["e"]}, UsageError, "add --split-by generator or --split-by dataset"),
        ({"by": "released"}, UsageError, "--released-after DATE and --split-by released go together"),
        ({"released_after": date(2024, 1, 1)}, UsageError, "--released-after DATE and --split-by released go together"),
        (
            {"by": "released", "released_after": date(2024, 1, 1)},
            DataError,
            "none of the synthetic samples has a release",
        ),
        ({"by": "group", "val": data(THREE)}, UsageError, "cannot be split off by group"),
    ],
)
def test_choices_that_cannot_be_followed(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        split_samples(data(THREE), 0.2, 0, **options)


def test_by_dataset() -> None:
    samples = [sample(f"{d}{i}", i % 2, dataset=d) for d in ("one", "two", "three") for i in range(10)]
    split = divided(samples, by="dataset", hold_out=["t*"])
    assert {s.dataset for s in split.train} == {"one"}
    assert {s.dataset for s in split.validation} == {"two", "three"}


def test_a_group_over_two_datasets_is_only_in_the_held_out_one() -> None:
    samples = [sample(f"{d}{i}", i % 2, dataset=d, group=f"speaker{i // 2}") for d in ("one", "two") for i in range(20)]
    samples += [sample(f"more{i}", i % 2, dataset="one") for i in range(10)]
    split = divided(samples, by="dataset", hold_out=["two"])
    assert {s.dataset for s in split.validation} == {"two"}
    assert len(split.validation) == 20
    assert {s.member[:4] for s in split.train} == {"more"}
    assert split.left_out == {"shares its origin with validation samples": 20}


def test_the_datas_own_test_samples_are_in_no_part() -> None:
    samples = [dataclasses.replace(s, split="test") if i % 5 == 0 else s for i, s in enumerate(THREE)]
    for options in ({"by": "generator", "hold_out": ["flux"]}, {"by": "group"}):
        assert divided(samples, **options).left_out == {"belongs to split 'test'": 32}


def test_by_group_takes_no_notice_of_a_stated_validation_split() -> None:
    samples = [sample(f"{i}", i % 2, group=f"g{i // 4}", split="val" if i >= 180 else "train") for i in range(200)]
    split = divided(samples, by="group")
    assert {s.split for s in split.train} == {"train", "val"}
    assert len(split.validation) == 40
    assert divided(samples).name == "val"


DATED = REALS + [
    made(f"{released}-{i}", "g", released=released)
    for released in ("2022", "2023-05", "2024-06", "2025-01-31")
    for i in range(5)
]


def test_by_release_date() -> None:
    split = divided(DATED, by="released", released_after=date(2024, 6, 1))
    assert {s.released for s in split.validation if s.label} == {"2024-06", "2025-01-31"}
    assert {s.released for s in split.train if s.label} == {"2022", "2023-05"}
    assert Counter(s.label for s in split.validation) == {0: 20, 1: 10}
    assert split.name == "released from 2024-06-01"


def test_a_date_that_does_not_say_which_side_is_on_neither() -> None:
    split = divided(DATED, by="released", released_after=date(2024, 6, 15))
    assert split.left_out == {"released 2024-06, which may be before or after 2024-06-15": 5}
    split = divided(DATED, by="released", released_after=date(2025, 1, 31))
    assert {s.released for s in split.validation if s.label} == {"2025-01-31"}
    assert {s.released for s in split.train if s.label} == {"2022", "2023-05", "2024-06"}
    unknown = [*DATED, made("when", "g")]
    split = divided(unknown, by="released", released_after=date(2024, 1, 1))
    assert split.left_out == {"synthetic, and its release date is not known": 1}


def test_dates_that_leave_a_side_empty_or_are_none() -> None:
    for day in (date(2022, 1, 1), date(2025, 2, 1)):
        with pytest.raises(DataError, match="the data's release dates go from 2022-01-01 to 2025-01-31"):
            split_samples(data(DATED), 0.2, 0, by="released", released_after=day)
    with pytest.raises(DataError, match="odd is released 'last year', which is no date like 2024"):
        split_samples(
            data([*DATED, made("odd", "g", released="last year")]),
            0.2,
            0,
            by="released",
            released_after=date(2024, 1, 1),
        )


def test_pairs_are_held_out_whole() -> None:
    samples = [sample(f"{i}", i % 2, pair=f"p{i // 2}") for i in range(200)]
    split = divided(samples)
    assert 38 <= len(split.validation) <= 42
    stated = [dataclasses.replace(s, split="val" if i < 51 else "train") for i, s in enumerate(samples)]
    with pytest.raises(DataError, match=r"1 groups, e\.g\. .* are in both the training and the validation split"):
        split_samples(data(stated), 0.2, 0)


def test_origins_join_over_groups_and_pairs() -> None:
    samples = [
        sample("a", 0, group="g1", pair="p1"),
        sample("b", 1, group="g2", pair="p1"),
        sample("c", 1, group="g2", pair="p2"),
        sample("d", 0, group="g3", pair="p2"),
        sample("e", 0, group="g4"),
        sample("f", 0, group="g5", pair="p5"),
        sample("g", 0, group="g5"),
    ]
    assert origins(samples) == ["g1"] * 4 + ["g4", "g5", "g5"]
    # the same in any order
    for order in itertools.permutations(range(4)):
        assert origins([samples[i] for i in order]) == ["g1"] * 4


@pytest.mark.parametrize("seed", range(8))
def test_no_origin_is_in_both_parts_of_any_split(seed: int) -> None:
    """Tangled data: ``divided`` checks groups and pairs; joint ones are checked here."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(600):
        label = int(rng.integers(2))
        samples.append(
            sample(
                f"{i}",
                label,
                dataset=f"d{rng.integers(4)}",
                group=f"g{rng.integers(500)}" if rng.random() < 0.5 else "",
                pair=f"p{rng.integers(500)}" if rng.random() < 0.3 else "",
                generator=f"m{rng.integers(4)}" if label else "",
                released=f"202{rng.integers(5)}" if label else "",
                split=str(rng.choice(["", "train", "val", "test"])) if rng.random() < 0.2 else "",
            )
        )
    for options in (
        {"by": "group"},
        {"by": "generator", "hold_out": ["m1"]},
        {"by": "dataset", "hold_out": ["d2"]},
        {"by": "released", "released_after": date(2022, 1, 1)},
    ):
        split = divided(samples, seed=seed, **options)
        usable = [s for s in samples if s.split != "test"]
        of = dict(zip((s.sample_id for s in usable), origins(usable), strict=True))
        assert {of[s.sample_id] for s in split.train}.isdisjoint({of[s.sample_id] for s in split.validation})


def test_validation_data_of_their_own() -> None:
    train = [sample(f"t{i}", i % 2, split="train") for i in range(10)] + [sample("old", 0, split="val")]
    val = [sample(f"v{i}", i % 2, dataset="other", split="test") for i in range(6)] + [sample("no", None)]
    split = split_samples(data(train), 0.2, 0, val=data(val, "other.csv"))
    assert [s.member for s in split.train] == [f"t{i}" for i in range(10)]
    assert [s.member for s in split.validation] == [f"v{i}" for i in range(6)]
    assert split.left_out == {"belongs to split 'val'": 1, "validation data: no label": 1}
    assert split.name == "other.csv"


def test_of_validation_data_with_splits_the_validation_split_counts() -> None:
    val = [
        sample(f"{split}{i}", i % 2, dataset="v", split=split) for split in ("train", "val", "test") for i in range(4)
    ]
    split = split_samples(data(THREE), 0.2, 0, val=data(val))
    assert {s.split for s in split.validation} == {"val"}
    assert split.left_out == {"validation data: not in their validation split": 8}
    with pytest.raises(DataError, match="have the splits test, train and none called val"):
        split_samples(data(THREE), 0.2, 0, val=data([s for s in val if s.split != "val"], "v.csv"))


def test_a_file_in_both_is_not_trained_on() -> None:
    renamed = dataclasses.replace(THREE[1], sample_id="other", group="other")  # the same file in another data set
    measured = dataclasses.replace(THREE[2], locator=dataclasses.replace(THREE[2].locator, size=7))
    val = [sample(f"v{i}", i % 2) for i in range(6)] + [THREE[0], renamed, measured]
    split = split_samples(data(THREE), 0.2, 0, val=data(val))
    assert split.left_out == {"is in the validation data too": 3}
    assert len(split.validation) == 9
    assert not {"r0", "r1", "r2"} & {s.member for s in split.train}


def test_two_folders_of_one_name_do_not_hide_each_others_files() -> None:
    """``--data x/images --val y/images``: one sample id, and another file."""
    other = dataclasses.replace(THREE[2], locator=Locator("file", "/elsewhere/d/r2"))
    val = [sample(f"v{i}", i % 2) for i in range(6)] + [other]
    with pytest.raises(
        DataError, match="/d/r2, to be trained on, and /elsewhere/d/r2, of the validation data, are other"
    ):
        split_samples(data(THREE), 0.2, 0, val=data(val))


@pytest.mark.parametrize("tie", ["group", "pair"])
def test_an_origin_in_the_training_and_the_validation_data_is_a_leak(tie: str) -> None:
    train = [*THREE, sample("t", 0, dataset="a", **{tie: "speaker1"})]
    val = [sample(f"v{i}", i % 2) for i in range(6)] + [sample("v", 1, dataset="b", **{tie: "speaker1"})]
    with pytest.raises(
        DataError, match=f"1 {tie}s, e.g. 'speaker1', are in both the data and the validation data v.csv"
    ):
        split_samples(data(train), 0.2, 0, val=data(val, "v.csv"))
    # where several sources were put together, the group bears the data set's name
    several = [*THREE, sample("t", 0, dataset="a", **{tie: "a:speaker1"})]
    with pytest.raises(DataError, match="'speaker1', are in both"):
        split_samples(data(several), 0.2, 0, val=data(val, "v.csv"))


def test_a_group_that_the_test_split_shares_is_told() -> None:
    samples = [*THREE, sample("t", 0, group=THREE[0].group, split="test")]
    (note,) = divided(samples).notes
    assert "1 group, e.g." in note
    assert "split 'test'" in note
    assert divided(THREE).notes == ()


def test_csv_pairs_that_share_a_speaker_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    (tmp_path / "faces_train.csv").write_text("path,label,group\na.png,0,s1\nb.png,1,s2\n")
    (tmp_path / "faces_val.csv").write_text("path,label,group\nc.png,0,s2\nd.png,1,s4\n")
    train, val = load_csv_pair(tmp_path / "faces_train.csv", tmp_path / "faces_val.csv")
    with pytest.raises(DataError, match=r"1 groups, e\.g\. 's2', are in both"):
        split_samples(train, 0.2, 0, val=val)


def test_a_hundred_thousand_samples_are_divided_quickly() -> None:
    import time

    samples = [made(f"{i}", f"m{i % 30}") if i % 2 else sample(f"{i}", 0, pair=f"p{i // 3}") for i in range(100_000)]
    began = time.process_time()
    split_samples(data(samples), 0.2, 0, by="generator", hold_out=["m1"])
    assert time.process_time() - began < 4
