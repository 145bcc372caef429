"""What holds for every test of the checkout, the core's and the plugins'."""

from __future__ import annotations

import os
from pathlib import Path

# The demo data are made once for a checkout, and no test touches the user's own cache folder.
os.environ.setdefault("GASDET_CACHE", str(Path(__file__).resolve().parent / ".cache" / "gasdet"))

if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes with a thread for every processor wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and output that is not for a terminal is not wrapped
