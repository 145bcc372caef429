"""Side outputs on a recording's own time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gasdet.evaluation.series import Joined, in_recording, placed_in_time
from gasdet.types import Modality, Preprocessing

FRAMES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
"""Middles of frames of 0.2 s in a window of 1 s."""


def window(first: int = 0, **more: Any) -> dict[str, Any]:
    return {"p": np.arange(first, first + 5, dtype=np.float32), "p_seconds": FRAMES.copy(), **more}


def test_times_count_from_the_start_of_the_recording() -> None:
    found = in_recording(window(level=np.float32(3)), (2.0, 3.0))
    np.testing.assert_allclose(found["p_seconds"], FRAMES + 2)
    np.testing.assert_array_equal(found["p"], range(5))
    assert found["level"] == 3


def test_what_lies_in_the_padding_is_left_out() -> None:
    found = in_recording(window(), (0.0, 0.6))
    np.testing.assert_allclose(found["p_seconds"], [0.1, 0.3, 0.5])
    np.testing.assert_array_equal(found["p"], [0, 1, 2])


def test_windows_join_to_one_series_in_which_no_time_occurs_twice() -> None:
    joined = Joined(1000)
    spans = [(0.0, 1.0), (1.0, 2.0), (1.4, 2.4)]
    for number, span in enumerate(spans):
        joined.add(window(10 * number, level=np.float32(number), place=np.full((2, 2), number)), span)
    found, notes = joined.result()
    assert notes == []
    np.testing.assert_allclose(found["p_seconds"], np.arange(12) * 0.2 + 0.1)
    np.testing.assert_array_equal(found["p"], [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 23, 24])
    np.testing.assert_array_equal(found["level"], [0, 1, 2])
    assert found["place"].shape == (3, 2, 2)


def test_a_series_of_vectors_is_joined_along_time() -> None:
    joined = Joined(1000)
    for number in range(2):
        joined.add({"v": np.ones((5, 3)) * number, "v_seconds": FRAMES}, (number, number + 1))
    found, _ = joined.result()
    assert found["v"].shape == (10, 3)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": np.zeros(2)}, {}, "not every window has it"),
        ({}, {"a": np.zeros(2)}, "not every window has it"),
        ({"a": np.zeros(2)}, {"a": np.zeros(3)}, "its shape differs between windows"),
        ({"a": np.zeros(60)}, {"a": np.zeros(60)}, "it has over 100 values in all windows"),
    ],
)
def test_what_cannot_be_joined_is_left_out_with_a_note(first: Any, second: Any, expected: str) -> None:
    joined = Joined(100)
    joined.add({**first, "b": np.zeros(1)}, (0.0, 1.0))
    joined.add({**second, "b": np.ones(1)}, (1.0, 2.0))
    found, notes = joined.result()
    assert list(found) == ["b"]
    assert notes == [f"the model's detail 'a' is left out: {expected}"]


@pytest.mark.parametrize(
    ("keys", "duration", "expected"),
    [
        ({"duration_seconds": 1.0}, 0.6, [0.1, 0.3, 0.5]),  # padded
        ({"duration_seconds": 1.0}, 5.0, FRAMES + 2.0),  # its middle
        ({"duration_seconds": 1.0, "audio_crop": "start"}, 5.0, FRAMES),
        ({"duration_seconds": 0.0}, 0.85, FRAMES[:4]),  # the whole of it
        ({"duration_seconds": 1.0}, None, FRAMES),
    ],
)
def test_one_window_lies_where_the_decoder_took_it(keys: Any, duration: float | None, expected: Any) -> None:
    found = placed_in_time(window(), Preprocessing(Modality.AUDIO, **keys), duration)
    np.testing.assert_allclose(found["p_seconds"], expected)
    assert len(found["p"]) == len(expected)


def test_other_media_are_left_as_they_are() -> None:
    given = window()
    assert placed_in_time(given, Preprocessing(Modality.VIDEO), 0.2)["p_seconds"] is given["p_seconds"]
