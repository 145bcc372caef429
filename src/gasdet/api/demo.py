"""The demo data are made when they are first asked for, which takes a while: with progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gasdet.data.demo import ensure_demo
from gasdet.progress import ProgressSink


def make_demo_data(data: str | Path | Sequence[str | Path], sink: ProgressSink) -> None:
    """Make the demo data now, if ``data`` asks for them and they are not there yet, and say how far it is."""
    if "demo" not in ([data] if isinstance(data, str | Path) else data):
        return
    made = 0

    def report(done: int, total: int) -> None:
        nonlocal made
        if not made:
            sink.start("making the demo data", total)
        sink.advance(done - made, 0)
        made = done

    ensure_demo(progress=report)
    if made:
        sink.finish()
