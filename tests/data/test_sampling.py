from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gasdet.data.sampling import quotas, select, select_per_dataset
from gasdet.types import Locator, MediaType, Modality, Sample, sample_id

KINDS = (MediaType.REAL, MediaType.SYNTHETIC, MediaType.SEMISYNTHETIC, None)


def sample(dataset: str, number: int, kind: MediaType | None) -> Sample:
    member = f"{number}.jpg"
    return Sample(sample_id(dataset, member), dataset, member, Locator("file", member), Modality.IMAGE, kind)


@st.composite
def populations(draw: st.DrawFn) -> list[Sample]:
    cells = draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(KINDS), st.integers(0, 12)), max_size=8))
    made = [(dataset, kind) for dataset, kind, count in cells for _ in range(count)]
    return [sample(dataset, number, kind) for number, (dataset, kind) in enumerate(draw(st.permutations(made)))]


@given(populations(), st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_a_smaller_choice_is_part_of_a_larger_one(population: list[Sample], a: int, b: int, seed: int) -> None:
    smaller, larger = select(population, min(a, b), seed), select(population, max(a, b), seed)
    assert len(smaller) == min(a, b, len(population))
    assert {s.sample_id for s in smaller} <= {s.sample_id for s in larger}
    for chosen in (smaller, larger):
        kept = {s.sample_id for s in chosen}
        assert chosen == [s for s in population if s.sample_id in kept]


@given(populations(), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_cells_get_equal_shares_as_far_as_they_go(population: list[Sample], limit: int, seed: int) -> None:
    sizes = Counter((s.dataset, s.label) for s in population)
    taken = Counter((s.dataset, s.label) for s in select(population, limit, seed))
    short = [taken[cell] for cell in sizes if taken[cell] < sizes[cell]]
    if short:  # whoever was not exhausted got as many as anyone, or one fewer
        assert max(taken.values()) - min(short) <= 1


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 50), max_size=6), st.integers(0, 200))
def test_quotas_add_up_and_grow_with_the_limit(sizes: dict[int, int], limit: int) -> None:
    now, more = quotas(sizes, limit), quotas(sizes, limit + 1)
    assert sum(now.values()) == min(limit, sum(sizes.values()))
    assert all(0 <= now[cell] <= sizes[cell] for cell in sizes)
    assert all(now[cell] <= more[cell] for cell in sizes)


def test_the_left_over_goes_by_name_whatever_the_sizes() -> None:
    assert quotas({"small": 2, "large": 100, "larger": 200}, 9) == {"small": 2, "large": 4, "larger": 3}
    assert quotas({"small": 2, "large": 200, "larger": 100}, 9) == {"small": 2, "large": 4, "larger": 3}
    assert quotas({"a": 5, "b": 5}, 3) == {"a": 2, "b": 1}
    assert quotas({"a": 5, "b": 1}, 100) == {"a": 5, "b": 1}
    assert quotas({}, 3) == {}


@given(populations(), st.randoms(use_true_random=False), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_who_is_chosen_does_not_depend_on_the_order(population: list[Sample], random: object, limit: int) -> None:
    shuffled = list(population)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {s.sample_id for s in select(shuffled, limit, 0)} == {s.sample_id for s in select(population, limit, 0)}


def test_the_seed_decides_and_chance_is_fair() -> None:
    population = [sample("a", i, MediaType.REAL) for i in range(200)]
    choices = [tuple(s.member for s in select(population, 20, seed)) for seed in range(200)]
    assert choices[0] == tuple(s.member for s in select(population, 20, 0))
    assert len(set(choices)) == 200
    times = Counter(member for choice in choices for member in choice)
    assert len(times) == 200
    assert max(times.values()) < 45, "20 expected of each, standard deviation 4.2"


def test_a_cap_for_each_data_set() -> None:
    population = [sample(d, i, k) for d in "ab" for k in KINDS[:2] for i in range(30 if k else 0)]
    population = [sample(s.dataset, n, s.media_type) for n, s in enumerate(population)]
    chosen = select_per_dataset(population, 10, 0)
    assert Counter((s.dataset, s.media_type) for s in chosen) == {
        (d, k): 5 for d in "ab" for k in (MediaType.REAL, MediaType.SYNTHETIC)
    }
