"""The tables of reward_study.py: scores, paired differences with their standard errors, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gasdet.builtin import metrics
from gasdet.builtin.calibrators import Platt
from gasdet.builtin.tally import combine

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
VARIANTS = ("as it is", "Platt", "threshold")
JUDGED = "Platt"
"""The variant that the closing comparison is made in, fixed before anything was seen."""
RESAMPLES = 1000
PRIORS = (0.2, 0.5, 0.8)


@dataclass(frozen=True)
class Variant:
    """Decisions and probabilities on the test part, each ``[N]``."""

    decisions: npt.NDArray[np.bool_]
    scores: Floats


@dataclass(frozen=True)
class Scores:
    """Margins (logit of synthetic less logit of real) and labels of an arm's calibration and test part.

    Attributes:
        kept: The step whose weights were kept.
    """

    calibration: Floats
    calibration_labels: Labels
    test: Floats
    labels: Labels
    kept: int = 0

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """The test part as it is, after Platt's line, and with the best threshold; both are found on the calibration part."""
        pairs = np.stack([np.zeros_like(self.calibration), self.calibration], axis=1)
        scale, bias = Platt.fit(pairs, self.calibration_labels).affine()
        plain, platt = sigmoid(self.test), sigmoid(scale * self.test + bias)
        threshold = best_threshold(self.calibration, self.calibration_labels)
        return {
            "as it is": Variant(self.test > 0, plain),
            "Platt": Variant(platt > 0.5, platt),
            "threshold": Variant(self.test > threshold, plain),
        }


def sigmoid(margins: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margins)))


def best_threshold(margins: Floats, labels: Labels) -> float:
    """The threshold on the margin with the highest MCC; the Brier score, and so the rest of the score, has none."""
    order = np.argsort(margins)
    z, y = margins[order], labels[order].astype(float)
    # the first k samples are called real
    missed = np.concatenate([[0.0], np.cumsum(y)])
    rejected = np.concatenate([[0.0], np.cumsum(1 - y)])
    tp, fp = missed[-1] - missed, rejected[-1] - rejected
    sizes = np.sqrt((tp + fp) * (tp + missed) * (rejected + fp) * (rejected + missed))
    mcc = np.divide(tp * rejected - fp * missed, sizes, out=np.zeros_like(tp), where=sizes > 0)
    mcc[1:-1][np.diff(z) == 0] = -2.0  # no threshold divides equal margins
    k = int(mcc.argmax())
    edges = np.concatenate([[z[0] - 1.0], (z[1:] + z[:-1]) / 2, [z[-1] + 1.0]])
    return float(edges[k])


def columns(variant: Variant, labels: Labels) -> Floats:
    """``[N, 5]``: each sample's part in tp, fp, fn, tn and the sum of squared errors."""
    a, y = variant.decisions.astype(float), labels.astype(float)
    p = np.clip(variant.scores, 1e-7, 1 - 1e-7)
    return np.stack([a * y, a * (1 - y), (1 - a) * y, (1 - a) * (1 - y), (p - y) ** 2], axis=1)


def score_of(sums: Floats) -> Floats:
    """The combined score ``[...]`` of sums ``[..., 5]`` of :func:`columns`, weighted or not."""
    tp, fp, fn, tn, squared = np.moveaxis(sums, -1, 0)
    sizes = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
    mcc = np.divide(tp * tn - fp * fn, sizes, out=np.zeros_like(tp), where=sizes > 0)
    return combine(mcc, squared / (tp + fp + fn + tn))


def resampled(labels: Labels, resamples: int = RESAMPLES, seed: int = 0) -> npt.NDArray[np.float32]:
    """``[R, N]``: how often each image is drawn; real and synthetic ones separately."""
    rng = np.random.default_rng(seed)
    times = np.zeros((resamples, len(labels)), np.float32)
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        for row in times:
            row[members] = np.bincount(rng.integers(0, len(members), len(members)), minlength=len(members))
    return times


Found = Mapping[tuple[str, int], Scores]


def tables(found: Found, *, reference: str, tuned: Sequence[str], negative: str) -> str:
    """Three Markdown tables and what follows from them."""
    arms = list(dict.fromkeys(arm for arm, _ in found))
    seeds = list(dict.fromkeys(seed for _, seed in found))
    labels = next(iter(found.values())).labels
    times = resampled(labels)
    point, draws = {}, {}
    for (arm, seed), scores in found.items():
        for name, variant in scores.variants.items():
            parts = columns(variant, labels)
            point[arm, name, seed] = float(score_of(parts.sum(axis=0)))
            draws[arm, name, seed] = score_of((times @ parts.astype(np.float32)).astype(np.float64))
    controls = [arm for arm in arms if arm not in tuned and arm != negative]

    def mean(arm: str, name: str) -> float:
        return float(np.mean([point[arm, name, seed] for seed in seeds]))

    def difference(one: tuple[str, str], other: tuple[str, str]) -> str:
        each = np.array([point[*one, seed] - point[*other, seed] for seed in seeds])
        error = f" ± {each.std(ddof=1) / np.sqrt(len(each)):.4f}" if len(each) > 1 else ""
        over = np.mean([draws[*one, seed] - draws[*other, seed] for seed in seeds], axis=0)
        low, high = np.percentile(over, [2.5, 97.5])
        return f"{each.mean():+.4f}{error} ({low:+.4f} to {high:+.4f})"

    text = [
        f"Combined score on {len(labels):,} test images, mean over {len(seeds)} seeds, and other metrics after Platt's line. "
        "Step 0: the weights that the arm started from were better on the selection part than any later ones.",
        "",
        row("arm", *VARIANTS, "MCC", "Brier", "ECE", "AUROC", "kept step"),
        row(*["---"] * (len(VARIANTS) + 6)),
    ]
    for arm in arms:
        others = [mean_metric(found, arm, seeds, metric) for metric in ("mcc", "brier", "ece", "auroc")]
        figures = [*(mean(arm, name) for name in VARIANTS), *others]
        kept = ", ".join(str(scores.kept) for scores in of(found, arm, seeds))
        text.append(row(arm, *(f"{value:.4f}" for value in figures), kept))
    text += [
        "",
        f"Differences of the combined score to {reference} continued, paired by seed: mean ± standard error over the seeds "
        "(95 % interval over the test images, bootstrap).",
        "",
        row("arm", *VARIANTS),
        row(*["---"] * (len(VARIANTS) + 1)),
    ]
    for arm in arms:
        if arm != reference:
            text.append(row(arm, *(difference((arm, name), (reference, name)) for name in VARIANTS)))
    text += ["", "Combined score after Platt's line, the test images reweighted to another share of synthetic.", ""]
    text += [row("arm", *(f"{prior:g}" for prior in PRIORS)), row(*["---"] * (len(PRIORS) + 1))]
    for arm in arms:
        text.append(row(arm, *(f"{at_prior(found, arm, seeds, prior):.4f}" for prior in PRIORS)))
    best = max(controls, key=lambda arm: mean(arm, JUDGED))
    text += [
        "",
        f"Differences after Platt's line to the best control there, {best}, which was chosen on the test images and so has "
        f"the luck; and to {negative}, which has the same Brier gradient and differs in the decisions' credit alone:",
        "",
        row("arm", f"less {best}", f"less {negative}"),
        row(*["---"] * 3),
    ]
    for arm in tuned:
        text.append(row(arm, *(difference((arm, JUDGED), (other, JUDGED)) for other in (best, negative))))
    if len(seeds) > 1:
        text += ["", f"A standard error over {len(seeds)} seeds has {len(seeds) - 1} degrees of freedom."]
    return "\n".join(text) + "\n"


def mean_metric(found: Found, arm: str, seeds: Sequence[int], metric: str) -> float:
    return float(
        np.mean([metrics.STANDARD[metric](s.labels, s.variants["Platt"].scores, None) for s in of(found, arm, seeds)])
    )


def at_prior(found: Found, arm: str, seeds: Sequence[int], prior: float) -> float:
    """Mean combined score with weights that bring the synthetic images to a share of ``prior``."""
    values = []
    for scores in of(found, arm, seeds):
        share = scores.labels.mean()
        weights = np.where(scores.labels == 1, prior / share, (1 - prior) / (1 - share))
        values.append(metrics.combined_score(scores.labels, scores.variants["Platt"].scores, weights))
    return float(np.mean(values))


def of(found: Found, arm: str, seeds: Sequence[int]) -> list[Scores]:
    return [found[arm, seed] for seed in seeds]


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
