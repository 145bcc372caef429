"""Progress: quiet for short work, a line now and then for long work, rich only on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap

import pytest

from gasdet.cli import progress


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_short_work_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    sink = progress.PlainProgress()
    sink.start("scoring", 100)
    for _ in range(10):
        clock.now += 0.19
        sink.advance(10, 0)
    sink.finish()
    assert capsys.readouterr() == ("", "")


def test_long_work_says_so_every_five_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    sink = progress.PlainProgress()
    sink.start("scoring", 1200)
    for second in range(12):
        clock.now += 1.0
        sink.advance(100, 1 if second == 0 else 0)
    sink.finish()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "scoring: 200 of 1200, 1 error, 100.0/s, 10 s left",
        "scoring: 700 of 1200, 1 error, 100.0/s, 5 s left",
        "scoring: 1200 of 1200, 1 error, 100.0/s",
    ]


def test_bytes_are_told_with_their_unit(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    sink = progress.PlainProgress()
    sink.start("downloading", 12 << 20, unit="bytes")
    for _ in range(6):
        clock.now += 1.0
        sink.advance(1 << 20, 0)
    sink.start("scoring", 100)  # the unit is of that piece of work only
    for _ in range(2):
        clock.now += 1.0
        sink.advance(25, 0)
    assert capsys.readouterr().err.splitlines() == [
        "downloading: 2.0 MiB of 12.0 MiB, 1.0 MiB/s, 10 s left",
        "scoring: 50 of 100, 25.0/s, 2 s left",
    ]


def test_the_last_line_tells_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    sink = progress.PlainProgress()
    sink.start("scoring", 5)
    for _ in range(5):
        clock.now += 1.0
        sink.advance(1, 0)
    sink.finish()
    assert capsys.readouterr().err.splitlines() == ["scoring: 2 of 5, 1.0/s, 3 s left", "scoring: 5 of 5, 1.0/s"]


def test_a_second_stage_counts_from_zero(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    sink = progress.PlainProgress(first=0.0)
    sink.start("one", 2)
    clock.now += 1
    sink.advance(2, 2)
    sink.finish()
    sink.start("two", 4)
    for _ in range(2):
        clock.now += 1
        sink.advance(1, 0)
    sink.finish()
    assert capsys.readouterr().err.splitlines()[-1] == "two: 2 of 4, 1.0/s, 2 s left"


def test_the_start_of_processes_is_no_part_of_the_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """What took 30 s before its first of 10,000 results does not have 83 hours to go."""
    sink = progress.PlainProgress()
    sink.start("decoding", 10_000)
    clock.now += 30.0
    sink.advance(1, 0)
    clock.now += 0.2  # several processes answer at once
    sink.advance(3, 0)
    for _ in range(5):
        clock.now += 1.0
        sink.advance(100, 0)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "decoding: 1 of 10000"
    assert second == "decoding: 504 of 10000, 96.7/s, 2 min left"


def test_a_file_that_starts_over_makes_no_rate_and_no_time_left_below_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = progress.PlainProgress()
    sink.start("downloading", 10 << 20, unit="bytes")
    sink.advance(4 << 20, 0)  # of an earlier attempt
    for _ in range(2):
        clock.now += 1.5
        sink.advance(1 << 19, 0)
    clock.now += 5.0
    sink.advance(-(5 << 20), 0)
    clock.now += 5.0
    sink.advance(1 << 20, 0)
    assert capsys.readouterr().err.splitlines() == [
        "downloading: 5.0 MiB of 10.0 MiB, 341.3 KiB/s, 15 s left",
        "downloading: 0 bytes of 10.0 MiB, 128.0 KiB/s, 80 s left",
        "downloading: 1.0 MiB of 10.0 MiB, 157.5 KiB/s, 58 s left",
    ]


def test_nothing_but_a_start_over_is_no_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    sink = progress.PlainProgress(first=0.0)
    sink.start("downloading", 10 << 20, unit="bytes")
    sink.advance(1 << 20, 0)
    clock.now += 9.0
    sink.advance(-(1 << 20), 0)
    assert capsys.readouterr().err.splitlines()[-1] == "downloading: 0 bytes of 10.0 MiB"


def test_notes_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    for sink in (progress.PlainProgress(), progress.BarProgress()):
        sink.note("demo [weights] are used")
    assert capsys.readouterr() == ("", "demo [weights] are used\n" * 2)


def test_off_the_terminal_lines_are_printed() -> None:
    assert not sys.stderr.isatty()
    assert isinstance(progress.progress(), progress.PlainProgress)


def test_on_a_terminal_there_is_a_bar_with_rate_and_errors() -> None:
    code = textwrap.dedent("""
        import sys, time
        import gasdet.cli.progress
        from gasdet.cli.progress import BarProgress, progress

        assert "rich" not in sys.modules
        gasdet.cli.progress._RATE_AFTER_S = 0.1
        sink = progress()
        assert isinstance(sink, BarProgress)
        sink.start("scoring", 40)
        for i in range(40):
            time.sleep(0.01)
            sink.advance(1, i % 10 == 0)
            if i == 20:
                sink.note("half [way]")
                sink.result("a [result]")
        sink.finish()
        print("rich" in sys.modules)
    """)
    main, side = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=side, text=True
    )
    os.close(side)
    shown = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    out, _ = done.communicate()
    os.close(main)
    assert (done.returncode, out) == (0, "a [result]\nTrue\n"), shown
    text = shown.decode()
    assert "scoring" in text
    assert "half [way]" in text
    assert "4 errors" in text
    assert "/s" in text
