"""Fixtures for the evaluation's tests; what they hand out is in `support/`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gasdet.data import Dataset
from gasdet.evaluation import pipeline, processes
from gasdet.types import Reason, Sample

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))  # decode processes inherit it

import evaluation_builders as build  # noqa: E402


@pytest.fixture
def real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode processes that start as a user's do, and are this one's children: the suite may have a quicker way."""
    monkeypatch.setattr(processes, "subprocess", subprocess)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> str:
    """Decode processes that obey `support/hostile_decoders.py`."""
    monkeypatch.setattr(pipeline, "DECODE_FUNCTION", "hostile_decoders:decode")
    return pipeline.DECODE_FUNCTION


@pytest.fixture
def samples() -> Callable[..., list[Sample]]:
    """`samples("ok:1", "hang:")`: one sample for each path."""
    return lambda *paths: [build.make_sample(path, number) for number, path in enumerate(paths)]


@pytest.fixture
def skipped_sample() -> Sample:
    """A sample whose label could not be read."""
    return build.make_sample(
        "ok:1", 9999, media_type=None, skip=Reason.LABEL_UNREADABLE, skip_message="no label 'perhaps'"
    )


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """`make_sample(path, number, **changes)`."""
    return build.make_sample


@pytest.fixture
def make_dataset() -> Callable[[Sequence[Sample]], Dataset]:
    """`make_dataset(samples)`."""
    return build.make_dataset


@pytest.fixture
def make_detector() -> Callable[..., Any]:
    """`make_detector(module, name=..., modality=...)`."""
    return build.make_detector


@pytest.fixture
def sink() -> build.Sink:
    """A progress sink that keeps what it is told."""
    return build.Sink()
