"""Decode processes: whatever a file does to its process costs that file and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from gasdet.cache.store import Store
from gasdet.errors import RunError
from gasdet.evaluation import job as job_module
from gasdet.evaluation import pipeline
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.types import Modality, Preprocessing, Reason, Sample

pytestmark = pytest.mark.usefixtures("real_processes")

IMAGE = Preprocessing(Modality.IMAGE)
SUPPORT = Path(__file__).parent / "support"


def decode_all(samples: Sequence[Sample], *, workers: int = 2, timeout: float = 20.0, **options) -> list[DecodeResult]:
    with DecodePool(workers=workers, timeout=timeout, **options) as pool:
        return list(pool.run(samples, IMAGE))


def value(result: DecodeResult) -> int:
    assert result.decoded is not None, result
    return int(result.decoded.array.flat[0])


def test_results_come_in_order_one_for_each(hostile, samples):
    paths = [f"ok:{n}" if n % 7 else "sleep:0.03" for n in range(100)]
    results = decode_all(samples(*paths))
    assert [r.index for r in results] == list(range(100))
    assert [value(r) for r in results] == [n if n % 7 else 0 for n in range(100)]
    assert all(r.reason is None and r.message == "" for r in results)
    assert all(r.decode_ms > 25 for r in results if r.index % 7 == 0)


@pytest.mark.parametrize("failing", ["selectors.DefaultSelector", "socket.socketpair", "tempfile.mkdtemp"])
def test_what_was_opened_is_closed_where_a_pool_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    pool = DecodePool(workers=1, timeout=20.0, cache=DecodeCache(tmp_path / "cache"))
    before = len(os.listdir("/proc/self/fd"))

    def fails(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(failing, fails)
        with pytest.raises(OSError, match="Too many"):
            pool.__enter__()
    assert len(os.listdir("/proc/self/fd")) == before
    assert pool._thread is None
    Store(tmp_path / "cache", 2**20).evict(0)  # which removes the jobs that are over
    assert list((tmp_path / "cache" / "jobs").iterdir()) == []
    pool.close()


DEADLY = {
    "segfault:": (Reason.DECODER_CRASHED, "the decode process was ended by SIGSEGV"),
    "exit:": (Reason.DECODER_CRASHED, "the decode process exited with status 3"),
    "abort_with_words:": (Reason.DECODER_CRASHED, "was ended by SIGABRT: double free or corruption"),
    "raise:": (Reason.DECODE_FAILED, "ValueError: first line"),
    "leave:": (Reason.DECODE_FAILED, "SystemExit: leaving"),
    "memory:": (Reason.DECODER_OUT_OF_MEMORY, "MemoryError"),
    "truncated:": (Reason.TRUNCATED, "ends after 12 of 96 rows"),
}


def test_each_failure_costs_its_own_sample_only(hostile, samples):
    paths = [f"ok:{n}" for n in range(60)]
    for place, path in enumerate(DEADLY):
        paths[3 + 5 * place] = path
    results = decode_all(samples(*paths))
    assert [r.index for r in results] == list(range(60))
    for path, result in zip(paths, results, strict=True):
        if path in DEADLY:
            reason, words = DEADLY[path]
            assert result.decoded is None
            assert result.reason is reason
            assert words in result.message
        else:
            assert result.reason is None
            assert value(result) == result.index


@pytest.mark.parametrize("how", ["hang:", "hang_in_native_code:"])
def test_a_hang_costs_its_sample_and_its_deadline(hostile, samples, how):
    paths = ["ok:1"] * 5 + [how] + ["ok:2"] * 30
    start = time.monotonic()
    results = decode_all(samples(*paths), timeout=1.0)
    assert time.monotonic() - start < 10
    assert [r.reason for r in results] == [None] * 5 + [Reason.DECODE_TIMEOUT] + [None] * 30
    assert results[5].message == "decoding took longer than 1 s"
    assert 1000 <= results[5].decode_ms < 5000


def test_others_go_on_while_one_hangs(hostile, samples):
    with DecodePool(workers=2, timeout=3.0) as pool:
        results = pool.run(samples("hang:", *["ok:1"] * 200), IMAGE)
        assert next(results).reason is Reason.DECODE_TIMEOUT
        start = time.monotonic()
        assert sum(1 for r in results if r.reason is None) == 200
        assert time.monotonic() - start < 1.0, "the others had not been decoded meanwhile"


def test_every_file_deadly_still_ends(hostile, samples):
    results = decode_all(samples(*["abort:"] * 3), workers=2)
    assert [r.reason for r in results] == [Reason.DECODER_CRASHED] * 3


def test_a_crash_that_the_file_before_caused_is_not_held_against_it(hostile, samples):
    results = decode_all(samples("ok:1", "abort_unless_fresh:", "ok:2"), workers=1)
    assert [r.reason for r in results] == [None, None, None]


def test_a_process_killed_from_outside_costs_nothing(hostile, samples):
    with DecodePool(workers=2, timeout=20) as pool:
        results = pool.run(samples(*["sleep:0.02"] * 60), IMAGE)
        reasons = [next(results).reason]
        for worker in pool._workers:
            os.kill(worker.pid, signal.SIGKILL)
        reasons += [r.reason for r in results]
    assert reasons == [None] * 60


def test_processes_are_recycled(hostile, samples):
    results = decode_all(samples(*["files_seen:"] * 50), workers=2, recycle_after=5)
    assert len(results) == 50
    most = max(value(r) for r in results)
    assert 5 <= most <= 5 + pipeline._MAX_DEPTH


def test_memory_is_bounded_when_nobody_takes_the_results(hostile, samples, monkeypatch):
    size = 3 * 512 * 512
    monkeypatch.setattr(job_module, "MAX_AHEAD_BYTES", 10 * size)
    with DecodePool(workers=2, timeout=20) as pool:
        results = pool.run(samples(*["side:512"] * 100), IMAGE)
        next(results)
        time.sleep(1.0)
        job = pool._job
        assert job is not None
        # One may be decoded for each process before the first size is known.
        assert len(job.results) <= 10
        assert job.waiting_bytes <= 10 * size
        assert sum(1 for _ in results) == 99


def test_the_number_decoded_ahead_is_bounded(hostile, samples, monkeypatch):
    monkeypatch.setattr(job_module, "MAX_AHEAD", 16)
    with DecodePool(workers=2, timeout=20) as pool:
        results = pool.run(samples(*["ok:1"] * 100), IMAGE)
        next(results)
        time.sleep(0.5)
        assert pool._job is not None
        assert len(pool._job.results) <= 16
        assert sum(1 for _ in results) == 99


def test_one_pool_serves_run_after_run(hostile, samples):
    with DecodePool(workers=2, timeout=20) as pool:
        assert [value(r) for r in pool.run(samples("ok:1", "ok:2"), IMAGE)] == [1, 2]
        assert list(pool.run([], IMAGE)) == []
        audio = Preprocessing(Modality.AUDIO)
        assert [value(r) for r in pool.run(samples("ok:3", "abort:", "ok:4")[::2], audio)] == [3, 4]
        left_early = pool.run(samples(*["sleep:0.05"] * 50), IMAGE)
        next(left_early)
        left_early.close()
        assert [value(r) for r in pool.run(samples("ok:5", "ok:6"), IMAGE)] == [5, 6]


def test_two_runs_at_once_are_refused(hostile, samples):
    with DecodePool(workers=1, timeout=20) as pool:
        first = pool.run(samples("ok:1", "ok:2"), IMAGE)
        next(first)
        with pytest.raises(RuntimeError, match="one run at a time"):
            next(pool.run(samples("ok:3"), IMAGE))


def test_processes_that_cannot_start_are_an_error_that_says_why(monkeypatch, samples):
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setattr(pipeline, "DECODE_FUNCTION", "does_not_import:decode")
    with pytest.raises(RunError, match=r"ImportError: libgasdet_test\.so"):
        decode_all(samples("ok:1"))


def test_decode_processes_have_one_thread_and_no_torch(hostile, samples):
    import torch  # noqa: F401 (so that this process has it and the others still do not)

    results = decode_all(samples("sees_torch:", "environment:OMP_NUM_THREADS", "environment:OPENBLAS_NUM_THREADS"))
    assert [value(r) for r in results] == [0, 1, 1]


def test_nothing_that_decoders_print_comes_through(hostile, samples, capfd):
    decode_all(samples("noise:", "abort_with_words:", "ok:1"))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_nothing_is_left_when_the_pool_is_closed(hostile, samples, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    decode_all(samples("temporary_file:", "ok:1", "hang:"), timeout=0.5)
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name == "gasdet-decode"]
    assert list(tmp_path.iterdir()) == []


def test_it_works_from_another_thread(hostile, samples):
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(value(r) for r in decode_all(samples("ok:8", "ok:9"))))
    thread.start()
    thread.join(30)
    assert found == [8, 9]


SCRIPT = """
import sys
sys.path.insert(0, {support!r})
from gasdet.evaluation import pipeline
from gasdet.types import Locator, MediaType, Modality, Preprocessing, Sample
pipeline.DECODE_FUNCTION = "hostile_decoders:decode"
samples = [Sample(str(n), "d", str(n), Locator("file", p), Modality.IMAGE, None) for n, p in enumerate({paths!r})]
with pipeline.DecodePool(workers=2, timeout=20) as pool:
    for result in pool.run(samples, Preprocessing(Modality.IMAGE)):
        print(result.index, result.reason, flush=True)
"""


def start_script(tmp_path: Path, paths: list[str]) -> subprocess.Popen[str]:
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT.format(support=str(SUPPORT), paths=paths))
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def test_an_unguarded_script_works(tmp_path):
    process = start_script(tmp_path, ["ok:1", "abort:", "ok:2"])
    out, err = process.communicate(timeout=60)
    assert out.split() == ["0", "None", "1", "decoder_crashed", "2", "None"]
    assert err == ""
    assert process.returncode == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_an_interrupted_script(tmp_path, ending):
    process = start_script(tmp_path, ["ok:1"] + ["sleep:0.05"] * 2000)
    assert process.stdout is not None
    process.stdout.readline()
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    if ending == signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does: to the whole group
    else:
        process.kill()
    _, err = process.communicate(timeout=30)
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert [p.name for p in tmp_path.iterdir()] == ["unguarded.py"]
    if ending == signal.SIGINT:
        assert err.count("Traceback") == 1  # the script's own
        assert err.strip().endswith("KeyboardInterrupt")


@pytest.mark.timeout(60, method="thread")  # a blocked main thread would not come back from a failed test either
def test_an_interrupt_at_any_moment_blocks_nothing(hostile, samples):
    """Ctrl-C raises between any two lines of the main thread; wherever that is, no lock may stay taken."""

    class InterruptedAnywhere(Exception):
        pass

    def interrupt(signum, frame):
        raise InterruptedAnywhere

    many = samples(*(f"ok:{n}" for n in range(3000)))
    before = signal.signal(signal.SIGUSR1, interrupt)
    interrupted = 0
    try:
        with DecodePool(workers=1, timeout=20) as pool:
            next(iter(pool.run(many[:1], IMAGE)))
            for attempt in range(150):
                results = pool.run(many, IMAGE)
                timer = threading.Timer(0.0005 * (attempt % 23), os.kill, (os.getpid(), signal.SIGUSR1))
                try:
                    timer.start()
                    for _ in results:
                        pass
                    timer.join()
                except InterruptedAnywhere:
                    interrupted += 1
                finally:
                    with contextlib.suppress(InterruptedAnywhere):  # the signal may have come after the last result
                        timer.join()
                    results.close()
            assert [r.index for r in pool.run(many[:5], IMAGE)] == [0, 1, 2, 3, 4]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert interrupted > 100
