"""Long recordings in windows: the mean is that of all windows, each outcome is one, and short ones are as evaluated."""

from __future__ import annotations

import dataclasses
import math
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import expit

from gasdet.bundle.calibration import CalibratorFile
from gasdet.errors import MediaError
from gasdet.evaluation import score
from gasdet.evaluation.inference import Scorer
from gasdet.evaluation.job import DecodeResult, Job
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.score import score_samples
from gasdet.evaluation.windows import score_windows, window_starts
from gasdet.media import decode
from gasdet.types import Locator, Modality, Preprocessing, Reason

RATE, N = 8000, 800
OPTIONS = RunOptions(device="cpu", workers=2, batch_size=4)
PLATT = CalibratorFile(
    method="platt", parameters={"scale": 0.5, "bias": -1.0}, detector="tiny", weights_sha256="0" * 64
)


class Level(torch.nn.Module):
    """Logits (1, 1 + 10 * mean) of each window; does what `deeds` say for a window that holds a value."""

    def __init__(self, **deeds: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.deeds = {float(name.removeprefix("at_")): deed for name, deed in deeds.items()}
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        mean = x.mean(1)
        logits = torch.stack([torch.ones_like(mean), 1 + 10 * mean], 1)
        for value, deed in self.deeds.items():
            if (x == value).any():
                logits = deed(logits)
        return logits


def audio(seconds: float = N / RATE, **keys: Any) -> Preprocessing:
    return Preprocessing(Modality.AUDIO, sample_rate=RATE, duration_seconds=seconds, **keys)


@pytest.fixture
def detector(make_detector: Callable[..., Any]) -> Callable[..., Any]:
    """An audio detector around `Level`."""

    def make(module: Any = None, *, keys: Preprocessing | None = None, **changes: Any) -> Any:
        return make_detector(module or Level(), modality=Modality.AUDIO, preprocessing=keys or audio(), **changes)

    return make


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(np.float32)


@given(window=st.integers(1, 50), longer=st.integers(1, 400))
def test_windows_cover_a_recording_and_only_the_last_overlaps(window: int, longer: int) -> None:
    have = window + longer
    starts = window_starts(have, window)
    assert starts[0] == 0
    assert starts[-1] + window == have
    hops = np.diff(starts)
    assert (hops[:-1] == window).all()
    assert 0 < hops[-1] <= window
    assert len(starts) == math.ceil(have / window)


@pytest.mark.parametrize("count", [N + 1, 2 * N, 2 * N + 1, 5 * N - 1, 11 * N + 300])
def test_the_score_is_the_mean_margin_of_all_windows(detector: Callable[..., Any], count: int) -> None:
    samples = noise(count) + np.linspace(-0.2, 0.5, count, dtype=np.float32)
    module = Level()
    found = score_windows(Scorer(detector(module)), samples, 3, 4)
    cuts = [samples[s : s + N].astype(np.float64) for s in (*range(0, count - N, N), count - N)]
    margins = np.array([10 * cut.mean() for cut in cuts])
    assert found.reason is None
    assert found.logit_synthetic - found.logit_real == pytest.approx(margins.mean(), abs=1e-5)
    assert found.p_raw == found.p_synthetic == pytest.approx(expit(margins.mean()), abs=1e-6)
    told = found.details["windows"]
    assert told["mean_logit"] == pytest.approx(margins.mean(), abs=1e-5)
    assert told["max_logit"] == pytest.approx(margins.max(), abs=1e-5)
    assert told["p"] == pytest.approx(expit(margins), abs=1e-6)
    assert told["p_max"] == max(told["p"])
    ends = [min((n + 1) * N, count) / RATE for n in range(len(cuts))]
    np.testing.assert_allclose(told["seconds"], [[end - N / RATE, end] for end in ends])
    assert found.notes == (f"the mean of {len(cuts)} windows of 0.1 s",)
    assert sum(module.batches[1:]) == len(cuts)  # the first call is the warm-up
    assert max(module.batches) <= 4


def test_the_mean_is_calibrated_and_so_is_each_window(detector: Callable[..., Any]) -> None:
    samples = np.repeat(np.array([0.1, 0.4, -0.2], np.float32), N)
    found = score_windows(Scorer(detector(calibrator=PLATT)), samples, 0, 16)
    assert found.p_raw == pytest.approx(expit(1.0), abs=1e-6)
    assert found.p_synthetic == pytest.approx(expit(0.5 * 1.0 - 1.0), abs=1e-6)
    told = found.details["windows"]
    assert told["p"] == pytest.approx(expit(0.5 * np.array([1.0, 4.0, -2.0]) - 1.0), abs=1e-6)
    assert (told["mean_logit"], told["max_logit"]) == (pytest.approx(1.0, abs=1e-5), pytest.approx(4.0, abs=1e-5))
    assert told["p_max"] == pytest.approx(expit(0.5 * 4.0 - 1.0), abs=1e-6)


def test_a_time_limit_is_for_the_recording(detector: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("gasdet.evaluation.inference.time.perf_counter", lambda: next(clock) * 0.01)  # 10 ms a pass
    many, few = noise(8 * N), noise(3 * N)
    scorer = Scorer(detector(), time_limit_ms=35)
    assert score_windows(scorer, few, 0, 1).reason is None
    over = score_windows(scorer, many, 0, 1)
    assert (over.reason, over.p_synthetic) == (Reason.TIME_LIMIT, None)
    assert over.message == "40.0 ms for 4 of 8 windows, over the limit of 35 ms for a recording"


def test_three_classes_are_folded_in_each_window(detector: Callable[..., Any]) -> None:
    class Three(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.zeros(len(x)), x[:, 0], 2 * x[:, 0]], 1)

    samples = np.repeat(np.array([0.5, 1.0], np.float32), N)
    found = score_windows(Scorer(detector(Three(), num_classes=3)), samples, 0, 16)
    margins = np.logaddexp([0.5, 1.0], [1.0, 2.0])
    assert found.details["windows"]["mean_logit"] == pytest.approx(margins.mean())
    assert found.p_synthetic == pytest.approx(expit(margins.mean()))


def spoil(logits: torch.Tensor) -> torch.Tensor:
    return logits * math.nan


def fail(logits: torch.Tensor) -> torch.Tensor:
    raise ValueError("no voice\nsecond line")


@pytest.mark.parametrize(
    ("deed", "reason", "said"),
    [(spoil, Reason.NONFINITE_LOGITS, "logits (nan, nan)"), (fail, Reason.MODEL_ERROR, "ValueError: no voice")],
)
def test_one_window_without_a_score_leaves_the_recording_without(
    detector: Callable[..., Any], deed: Any, reason: Reason, said: str
) -> None:
    samples = noise(10 * N)
    samples[6 * N + 5] = 3.0
    module = Level(at_3=deed)
    found = score_windows(Scorer(detector(module)), samples, 0, 1)
    assert (found.reason, found.p_synthetic, found.p_raw) == (reason, None, None)
    assert found.message == f"window 7 of 10, 0.60 to 0.70 s: {said}"
    assert found.details == {}
    assert len(module.batches) <= 9  # the windows after it are not run


def test_out_of_memory_halves_the_windows_in_a_pass(detector: Callable[..., Any]) -> None:
    module = Level()
    whole = module.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(x)

    module.forward = forward  # type: ignore[method-assign]
    samples = np.repeat(np.linspace(-0.5, 0.5, 20, dtype=np.float32), N)
    found = score_windows(Scorer(detector(module)), samples, 0, 16)
    assert found.reason is None
    assert found.details["windows"]["p"] == pytest.approx(expit(np.linspace(-5, 5, 20)), abs=1e-5)
    assert max(module.batches) <= 3


def test_a_model_that_draws_random_numbers_repeats_itself_and_differs_between_windows(
    detector: Callable[..., Any],
) -> None:
    class Random(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.rand(len(x), 2)

    def run(row: int) -> Any:
        return score_windows(Scorer(detector(Random())), noise(20 * N), row, 4).details["windows"]["p"]

    assert run(0) == run(0)
    assert run(0) != run(1)
    assert len(set(run(0))) == 20


# From files.


class DecodesHere:
    """In the place of the decode processes, which take a second to start: the same function, in this process."""

    runs: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, **_: Any) -> None:
        self.runs.clear()

    def __enter__(self) -> DecodesHere:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, samples: Sequence[Any], keys: Preprocessing) -> Iterator[DecodeResult]:
        self.runs.append((len(samples), keys.num_samples))
        for index, sample in enumerate(samples):
            try:
                decoded = decode(Path(sample.locator.path), keys)
            except MediaError as error:
                yield DecodeResult(index, None, error.reason, str(error), 0.0)
            else:
                yield DecodeResult(index, decoded, None, "", 0.0)


@pytest.fixture
def decodes_here(monkeypatch: pytest.MonkeyPatch) -> type[DecodesHere]:
    monkeypatch.setattr(score, "DecodePool", DecodesHere)
    return DecodesHere


here = pytest.mark.usefixtures("decodes_here")


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """A 16-bit WAV; [n] or [n, channels]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    return path


@pytest.fixture
def recordings(make_sample: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Audio samples of files."""

    def of(*paths: Path) -> list[Any]:
        return [
            make_sample(path.name, n, modality=Modality.AUDIO, locator=Locator("file", str(path), size=-1))
            for n, path in enumerate(paths)
        ]

    return of


SAME = ("p_synthetic", "p_raw", "logit_real", "logit_synthetic", "status", "message", "duration_s", "decoder")


@here
@pytest.mark.parametrize("keys", [{}, {"audio_pad": "repeat"}, {"audio_crop": "start"}])
def test_what_is_no_longer_than_the_window_is_as_evaluate_has_it(
    tmp_path: Path, detector: Callable[..., Any], recordings: Callable[..., list[Any]], keys: dict[str, Any]
) -> None:
    counts = (N, N - 1, 1, N // 3, N // 2 + 1, N)
    files = [write(tmp_path / f"{n}.wav", noise(count, n)) for n, count in enumerate(counts)]
    files.append(write(tmp_path / "stereo.wav", noise(4000, 9).reshape(-1, 2), 44100))
    plain = list(score_samples([detector(keys=audio(**keys))], recordings(*files), OPTIONS))
    whole = list(score_samples([detector(keys=audio(**keys))], recordings(*files), OPTIONS, windows=True))
    assert [[r[c] for c in SAME] for r in whole] == [[r[c] for c in SAME] for r in plain]
    assert plain[1]["message"] == "padded 1 samples"
    assert all("details" not in record for record in whole)


@here
@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, RATE), (2, 44100), (1, 16000)])
def test_longer_ones_are_scored_to_their_end(
    tmp_path: Path, detector: Callable[..., Any], recordings: Callable[..., list[Any]], channels: int, rate: int
) -> None:
    count = round(rate * 0.735)
    samples = np.stack([noise(count, n) + np.linspace(-0.4, 0.4, count) for n in range(channels)], 1)
    path = write(tmp_path / "long.wav", np.clip(samples, -0.9, 0.9), rate)
    (record,) = score_samples([detector()], recordings(path), OPTIONS, windows=True)
    whole = decode(path, audio(0.0)).array.astype(np.float64)
    starts = [*range(0, len(whole) - N, N), len(whole) - N]
    margins = np.array([10 * whole[s : s + N].mean() for s in starts])
    assert len(starts) == 8
    assert record["p_synthetic"] == pytest.approx(expit(margins.mean()), abs=1e-5)
    assert record["details"]["windows"]["p"] == pytest.approx(expit(margins), abs=1e-5)
    assert record["details"]["windows"]["seconds"][-1][1] == pytest.approx(record["duration_s"], abs=1e-3)
    assert record["message"] == "the mean of 8 windows of 0.1 s"
    (one,) = score_samples([detector()], recordings(path), OPTIONS)
    middle = (len(whole) - N) // 2
    assert one["p_synthetic"] == pytest.approx(expit(10 * whole[middle : middle + N].mean()), abs=1e-5)
    assert "details" not in one


def test_detectors_with_other_windows_share_one_decode(
    tmp_path: Path, detector: Callable[..., Any], recordings: Callable[..., list[Any]], decodes_here: type[DecodesHere]
) -> None:
    files = [write(tmp_path / f"{n}.wav", noise(count, n)) for n, count in enumerate((500, 900, 3000, 800))]
    detectors = [
        detector(name="short"),
        detector(name="long", keys=audio(0.2, audio_pad="repeat", audio_crop="start")),
        detector(name="whole", keys=audio(0.0)),
        detector(name="short too"),
        detector(name="other rate", keys=Preprocessing(Modality.AUDIO, sample_rate=16000, duration_seconds=0.1)),
    ]
    records = list(score_samples(detectors, recordings(*files), OPTIONS, windows=True))
    assert [r["detector"] for r in records] == [d.name for d in detectors] * 4
    assert {r["status"] for r in records} == {"ok"}
    assert decodes_here.runs == [(4, 0), (4, 0)]
    cut = {(r["member"][:4], r["detector"]): len(r.get("details", {}).get("windows", {}).get("p", [])) for r in records}
    assert [cut["0001", d.name] for d in detectors] == [2, 0, 0, 2, 2]
    assert [cut["0002", d.name] for d in detectors] == [4, 2, 0, 4, 4]
    assert not any(cut["0000", d.name] or cut["0003", d.name] for d in detectors)
    by_name = {d.name: [r["p_synthetic"] for r in records if r["detector"] == d.name] for d in detectors}
    assert by_name["short"] == by_name["short too"]
    alone = list(score_samples([detector(keys=audio(0.0))], recordings(*files), OPTIONS))
    assert by_name["whole"] == pytest.approx([r["p_synthetic"] for r in alone], abs=1e-6)


@here
def test_every_recording_has_one_outcome_for_each_detector(
    tmp_path: Path, detector: Callable[..., Any], recordings: Callable[..., list[Any]], skipped_sample: Any, sink: Any
) -> None:
    files = [write(tmp_path / f"{n}.wav", noise(count, n)) for n, count in enumerate((3000, 100, 2000))]
    (tmp_path / "broken.wav").write_bytes(files[0].read_bytes()[:2000])
    loud = noise(4 * N)
    loud[N + 1] = -0.75
    plan = [
        *recordings(files[0], tmp_path / "broken.wav", files[1], tmp_path / "absent.wav", files[2]),
        skipped_sample,
        *recordings(write(tmp_path / "loud.wav", loud)),
    ]
    plan[5] = dataclasses.replace(skipped_sample, modality=Modality.AUDIO)
    bad = Level(**{"at_-0.75": fail})
    records = list(
        score_samples(
            [detector(name="good"), detector(bad, name="bad", keys=audio(0.05))], plan, OPTIONS, sink, windows=True
        )
    )
    found = [(r["status"], r["reason"]) for r in records]
    ok, error = ("ok", ""), "error"
    assert found[::2] == [
        ok,
        (error, "truncated"),
        ok,
        (error, "file_missing"),
        ok,
        ("skipped", "label_unreadable"),
        ok,
    ]
    assert found[1::2] == [*found[:11:2], (error, "model_error")]
    assert records[-1]["message"] == "window 3 of 8, 0.10 to 0.15 s: ValueError: no voice"
    assert records[-1]["p_synthetic"] is None
    assert (sink.done, sink.errors) == (14, 5)


@here
def test_a_cut_recording_waits_for_no_other(
    tmp_path: Path, detector: Callable[..., Any], recordings: Callable[..., list[Any]]
) -> None:
    """Its record comes before the next is scored; short ones go through the model together, as ever."""
    module = Level()
    counts = (N, 3 * N, N // 2, N, N, N, N, 2 * N, 100)
    files = [write(tmp_path / f"{n}.wav", noise(count, n)) for n, count in enumerate(counts)]
    records = score_samples([detector(module)], recordings(*files), OPTIONS, windows=True)
    passes = [(next(records)["member"][5:6], len(module.batches) - 1) for _ in counts]
    # pass 1 is the windows of 1.wav, pass 2 is 0.wav, 3 to 6 are 2.wav to 5.wav ...
    assert passes == [*zip("01", (2, 2), strict=True), *zip("2345", [3] * 4, strict=True), ("6", 5), ("7", 5), ("8", 6)]
    assert module.batches[1:] == [3, 1, 4, 2, 1, 1]


def test_images_and_recordings_through_the_decode_processes(
    tmp_path: Path,
    detector: Callable[..., Any],
    make_detector: Callable[..., Any],
    recordings: Callable[..., list[Any]],
) -> None:
    picture = np.full((20, 20, 3), 140, np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    (sound,) = recordings(write(tmp_path / "b.wav", np.full(2 * N, 0.25)))
    photo = dataclasses.replace(
        sound, sample_id="1" * 32, modality=Modality.IMAGE, locator=Locator("file", str(tmp_path / "a.png"))
    )
    found = list(score_samples([detector(), make_detector()], [sound, photo], OPTIONS, windows=True, details=True))
    assert [r["p_synthetic"] for r in found] == pytest.approx([expit(2.5), expit(2.0)])
    assert ["details" in r for r in found] == [True, False]


def test_a_whole_recording_is_expected_to_be_large(make_sample: Callable[..., Any]) -> None:
    """Before the first is decoded: else every process would be handed several hours at once."""
    files = [
        make_sample("a", n, modality=Modality.AUDIO, locator=Locator("file", "a", size=size))
        for n, size in enumerate((1000, -1, 40_000_000))
    ]
    hour = 16000 * 3600 * 4
    whole = Preprocessing(Modality.AUDIO, duration_seconds=0.0)
    assert Job(files, whole).largest == hour
    assert Job(files[:2], whole).largest == 8000
    assert Job(files, Preprocessing(Modality.AUDIO)).largest == 0
    job = Job(files, whole)
    assert job.next_task(0) is not None
    assert job.next_task(1) is None  # two such would be over the bound


@here
def test_real_recordings(
    shared_media: Path, detector: Callable[..., Any], recordings: Callable[..., list[Any]]
) -> None:
    files = sorted(p for p in (shared_media / "audio").rglob("*") if p.is_file())
    keys = Preprocessing(Modality.AUDIO, sample_rate=16000, duration_seconds=2.0)
    records = list(score_samples([detector(keys=keys)], recordings(*files), OPTIONS, windows=True))
    assert len(records) == len(files) > 20
    cut = 0
    for path, record in zip(files, records, strict=True):
        whole = decode(path, Preprocessing(Modality.AUDIO, duration_seconds=0.0)).array.astype(np.float64)
        pieces = [whole[s : s + 32000] for s in range(0, len(whole), 32000)]
        if len(whole) > 32000:
            pieces[-1] = whole[-32000:]
            cut += 1
            assert len(record["details"]["windows"]["p"]) == len(pieces)
        expected = np.mean([10 * piece.sum() / 32000 for piece in pieces])
        assert record["p_synthetic"] == pytest.approx(expit(expected), abs=1e-5)
    assert cut > 10
