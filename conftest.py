"""What holds for every test of the checkout, the core's and the plugins'."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

# The demo data are made once for a checkout, and no test touches the user's own cache folder.
os.environ.setdefault("GASDET_CACHE", str(Path(__file__).resolve().parent / ".cache" / "gasdet"))

if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes with a thread for every processor wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and output that is not for a terminal is not wrapped


@pytest.fixture(scope="session", autouse=True)
def _decode_processes_start_at_once() -> Iterator[None]:
    """Those that this process starts: see tests/decode_starter.py."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "tests"))
    from decode_starter import Starter

    sys.path.pop(0)
    from gasdet.evaluation import processes

    starter = Starter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": starter.popen}))
        yield
    starter.stop()
