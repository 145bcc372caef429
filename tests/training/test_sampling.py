from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from gasdet import Recipe
from gasdet.errors import DataError, GasdetError, MetricError, UsageError
from gasdet.training.interfaces import Sampler
from gasdet.training.sampling import check_sampling, make_sampler
from gasdet.types import Locator, MediaType, Modality, Sample, sample_id


def sample(name: str, label: int | None, dataset: str = "d", pair: str = "") -> Sample:
    media_type = None if label is None else (MediaType.REAL, MediaType.SYNTHETIC)[label]
    identity = sample_id(dataset, name)
    return Sample(identity, dataset, name, Locator("file", name), Modality.IMAGE, media_type, group=identity, pair=pair)


def corpus(**sizes: tuple[int, int]) -> list[Sample]:
    """Data sets with so many real and synthetic samples."""
    return [
        sample(f"{label}-{i}", label, dataset)
        for dataset, counts in sizes.items()
        for label, count in enumerate(counts)
        for i in range(count)
    ]


UNEVEN = corpus(big=(600, 100), small=(30, 70), real=(150, 0), made=(0, 50))


def sampler(rows: list[Sample], sampling: str, *, seed: int = 0, batch_size: int = 8, **options: Any) -> Sampler:
    recipe = Recipe(
        builder="x:y",
        head=("head.",),
        sampling=sampling,  # type: ignore[arg-type]
        sampling_options=options,
        batch_size=batch_size,
        seed=seed,
    )
    return make_sampler(recipe, rows)


def counts(samples: list[Sample], rows: Iterable[int]) -> Counter[tuple[str, int]]:
    return Counter((samples[row].dataset, samples[row].label or 0) for row in rows)


ALL = [
    ("uniform", {}),
    ("class_balanced", {}),
    ("dataset_balanced", {}),
    ("weighted", {"weights": {"*": 1}}),
    ("worst_dataset", {}),
    ("paired", {}),
]


@pytest.mark.parametrize(("sampling", "options"), ALL)
def test_epochs_are_functions_of_seed_and_epoch(sampling: str, options: dict[str, Any]) -> None:
    samples = [sample(f"{i}", i % 2, f"d{i % 3}", pair=f"p{i // 2}") for i in range(600)]
    one, same, other = (sampler(samples, sampling, seed=seed, **options) for seed in (1, 1, 2))
    first = one.epoch_rows(1)
    assert first.dtype == np.int64
    assert first.ndim == 1
    assert len(first) == 600
    assert 0 <= first.min() <= first.max() < 600
    assert not np.array_equal(first, one.epoch_rows(2))
    assert np.array_equal(one.epoch_rows(1), first)
    assert np.array_equal(same.epoch_rows(1), first)
    assert not np.array_equal(other.epoch_rows(1), first)


def test_uniform_is_a_permutation() -> None:
    rows = sampler(UNEVEN, "uniform").epoch_rows(3)
    assert sorted(rows) == list(range(1000))
    shorter = sampler(UNEVEN, "uniform", samples=300).epoch_rows(3)
    assert len(set(shorter.tolist())) == 300
    longer = Counter(sampler(UNEVEN, "uniform", samples=2500).epoch_rows(3).tolist())
    assert set(longer.values()) == {2, 3}
    assert longer.total() == 2500


def test_uniform_puts_every_sample_everywhere() -> None:
    draw = sampler(corpus(d=(3, 3)), "uniform")
    orders = Counter(draw.epoch_rows(epoch)[0] for epoch in range(1, 3001))
    assert chisquare(list(orders.values())).pvalue > 1e-3
    assert len(orders) == 6


def test_class_balanced_draws_each_class_half_of_the_time() -> None:
    rows = sampler(UNEVEN, "class_balanced").epoch_rows(1)
    assert Counter(UNEVEN[row].label for row in rows) == {0: 500, 1: 500}
    drawn = Counter(rows.tolist())
    real = [drawn[row] for row, s in enumerate(UNEVEN) if s.label == 0]
    synthetic = [drawn[row] for row, s in enumerate(UNEVEN) if s.label == 1]
    assert set(real) == {0, 1}  # 500 of 780, none twice
    # 220 samples for 500 draws, in three cells: 2 or 3 times each, once where a cell's count was rounded down
    assert min(synthetic) >= 2
    assert max(synthetic) <= 3


def test_dataset_balanced_is_exact_in_every_epoch() -> None:
    draw = sampler(UNEVEN, "dataset_balanced")
    for epoch in (1, 2, 3):
        # a data set with one class gives its whole quarter to it
        assert counts(UNEVEN, draw.epoch_rows(epoch)) == {
            ("big", 0): 125,
            ("big", 1): 125,
            ("small", 0): 125,
            ("small", 1): 125,
            ("real", 0): 250,
            ("made", 1): 250,
        }
    drawn = Counter(draw.epoch_rows(1).tolist())
    made = [drawn[row] for row, s in enumerate(UNEVEN) if s.dataset == "made"]
    assert made == [5] * 50


def test_samples_of_a_cell_are_equally_likely_over_the_epochs() -> None:
    samples = corpus(a=(7, 3), b=(11, 0))
    draw = sampler(samples, "dataset_balanced", samples=16)
    total: Counter[int] = Counter()
    for epoch in range(1, 2001):
        total.update(draw.epoch_rows(epoch).tolist())
    expected = [16 * (1 / 4 / 7 if i < 7 else 1 / 4 / 3 if i < 10 else 1 / 2 / 11) * 2000 for i in range(21)]
    # drawing without repetition spreads less than chi-square's multinomial: the statistic can only be too small
    assert chisquare([total[i] for i in range(21)], expected).pvalue > 1e-3


def test_shares_that_are_no_whole_numbers_are_right_on_average() -> None:
    samples = corpus(a=(10, 0), b=(10, 0), c=(0, 10))
    draw = sampler(samples, "dataset_balanced", samples=10)
    seen: Counter[str] = Counter()
    for epoch in range(1, 3001):
        found = counts(samples, draw.epoch_rows(epoch))
        assert found.total() == 10
        assert set(found.values()) <= {3, 4}
        seen.update(dataset for (dataset, _), count in found.items() if count == 4)
    assert chisquare([seen[d] for d in "abc"]).pvalue > 1e-3


def test_a_share_of_less_than_one_draw_comes_now_and_then() -> None:
    samples = corpus(rare=(5, 0), usual=(5, 5))
    draw = sampler(samples, "weighted", weights={"rare": 1, "usual": 19}, samples=2)
    drawn = sum(counts(samples, draw.epoch_rows(epoch))["rare", 0] for epoch in range(1, 3001))
    assert binomtest(drawn, 3000, 0.1).pvalue > 1e-3  # 2 of 20 in each epoch


def test_weights_are_shares_of_the_draws() -> None:
    draw = sampler(UNEVEN, "weighted", weights={"SMALL": 3, "made": 0, "*": 1}, samples=500)
    found = Counter(UNEVEN[row].dataset for row in draw.epoch_rows(1))
    assert found == {"small": 300, "big": 100, "real": 100}
    within = counts(UNEVEN, draw.epoch_rows(1))
    assert (within["small", 0], within["small", 1]) == (90, 210)  # 30 and 70 samples, three times each


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs sampling_options.weights"),
        ({"weights": {"big": 1}}, "name no made"),
        ({"weights": {"big": 1, "gone": 1, "*": 1}}, "name gone, which fits none of the data sets"),
        ({"weights": {"*": 0}}, "all of sampling_options.weights are 0"),
        ({"weights": {"*": -1}}, "weights of a training recipe must be"),
        ({"weights": {"*": math.nan}}, "weights of a training recipe must be"),
        ({"weights": {"*": 1}, "samples": 0}, "samples of a training recipe must be"),
    ],
)
def test_weights_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GasdetError, match=message):
        sampler(UNEVEN, "weighted", **options)


def test_worst_dataset_begins_as_dataset_balanced() -> None:
    rows = sampler(UNEVEN, "worst_dataset").epoch_rows(1)
    assert counts(UNEVEN, rows) == counts(UNEVEN, sampler(UNEVEN, "dataset_balanced").epoch_rows(1))


def test_worst_dataset_weights_by_hand() -> None:
    draw = sampler(corpus(a=(50, 50), b=(50, 50)), "worst_dataset", step=math.log(2), floor=0.2)
    draw.update({"a": 1.0, "b": 3.0})
    # 1/2 * 2 and 1/2 * 8, so 0.2 and 0.8; then 0.8 of that and 0.1 for each
    assert draw.state()["weights"] == pytest.approx({"a": 0.26, "b": 0.74})
    draw.update({"a": 2.0, "b": 1.0})
    a = 0.26 * 4 / (0.26 * 4 + 0.74 * 2)
    assert draw.state()["weights"] == pytest.approx({"a": 0.8 * a + 0.1, "b": 0.9 - 0.8 * a})


def test_worst_dataset_draws_more_of_the_worst() -> None:
    samples = corpus(a=(100, 100), b=(100, 100), c=(100, 100))
    draw = sampler(samples, "worst_dataset", step=1.0, floor=0.3)
    for _ in range(50):
        draw.update({"a": 0.1, "b": 0.7, "c": 0.1, "never trained on": 9.0})
    found = Counter(samples[row].dataset for row in draw.epoch_rows(1))
    assert min(found["a"], found["c"]) >= 60  # the floor: 0.3 / 3 of 600
    weights = draw.state()["weights"]
    assert {name: count / 600 for name, count in found.items()} == pytest.approx(weights, abs=2 / 600)
    # c becomes the worst, and takes over from b however small its weight was
    for _ in range(50):
        draw.update({"a": 0.1, "b": 0.1, "c": 0.7})
    assert max(draw.state()["weights"], key=draw.state()["weights"].__getitem__) == "c"


def test_worst_dataset_without_a_floor_stays_finite() -> None:
    draw = sampler(corpus(a=(5, 5), b=(5, 5)), "worst_dataset", step=100.0, floor=0.0)
    for losses in ({"a": 0.0, "b": 100.0}, {"a": 100.0, "b": 0.0}, {"a": 500.0, "b": 0.0}):
        draw.update(losses)
        assert math.fsum(draw.state()["weights"].values()) == pytest.approx(1)
        assert len(draw.epoch_rows(1)) == 20


def test_a_data_set_without_validation_losses_keeps_an_average_share() -> None:
    draw = sampler(corpus(a=(5, 5), b=(5, 5), c=(5, 5)), "worst_dataset", step=1.0, floor=0.0)
    draw.update({"a": 0.2, "b": 0.8})
    weights = draw.state()["weights"]
    assert weights["a"] / weights["c"] == pytest.approx(math.exp(0.2 - 0.5))
    assert weights["b"] / weights["c"] == pytest.approx(math.exp(0.8 - 0.5))
    draw.update({})
    assert draw.state()["weights"] == weights


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    with pytest.raises(MetricError, match="loss of the data set small is nan"):
        sampler(UNEVEN, "worst_dataset").update({"small": math.nan})


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (corpus(x=(2, 2), y=(2, 2)), r"none of these \(big, made, real, small\) are in the validation part \(x, y\)"),
        (corpus(big=(2, 2), y=(2, 2)), r"1 of these \(big, made, real, small\) is in the validation part \(big, y\)"),
    ],
)
def test_worst_dataset_needs_two_data_sets_to_compare(validation: list[Sample], message: str) -> None:
    recipe = Recipe(builder="a:b", head=("head",), sampling="worst_dataset")
    with pytest.raises(UsageError, match=message):
        check_sampling(recipe, UNEVEN, validation)
    check_sampling(recipe, UNEVEN, corpus(big=(1, 1), small=(1, 1), y=(1, 1)))
    check_sampling(dataclasses.replace(recipe, sampling="uniform"), UNEVEN, validation)


def test_worst_dataset_goes_on_from_its_state() -> None:
    undisturbed = sampler(UNEVEN, "worst_dataset")
    undisturbed.update({"big": 1.0, "small": 0.1, "real": 0.3, "made": 0.9})
    saved = json.loads(json.dumps(undisturbed.state()))
    resumed = sampler(UNEVEN, "worst_dataset")
    resumed.load_state(saved)
    for draw in (undisturbed, resumed):
        draw.update({"big": 0.1, "small": 2.0, "real": 0.3, "made": 0.9})
    assert resumed.state() == undisturbed.state()
    third = undisturbed.epoch_rows(3)
    assert np.array_equal(resumed.epoch_rows(3), third)
    # drawing changes nothing, and an epoch's own state gives its rows again after later validations
    then = undisturbed.state()
    undisturbed.update({"big": 9.0})
    assert not np.array_equal(undisturbed.epoch_rows(3), third)
    undisturbed.load_state(then)
    assert np.array_equal(undisturbed.epoch_rows(3), third)


def test_a_state_of_other_data_is_refused() -> None:
    draw = sampler(UNEVEN, "worst_dataset")
    with pytest.raises(DataError, match="of other data sets"):
        draw.load_state(sampler(corpus(a=(1, 1)), "worst_dataset").state())


PAIRED = (
    [sample(f"r{i}", 0, pair=f"p{i}") for i in range(40)]
    + [sample(f"s{i}", 1, "sdxl", pair=f"p{i}") for i in range(40)]
    + [sample(f"f{i}", 1, "flux", pair=f"p{i}") for i in range(10)]  # the same reals once more
    + [sample(f"x{i}", 0, pair=f"p{i}") for i in range(5)]  # a second real in a pair with two synthetic ones
    + [sample(f"o{i}", 0, "other", pair="lonely") for i in range(6)]  # a pair without a synthetic sample
    + [sample(f"n{i}", i % 2, "none") for i in range(11)]
)


@pytest.mark.parametrize("batch_size", [2, 6, 32])
def test_a_synthetic_sample_comes_with_the_real_one_of_its_pair_in_its_batch(batch_size: int) -> None:
    draw = sampler(PAIRED, "paired", batch_size=batch_size)
    for epoch in (1, 2, 3):
        rows = draw.epoch_rows(epoch)
        seen = Counter(rows.tolist())
        assert set(seen) == set(range(len(PAIRED)))
        coupled = 0
        for start in range(0, len(rows), batch_size):
            batch = [PAIRED[row] for row in rows[start : start + batch_size]]
            real = {s.pair for s in batch if s.label == 0}
            with_partner = [s for s in batch if s.label == 1 and s.pair]
            assert {s.pair for s in with_partner} <= real
            coupled += len(with_partner)
        assert coupled == 50  # each once
        # 50 couples; 6 + 11 others and one real sample more; pairs of two reals and two synthetics use both reals
        assert len(rows) == 100 + 6 + 11 + 1
        assert sum(seen[row] for row, s in enumerate(PAIRED) if s.pair == "p0") in (4, 5)


def test_the_partners_change_from_epoch_to_epoch() -> None:
    samples = [sample("r0", 0, pair="p"), sample("r1", 0, pair="p"), sample("s", 1, pair="p"), sample("n", 0)]
    draw = sampler(samples, "paired", batch_size=2)
    partner = Counter()
    for epoch in range(1, 401):
        rows = draw.epoch_rows(epoch).tolist()
        partner[rows[rows.index(2) - 1]] += 1
        assert sorted(rows) == [0, 1, 2, 3]
    assert set(partner) == {0, 1}
    assert chisquare([partner[0], partner[1]]).pvalue > 1e-3


def test_pairs_cut_or_repeated_to_a_number() -> None:
    assert len(sampler(PAIRED, "paired", samples=30).epoch_rows(1)) == 30
    rows = sampler(PAIRED, "paired", samples=1000).epoch_rows(1).tolist()
    assert len(rows) == 1000
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        if PAIRED[second].label == 1 and PAIRED[second].pair:
            assert PAIRED[first].label == 0
            assert PAIRED[first].pair == PAIRED[second].pair


def test_what_cannot_be_paired() -> None:
    with pytest.raises(DataError, match="needs pair ids"):
        sampler(UNEVEN, "paired")
    with pytest.raises(UsageError, match="batch_size / accumulate must be even, not 7"):
        sampler(PAIRED, "paired", batch_size=7)
    with pytest.raises(UsageError, match=r"even sampling_options\.samples, not 7"):
        sampler(PAIRED, "paired", samples=7)


def test_samples_that_cannot_be_drawn() -> None:
    with pytest.raises(DataError, match="no samples"):
        sampler([], "uniform")
    with pytest.raises(DataError, match="unknown has no label"):
        sampler([*UNEVEN, sample("unknown", None)], "uniform")
    with pytest.raises(DataError, match="one class only"):
        sampler(corpus(a=(5, 0)), "class_balanced")


@pytest.mark.parametrize(("sampling", "options"), ALL)
def test_an_epoch_of_a_hundred_thousand_samples_takes_no_time(sampling: str, options: dict[str, Any]) -> None:
    samples = [sample(f"{i}", i % 2, f"d{i % 40}", pair=f"p{i // 2}") for i in range(100_000)]
    draw = sampler(samples, sampling, batch_size=32, **options)
    best = math.inf
    for epoch in (1, 2, 3):
        began = time.process_time()
        assert len(draw.epoch_rows(epoch)) == 100_000
        best = min(best, time.process_time() - began)
    assert best < 0.5
