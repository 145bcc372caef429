"""What ties samples together: groups, pairs, exact copies, and chains of them."""

from __future__ import annotations

from gasdet.inspection.auditing import together

from .tables import sample


def test_pairs_and_copies_tie_groups_together_in_any_order() -> None:
    samples = [
        sample(0, 0, "a"),
        sample(1, 0, "a"),
        sample(2, 1, "b", pair="p"),
        sample(3, 0, "c", pair="p"),
        sample(4, 1, "d"),
        sample(5, 1, "e"),
        sample(6, 0, "f", pair="q"),
    ]
    contents = [b"one", None, b"two", b"three", b"one", b"three", None]
    assert together(samples) == ("ga", "ga", "gb", "gb", "gd", "ge", "gf")
    assert together(samples, contents) == ("ga", "ga", "gb", "gb", "ga", "gb", "gf")
    turned = together(samples[::-1], contents[::-1])
    assert turned[::-1] == together(samples, contents)


def test_a_chain_is_one() -> None:
    samples = [sample(i, i % 2, f"{i:03d}", pair=f"p{i // 2}") for i in range(100)]
    contents = [f"c{(i + 1) // 2}".encode() for i in range(100)]
    assert set(together(samples, contents)) == {"g000"}
