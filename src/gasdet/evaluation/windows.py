"""Long recordings: decoded whole, scored window by window, one outcome for each.

A recording that is no longer than a detector's window is decoded, padded and batched exactly as an evaluation does it. A
longer one is cut into windows that lie side by side, the last one at the recording's end; the mean of their margins (the
logit of synthetic less the logit of real) is the score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from gasdet.bundle.details import MAX_VALUES, WINDOWS
from gasdet.evaluation.inference import Score, Scorer, probability
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.evaluation.plan import skipped
from gasdet.evaluation.records import Record
from gasdet.evaluation.scoring import Advance, Array, Block, Observe, enter
from gasdet.evaluation.series import Joined, Span
from gasdet.evaluation.text import one_line
from gasdet.media import Decoded
from gasdet.media.audio import fit_window
from gasdet.types import Modality, Preprocessing, Reason, Sample

_MOST_WINDOWS = 65_537
"""Sets the random draws of recordings apart, by their windows: torch's generator heeds 32 bits of a seed."""


def decoded_whole(preprocessing: Preprocessing) -> Preprocessing:
    """What is decoded for a detector where recordings are cut into windows: equal for all that take the same sample rate."""
    if preprocessing.modality is not Modality.AUDIO:
        return preprocessing
    return Preprocessing(Modality.AUDIO, sample_rate=preprocessing.sample_rate, duration_seconds=0.0)


def window_starts(samples: int, window: int) -> list[int]:
    """Where windows of ``window`` samples begin in a longer recording: side by side, and one that ends where it ends."""
    starts = list(range(0, samples - window + 1, window))
    return starts if starts[-1] + window == samples else [*starts, samples - window]


def score_recordings(
    scorers: Sequence[Scorer],
    preprocessing: Preprocessing,
    samples: Sequence[Sample],
    rows: Sequence[int],
    pool: DecodePool,
    *,
    batch_size: int,
    advance: Advance | None = None,
    observe: Observe | None = None,
) -> Iterator[tuple[Sequence[int], list[Record]]]:
    """As ``score_blocks``, of whole recordings, each decoded once for detectors with whatever windows.

    A block has ``batch_size`` rows, as it has there; but it ends with a recording that is cut, whose score may have taken
    minutes and should not wait for others.

    Args:
        scorers: One for each detector.
        preprocessing: What ``decoded_whole`` gives for each of them.
        samples: The whole plan.
        rows: Of the plan.
        pool: Where decoding happens.
        batch_size: Most recordings, or windows, in a forward pass.
        advance: Told how many more records are done, and how many of them without a score.
        observe: Told of every score with side outputs of a recording that is no longer than the window. One that is scored in
            windows is no input of the model, and is not told of.

    Yields:
        Each block's rows and records: its rows in order and, for each, the scorers in order.
    """
    alike: dict[str, list[int]] = {}
    for position, scorer in enumerate(scorers):
        alike.setdefault(scorer.detector.preprocessing.fingerprint(), []).append(position)
    places = {p: (part, index) for part, group in enumerate(alike.values()) for index, p in enumerate(group)}
    order = [places[position] for position in range(len(scorers))]
    decodable = [samples[row] for row in rows if skipped(samples[row]) is None]
    with closing(pool.run(decodable, preprocessing)) as results:
        start = 0
        while start < len(rows):
            block = rows[start : start + batch_size]
            parts = [
                _WindowedBlock([scorers[p] for p in group], samples, block, batch_size, "", advance, observe)
                for group in alike.values()
            ]
            done = 0
            while done < len(block) and not any(part.cut for part in parts):
                row = block[done]
                result = next(results) if skipped(samples[row]) is None else None
                for part in parts:
                    part.receive(row, result)
                del result  # up to 230 MB that the next recording needs
                done += 1
            for part in parts:
                part.finish()
            block = block[:done]
            yield block, [parts[part].records[row][index] for row in block for part, index in order]
            start += done


class _WindowedBlock(Block):
    """The records of one block for detectors with the same window.

    Attributes:
        cut: Whether a recording was scored in windows.
    """

    cut = False

    def receive(self, row: int, result: DecodeResult | None) -> None:
        """Take a recording decoded whole (None for a sample that is skipped)."""
        if result is None or result.decoded is None:
            super().receive(row, result)
            return
        preprocessing, whole = self._scorers[0].detector.preprocessing, result.decoded
        if preprocessing.num_samples == 0 or len(whole.array) <= preprocessing.num_samples:
            array, notes = fit_window(whole.array, preprocessing)
            decoded = replace(whole, array=array, notes=(*whole.notes, *notes))
            super().receive(row, replace(result, decoded=decoded))
            return
        self.cut = True
        self._score_windows(row, whole, result.decode_ms)

    def _score_windows(self, row: int, whole: Decoded, decode_ms: float) -> None:
        self._describe(row, whole)
        for record, scorer in zip(self.records[row], self._scorers, strict=True):
            record["decode_ms"] = decode_ms
            score = score_windows(scorer, whole.array, row, self._batch_size)
            enter(record, score)
            if score.details:
                record["details"] = score.details
        self._tell([row])


def score_windows(scorer: Scorer, samples: Array, row: int, batch_size: int) -> Score:
    """Score a recording that is longer than the detector's window.

    Args:
        scorer: Of the detector.
        samples: float32 [n], at the detector's rate.
        row: Of the plan: sets what a model that draws random numbers draws.
        batch_size: Most windows in a forward pass.

    Returns:
        The mean of the windows' logits as the score's, through the calibrator, and in the details under ``windows`` what each
        window gave. A window without a score leaves the recording without one, for the same reason: a mean of the others
        would not say that it misses some. A time limit is for the recording: its windows' times count together.
    """
    preprocessing = scorer.detector.preprocessing
    length, rate = preprocessing.num_samples, preprocessing.sample_rate
    starts = window_starts(len(samples), length)
    spans = [(start / rate, (start + length) / rate) for start in starts]
    scores: list[Score] = []
    joined = Joined(MAX_VALUES)
    for first in range(0, len(starts), batch_size):
        batch = np.stack([samples[start : start + length] for start in starts[first : first + batch_size]])
        for score in scorer.score(batch, row * _MOST_WINDOWS + first):
            span = spans[len(scores)]
            if score.reason is not None:
                where = f"window {len(scores) + 1} of {len(starts)}, {span[0]:.2f} to {span[1]:.2f} s"
                return replace(score, message=one_line(f"{where}: {score.message}"))
            scores.append(score)
            joined.add(score.details, span)
        if (over := _over_time(scorer, scores, len(starts))) is not None:
            return over
    details, left_out = joined.result()
    notes = dict.fromkeys(note for score in scores for note in score.notes)
    told = f"the mean of {len(starts)} windows of {length / rate:g} s"
    return _mean(scorer, scores, spans, details, (told, *notes, *left_out))


def _over_time(scorer: Scorer, scores: Sequence[Score], planned: int) -> Score | None:
    """The outcome of a recording whose windows took longer together than a sample may; None where they did not."""
    limit, taken = scorer.time_limit_ms, math.fsum(score.inference_ms or 0.0 for score in scores)
    if limit is None or taken <= limit:
        return None
    said = f"{taken:.1f} ms for {len(scores)} of {planned} windows, over the limit of {limit:g} ms for a recording"
    return Score(Reason.TIME_LIMIT, said, None, None, None, None, taken, max(score.batch_size for score in scores))


def _mean(
    scorer: Scorer, scores: Sequence[Score], spans: Sequence[Span], details: dict[str, Array], notes: tuple[str, ...]
) -> Score:
    """What the windows say together."""
    pairs = np.array([(score.logit_real, score.logit_synthetic) for score in scores], dtype=np.float64)
    real, synthetic = (math.fsum(column) / len(scores) for column in pairs.T)
    margins = pairs[:, 1] - pairs[:, 0]
    highest = int(np.argmax(margins))
    windows: dict[str, Any] = {
        "seconds": [list(span) for span in spans],
        "p": [score.p_synthetic for score in scores],
        "mean_logit": synthetic - real,
        "max_logit": float(margins[highest]),
        "p_max": scores[highest].p_synthetic,
    }
    return Score(
        None,
        "",
        real,
        synthetic,
        probability(real, synthetic),
        scorer.calibrated(real, synthetic),
        math.fsum(score.inference_ms or 0.0 for score in scores),
        max(score.batch_size for score in scores),
        {WINDOWS: windows, **details},
        notes,
    )
