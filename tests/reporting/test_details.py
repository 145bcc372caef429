from __future__ import annotations

import json

import numpy as np
import pytest

from gasdet.reporting.details import as_json


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([0.12345678, 1234567.8, 1e-9], np.float64), [0.123457, 1234570.0, 1e-9]),
        (np.float32(0.1), 0.1),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([np.nan, np.inf, -np.inf, 0.5]), [None, None, None, 0.5]),
        ({"a": {"b": (1.23456789, "text", None, True)}}, {"a": {"b": [1.23457, "text", None, True]}}),
        (np.array(7, np.uint8), 7),
    ],
)
def test_six_significant_digits_and_null(value: object, expected: object) -> None:
    assert as_json(value) == expected
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == expected
