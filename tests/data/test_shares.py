"""Totals that are shared out among data sets: against a reference that hands out one seat after another."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from gasdet.data.sampling import quotas, select_total
from gasdet.types import Locator, MediaType, Modality, Sample, sample_id

NAMES = "abcdef"
SHARES = st.fractions(min_value=Fraction(1, 50), max_value=50, max_denominator=50)


@st.composite
def houses(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, Fraction], dict[str, int]]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
    return (
        {name: draw(st.integers(0, 25)) for name in names},
        {name: draw(SHARES) for name in names if draw(st.booleans())},
        {name: draw(st.integers(0, 12)) for name in names if draw(st.booleans())},
    )


def one_by_one(sizes: dict[str, int], shares: dict[str, Fraction], floors: dict[str, int]) -> list[str]:
    """The whole row of seats: who gets the first, the second, ... until everything is taken."""
    taken = dict.fromkeys(sizes, 0)
    row: list[str] = []
    least = {name: min(floors.get(name, 0), size) for name, size in sizes.items()}
    while sum(taken.values()) < sum(sizes.values()):
        below = [name for name in sizes if taken[name] < least[name]]
        if below:
            name = min(below, key=lambda n: (taken[n], repr(n)))
        else:
            open_ones = [name for name in sizes if taken[name] < sizes[name]]
            name = min(
                open_ones,
                key=lambda n: ((taken[n] + Fraction(1, 2)) / shares.get(n, Fraction(1)), repr(n)),
            )
        taken[name] += 1
        row.append(name)
    return row


@given(houses())
@settings(max_examples=200, deadline=None)
def test_the_quotas_are_those_of_seats_handed_out_one_by_one(
    house: tuple[dict[str, int], dict[str, Fraction], dict[str, int]],
) -> None:
    sizes, shares, floors = house
    row = one_by_one(sizes, shares, floors)
    for limit in {0, 1, 2, len(row) // 3, len(row) // 2, max(len(row) - 1, 0), len(row), len(row) + 5}:
        counted = Counter(row[:limit])
        assert quotas(sizes, limit, shares, floors) == {name: counted[name] for name in sizes}


def test_the_method_is_sainte_lague() -> None:
    # The quotients 53, 24, 23, 53/3, 53/5, 24/3, 23/3 are the seven largest; d'Hondt would give 4, 2, 1.
    votes = {"A": Fraction(53_000), "B": Fraction(24_000), "C": Fraction(23_000)}
    sizes = dict.fromkeys(votes, 100)
    assert quotas(sizes, 7, votes) == {"A": 3, "B": 2, "C": 2}
    thousand = quotas(dict.fromkeys(votes, 10_000), 1000, votes)
    assert thousand == {"A": 530, "B": 240, "C": 230}


def test_floors_come_first_and_never_exceed_the_total() -> None:
    sizes = {"large": 1000, "small": 1000, "tiny": 3}
    shares = {"large": Fraction(98), "small": Fraction(1), "tiny": Fraction(1)}
    floors = {"small": 20, "tiny": 20}
    assert quotas(sizes, 100, shares, floors) == {"large": 77, "small": 20, "tiny": 3}
    assert quotas(sizes, 10, shares, floors) == {"large": 0, "small": 7, "tiny": 3}
    assert quotas(sizes, 23, shares, floors) == {"large": 0, "small": 20, "tiny": 3}
    assert quotas(sizes, 24, shares, floors) == {"large": 1, "small": 20, "tiny": 3}
    assert quotas(sizes, 10_000, shares, floors) == sizes


def test_a_tenth_is_a_tenth() -> None:
    """0.1 as a binary number is a little more than a tenth; ten of it beside one must still tie."""
    shares = {"one": Fraction(1)} | {f"tenth{n}": Fraction("0.1") for n in range(10)}
    assert quotas(dict.fromkeys(shares, 1000), 2000, shares) == {"one": 1000} | {f"tenth{n}": 100 for n in range(10)}


def population() -> list[Sample]:
    samples = []
    for dataset, sizes in (("films", (90, 60)), ("news", (30, 0)), ("web", (500, 700))):
        for kind, size in zip((MediaType.REAL, MediaType.SYNTHETIC), sizes, strict=True):
            for number in range(size):
                member = f"{kind}/{number}.jpg"
                place = Locator("file", member)
                samples.append(Sample(sample_id(dataset, member), dataset, member, place, Modality.IMAGE, kind))
    return samples


SHARES_OF_SETS = {"films": Fraction(3), "web": Fraction(1, 2)}
FLOORS_OF_SETS = {"news": 12}


def chosen(total: int, seed: int = 0) -> list[Sample]:
    return select_total(population(), total, seed, SHARES_OF_SETS, FLOORS_OF_SETS)


def test_a_smaller_total_is_a_part_of_a_larger_one() -> None:
    whole = population()
    row = [{s.sample_id for s in chosen(total)} for total in (1, 11, 12, 13, 40, 120, 300, 301, 1380, 5000)]
    assert [len(ids) for ids in row] == [1, 11, 12, 13, 40, 120, 300, 301, 1380, 1380]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(row))
    order = [s.sample_id for s in whole]
    picked = [s.sample_id for s in chosen(120)]
    assert picked == sorted(picked, key=order.index)


def test_data_sets_get_their_shares_and_labels_the_same_number() -> None:
    taken = Counter((s.dataset, s.media_type) for s in chosen(102))
    # 102 by 3 : 1 : 1/2 is 68, 22.7 and 11.3, and above the floor of 12 that news has first.
    assert Counter(s.dataset for s in chosen(102)) == Counter(films=68, news=23, web=11)
    assert abs(taken["films", MediaType.REAL] - taken["films", MediaType.SYNTHETIC]) <= 1
    assert abs(taken["web", MediaType.REAL] - taken["web", MediaType.SYNTHETIC]) <= 1


def digest_of_choice() -> str:
    told = hashlib.sha256()
    for seed in (0, 7):
        for total in (5, 50, 500):
            told.update("\n".join(f"{s.dataset} {s.member}" for s in chosen(total, seed)).encode())
    return told.hexdigest()


def test_the_same_samples_in_every_process() -> None:
    """Python salts hash() anew in each process; and the digest below was made on another run, so that it may not move."""
    here = digest_of_choice()
    done = subprocess.run(
        [sys.executable, "-c", "from tests.data.test_shares import digest_of_choice; print(digest_of_choice())"],
        env={**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == here
    assert here == DIGEST


DIGEST = "a4a993578d6ac0ca3b8af8b4cb2c622031c0193707a7941bca7221639f6ac460"
