"""Tables of properties: what is missing, what is refused, and that the order of the samples is no matter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gasdet.inspection.auditing import TableBuilder
from gasdet.types import Modality

from .tables import sample, spec, table


def test_values_of_each_kind_and_what_is_missing() -> None:
    found = table([0, 1, 0], {"width": [3, None, 2.5], "codec": ["b", "a", None], "exif": [True, False, None]})
    width, codec, exif = found.columns
    assert width.values.tolist()[::2] == [3.0, 2.5]
    assert math.isnan(width.values[1])
    assert codec.levels == ("a", "b")
    assert codec.values.tolist()[:2] == [1.0, 0.0]
    assert exif.levels == ("no", "yes")
    assert exif.values.tolist()[:2] == [1.0, 0.0]
    assert [column.text(0) for column in found.columns] == ["3", "b", "yes"]
    assert [column.text(2) for column in found.columns] == ["2.5", "", ""]


def test_infinities_are_missing() -> None:
    values = table([0, 1], {"loudness": [-math.inf, math.nan]}).columns[0].values
    assert np.isnan(values).all()


def test_a_property_that_is_absent_is_missing() -> None:
    builder = TableBuilder(Modality.IMAGE, [spec("width")])
    builder.add(sample(0, 0), {})
    assert np.isnan(builder.table().columns[0].values).all()


@pytest.mark.parametrize(("kind", "value"), [("number", "12"), ("flag", 1), ("flag", "yes")])
def test_a_value_of_another_kind_is_refused(kind: str, value: object) -> None:
    with pytest.raises(TypeError, match="width"):
        TableBuilder(Modality.IMAGE, [spec("width", kind)]).add(sample(0, 0), {"width": value})  # type: ignore[dict-item]


def test_the_order_of_the_samples_has_no_effect() -> None:
    columns = {"width": [5, 1, 3, None], "codec": ["z", "a", "m", "a"]}
    one, other = table([0, 1, 0, 1], columns), table([0, 1, 0, 1], columns, order=[3, 1, 0, 2])
    assert one.samples == other.samples
    for left, right in zip(one.columns, other.columns, strict=True):
        assert left.levels == right.levels
        np.testing.assert_array_equal(left.values, right.values)


def test_some_of_the_rows() -> None:
    part = table([0, 1, 0], {"codec": ["a", "b", "c"]}).take(np.array([0, 2]))
    assert part.labels.tolist() == [0, 0]
    assert [part.columns[0].text(i) for i in range(2)] == ["a", "c"]
