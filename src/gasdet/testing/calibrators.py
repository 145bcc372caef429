"""What a calibrator is held to: fitted on what it is given and nothing else, order-preserving if it says so, and storable."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.errors import GasdetError
from gasdet.registry import PluginInfo, load_target
from gasdet.testing.plugins import add_plugin_checks
from gasdet.testing.suite import Failed, NotApplicable, Suite
from gasdet.types import ComponentSpec

Floats = npt.NDArray[np.float64]

_METHODS = ("fit", "apply", "parameters", "from_parameters")
_IDENTITY = 0.02
"""How far a calibrator of calibrated scores may move probabilities in the mean; isotonic steps move them by 0.017."""
_COPIES = 0.02
"""How far apart weights and copies may be, in probability: the number of samples itself matters to some methods."""

SUITE: Suite[CalibratorSubject] = Suite("calibrator")
add_plugin_checks(SUITE)


@dataclass(frozen=True, slots=True)
class CalibratorSubject:
    """A calibrator under test."""

    spec: ComponentSpec
    plugin: PluginInfo | None = None

    @property
    def cls(self) -> Any:
        """The class."""
        return load_target(self.spec.target)

    def fitted(self, count: int = 2000, *, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> Any:
        """An instance fitted on simulated scores: calibrated ones where the slope is 1 and the shift 0."""
        return self.cls.fit(*_scores(count, slope, shift, seed))


def _scores(count: int, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Logits [N, 2] and labels [N]: P(label = 1) is the logistic function of slope * margin + shift."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(0.0, 2.0, count)
    labels = (rng.random(count) < 1.0 / (1.0 + np.exp(-(slope * margin + shift)))).astype(np.int64)
    centre = rng.normal(0.0, 1.0, count)
    return np.stack([centre - margin / 2, centre + margin / 2], axis=1), labels


def _pairs(margins: Floats) -> Floats:
    return np.stack([-margins / 2, margins / 2], axis=1)


def _margin(logits: Any) -> Floats:
    array = np.asarray(logits, dtype=np.float64)
    return np.asarray(array[:, 1] - array[:, 0])


def _probability(margins: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-margins)))


def _grid() -> Floats:
    return np.linspace(-8.0, 8.0, 401)


@SUITE.check(
    "imports",
    "its target imports and has fit, apply, parameters, from_parameters, monotone and minimum_samples",
    "write a class with these; docs/calibration.md says what each does.",
)
def _imports(subject: CalibratorSubject) -> str:
    cls = subject.cls
    lacking = [name for name in _METHODS if not callable(getattr(cls, name, None))]
    if not isinstance(getattr(cls, "monotone", None), bool):
        lacking.append("monotone (True or False)")
    least = getattr(cls, "minimum_samples", None)
    if not isinstance(least, int) or isinstance(least, bool) or least < 1:
        lacking.append("minimum_samples (at least 1)")
    if lacking:
        raise Failed(f"It lacks {', '.join(lacking)}.")
    return f"monotone: {cls.monotone}, needs {least} samples of each class"


@SUITE.check(
    "shape",
    "apply returns finite logits [N, 2] for logits [N, 2], also for a single row and for extreme ones",
    "return np.stack([real, synthetic], axis=1), and keep exponents from overflowing.",
)
def _shape(subject: CalibratorSubject) -> None:
    fitted = subject.fitted(slope=0.5, shift=0.3)
    for margins in (np.array([0.7]), _grid(), np.array([-1e4, -100.0, 0.0, 100.0, 1e4])):
        result = np.asarray(fitted.apply(_pairs(margins)))
        if result.shape != (len(margins), 2) or not np.isfinite(result).all():
            raise Failed(
                f"It gives {'values that are not finite' if result.shape == (len(margins), 2) else result.shape}."
            )


@SUITE.check(
    "improves",
    "fitted on scores that are too sure, or whose balance has shifted, it makes others no worse, and one of the two better",
    "fit by likelihood, and look at the order (real, synthetic).",
)
def _improves(subject: CalibratorSubject) -> str:
    shown, better = [], False
    for what, slope, shift in (("too sure", 0.4, 0.0), ("shifted", 1.0, 1.0)):
        fitted = subject.fitted(4000, slope=slope, shift=shift, seed=1)
        logits, labels = _scores(4000, slope, shift, seed=2)
        before, after = (_cross_entropy(_margin(x), labels) for x in (logits, fitted.apply(logits)))
        better = better or after < before - 0.01
        shown.append(f"{what}: cross-entropy {before:.4f} before, {after:.4f} after")
        if after > before + 0.01:
            raise Failed(f"On samples that it was not fitted on, {shown[-1]}.")
    if not better:
        raise Failed(f"It improves neither ({'; '.join(shown)}).")
    return "; ".join(shown)


def _cross_entropy(margin: Floats, labels: npt.NDArray[np.int64]) -> float:
    return float(np.logaddexp(0.0, np.where(labels == 1, -margin, margin)).mean())


@SUITE.check(
    "monotone",
    "where it says so, a higher margin in is a higher margin out",
    "bound the slope above 0, or set monotone = False.",
)
def _monotone(subject: CalibratorSubject) -> str:
    for slope, shift in ((1.0, 0.0), (0.3, -0.5), (2.0, 1.0), (-0.5, 0.0)):
        steps = np.diff(_margin(subject.fitted(slope=slope, shift=shift).apply(_pairs(_grid()))))
        if subject.cls.monotone and not (steps > 0.0).all():
            raise Failed(f"It declares monotone, and {int((steps <= 0).sum())} of {steps.size} steps are not upwards.")
        if not subject.cls.monotone and (steps < -1e-9).any():
            return "it turns pairs of scores round, as it may"
    return "strictly increasing" if subject.cls.monotone else "not decreasing, though it does not declare it"


@SUITE.check(
    "identity",
    "fitted on 8,000 scores that are calibrated already, it leaves probabilities as they are",
    "make the identity one of the maps that it can be.",
)
def _identity(subject: CalibratorSubject) -> str:
    margins = np.linspace(-4.0, 4.0, 81)
    calibrated = _margin(subject.fitted(8000, seed=3).apply(_pairs(margins)))
    before, after = _probability(margins), _probability(calibrated)
    moved = float(np.abs(after - before).mean())
    if moved > _IDENTITY:
        raise Failed(f"It moves probabilities by {moved:.3f} in the mean.")
    return f"moves probabilities by {moved:.3f} in the mean"


@SUITE.check(
    "serialises",
    "parameters() through JSON and from_parameters() gives the same function, bit for bit",
    "return plain numbers and lists of all that apply reads.",
)
def _serialises(subject: CalibratorSubject) -> None:
    fitted = subject.fitted(slope=0.6, shift=0.2, seed=4)
    text = json.dumps(fitted.parameters(), allow_nan=False)
    again = subject.cls.from_parameters(json.loads(text))
    logits = _pairs(_grid())
    if not np.array_equal(np.asarray(fitted.apply(logits)), np.asarray(again.apply(logits))):
        raise Failed("What from_parameters makes of its parameters gives other logits.")


@SUITE.check(
    "too-little-refused",
    "a fit on one class, on nothing, or on values that are not finite raises an error",
    "raise gasdet.GasdetError or ValueError; minimum_samples is checked by the core.",
)
def _too_little(subject: CalibratorSubject) -> None:
    logits, labels = _scores(200)
    bad = logits.copy()
    bad[5, 1] = np.nan
    cases = {
        "real samples alone": (logits, np.zeros_like(labels)),
        "synthetic samples alone": (logits, np.ones_like(labels)),
        "no samples": (logits[:0], labels[:0]),
        "a NaN among the logits": (bad, labels),
    }
    for what, given in cases.items():
        try:
            subject.cls.fit(*given)
        except (GasdetError, ValueError):
            continue
        raise Failed(f"It is fitted on {what} without an error.")


@SUITE.check(
    "each-row-alone",
    "apply looks at each row alone and does not change the calibrator: nothing is learnt from what is judged",
    "use the fitted parameters only; no mean, rank or quantile of the logits that apply gets.",
)
def _rows_alone(subject: CalibratorSubject) -> None:
    fitted = subject.fitted(slope=0.5, seed=5)
    before = json.dumps(fitted.parameters())
    logits, _ = _scores(64, seed=6)
    given = logits.copy()
    whole = np.asarray(fitted.apply(given))
    if not np.array_equal(given, logits):
        raise Failed("apply changes the logits that it was given.")
    alone = np.concatenate([np.asarray(fitted.apply(logits[i : i + 1])) for i in range(len(logits))])
    if not np.allclose(whole, alone, rtol=1e-12, atol=1e-12):
        raise Failed("A row has another result among others than alone.")
    if json.dumps(fitted.parameters()) != before:
        raise Failed("apply changes the parameters.")


@SUITE.check(
    "weights",
    "a weight of 2 counts like two copies of the sample",
    "use the weights in every sum of the fit.",
)
def _weights(subject: CalibratorSubject) -> None:
    logits, labels = _scores(600, 0.5, seed=7)
    times = (
        np.random.default_rng(8).integers(0, 2, labels.size) + 2 * labels
    )  # ignored weights would show in the balance
    margins = _pairs(np.linspace(-4.0, 4.0, 41))
    weighted = _margin(subject.cls.fit(logits, labels, times.astype(np.float64)).apply(margins))
    copied = _margin(subject.cls.fit(np.repeat(logits, times, axis=0), np.repeat(labels, times)).apply(margins))
    moved = float(np.abs(_probability(weighted) - _probability(copied)).max())
    if moved > _COPIES:
        raise Failed(f"The probabilities differ by up to {moved:.3g}.")


@SUITE.check(
    "deterministic",
    "the same data gives the same parameters, and is not changed",
    "seed whatever is random, and work on copies.",
)
def _deterministic(subject: CalibratorSubject) -> None:
    logits, labels = _scores(500, 0.7, seed=9)
    given = (logits.copy(), labels.copy())
    fits = [subject.cls.fit(*given).parameters() for _ in range(2)]
    if json.dumps(fits[0]) != json.dumps(fits[1]):
        raise Failed("Two fits on the same data have other parameters.")
    if not np.array_equal(given[0], logits) or not np.array_equal(given[1], labels):
        raise Failed("fit changes the data that it was given.")


@SUITE.check(
    "folds-into-bundles",
    "affine() or knots(), where it offers them, give the margins of apply, so that an export can fold it in",
    "return (scale, bias), or the knots of a curve that is straight between them; without either it cannot be exported.",
)
def _folds(subject: CalibratorSubject) -> str:
    fitted = subject.fitted(slope=0.6, shift=0.2, seed=10)
    line = fitted.affine() if callable(getattr(fitted, "affine", None)) else None
    knots = fitted.knots() if callable(getattr(fitted, "knots", None)) else None
    margins = _grid()
    expected = _margin(fitted.apply(_pairs(margins)))
    if line is not None:
        found = line[0] * margins + line[1]
    elif knots is not None:
        found = np.interp(margins, *knots)
    else:
        raise NotApplicable(
            "it offers neither affine() nor knots(): only the core's own can then be folded into a bundle"
        )
    if not np.allclose(found, expected, rtol=1e-9, atol=1e-9):
        raise Failed(f"They differ from apply by up to {float(np.abs(found - expected).max()):.3g}.")
    return "a line" if line is not None else "knots"
