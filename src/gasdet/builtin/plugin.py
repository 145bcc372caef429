"""The core's own components, registered through the same hooks as everybody's. Specs only: nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Callable

from gasdet.hookspecs import hookimpl
from gasdet.types import ComponentSpec

_SKLEARN = "scikit-learn"


_BOUNDS = {"cross_entropy": (0.0, float("inf")), "mcc": (-1.0, 1.0), "brier_within_bin": (-1.0, 1.0)}
"""Bounds of the metrics that are not between 0 and 1."""


def _metric(
    name: str, summary: str, reference: str, better: bool | None, function: str = "", **options: float
) -> ComponentSpec:
    return ComponentSpec(
        name=name,
        target=f"gasdet.builtin.metrics:{function or name}",
        summary=summary,
        reference=reference,
        higher_is_better=better,
        options=options,
        bounds=_BOUNDS.get(name, (0.0, 1.0)),
    )


_METRICS = (
    _metric("combined_score", "MCC and Brier in one number, 0 to 1", "GASBench sn34_score", True),
    _metric("mcc", "Matthews' correlation of label and decision", f"Matthews 1975; {_SKLEARN}", True),
    _metric("brier", "mean squared error of P(synthetic)", f"Brier 1950; {_SKLEARN}", False),
    _metric("brier_reliability", "Brier score's calibration term", "Murphy 1973", False),
    _metric("brier_resolution", "Brier score's discrimination term", "Murphy 1973", True),
    _metric("brier_uncertainty", "Brier score's share that the data alone decides", "Murphy 1973", None),
    _metric("brier_within_bin", "what binning leaves out of the three terms", "Stephenson et al. 2008", None),
    _metric("cross_entropy", "mean negative log likelihood, nats", _SKLEARN, False),
    _metric("accuracy", "share of right decisions at 0.5", _SKLEARN, True),
    _metric("balanced_accuracy", "mean of the two classes' accuracies", _SKLEARN, True),
    _metric("f1", "F1 of the synthetic class", _SKLEARN, True),
    _metric("false_positive_rate", "share of real samples called synthetic", "", False),
    _metric("false_negative_rate", "share of synthetic samples called real", "", False),
    _metric("auroc", "area under the ROC curve", _SKLEARN, True),
    _metric("average_precision", "area under precision over recall", _SKLEARN, True),
    _metric("eer", "equal error rate", "ASVspoof's definition, ties defined", False),
    _metric("tpr_at_1pct_fpr", "synthetic found with 1 % of the real accused", "", True, "tpr_at_fpr", max_fpr=0.01),
    _metric("tpr_at_5pct_fpr", "synthetic found with 5 % of the real accused", "", True, "tpr_at_fpr", max_fpr=0.05),
    _metric("ece", "calibration error of P(synthetic), 15 equal-width bins", "Naeini et al. 2015", False),
    _metric("ece_equal_mass", "calibration error, 15 bins of equal weight", "Nguyen and O'Connor 2015", False),
)


def _loss(name: str, summary: str, reference: str, optimum: str = "", **options: float) -> ComponentSpec:
    best = f"gasdet.builtin.losses:{optimum}" if optimum else ""
    return ComponentSpec(name, f"gasdet.builtin.losses:{name}", summary, reference, options=options, optimum=best)


_LOSSES = (
    _loss(
        "cross_entropy",
        "negative log likelihood of the label",
        "torch",
        optimum="cross_entropy_optimum",
        label_smoothing=0.0,
    ),
    _loss("focal", "cross-entropy turned away from easy samples", "Lin et al. 2017, arXiv 1708.02002", gamma=2.0),
    _loss("brier", "squared error of P(synthetic)", "Brier 1950"),
    _loss(
        "focal_brier",
        "focal cross-entropy plus squared error",
        "focal term: Lin et al. 2017, arXiv 1708.02002",
        gamma=2.0,
        brier_weight=1.0,
    ),
    _loss("soft_mcc", "1 - Matthews' correlation of soft counts", "arXiv 2010.13454", tau=1.0),
    _loss("combined_score", "minus the logarithm of the combined score of soft counts", "GASBench sn34_score", tau=1.0),
)


def _calibrator(name: str, cls: str, summary: str, reference: str) -> ComponentSpec:
    return ComponentSpec(name, f"gasdet.builtin.calibrators:{cls}", summary, reference)


_CALIBRATORS = (
    _calibrator(
        "temperature", "Temperature", "logits divided by one fitted number", "Guo et al. 2017, arXiv 1706.04599"
    ),
    _calibrator("bias", "Bias", "a shift of the margin, where only the balance has changed", "maximum likelihood"),
    _calibrator(
        "temperature_bias",
        "TemperatureBias",
        "a line on the margin, by likelihood",
        f"{_SKLEARN}'s logistic regression",
    ),
    _calibrator("platt", "Platt", "a line on the margin, fitted to smoothed labels", "Platt 1999"),
    _calibrator("beta", "Beta", "a curve on the margin with three parameters", "Kull et al. 2017"),
    _calibrator("isotonic", "Isotonic", "the best non-decreasing steps, ends clipped", "Zadrozny and Elkan 2002"),
    _calibrator("temperature_sweep", "TemperatureSweep", "the temperature of a grid with the best combined score", ""),
)

_PREPROCESSORS = (
    ComponentSpec(
        "image",
        "gasdet.media:decode",
        "RGB uint8 [3, H, W]; by default the centre crop of the target's aspect, bilinear to 224 x 224",
    ),
    ComponentSpec(
        "video",
        "gasdet.media:decode",
        "RGB uint8 [T, 3, H, W]; by default the first 16 frames, each cropped and resized like an image",
    ),
    ComponentSpec(
        "audio",
        "gasdet.media:decode",
        "mono float32 [N]; by default the middle 6 s at 16 kHz, zeros on the right of a shorter one",
    ),
)

Register = Callable[[ComponentSpec], None]


@hookimpl
def register_preprocessors(register: Register) -> None:
    """One decoder, three modalities: what it does is set by the bundle's preprocessing keys."""
    for spec in _PREPROCESSORS:
        register(spec)


@hookimpl
def register_losses(register: Register) -> None:
    """Losses of single samples and of the whole batch; those of embeddings come with the detectors that they are made for."""
    for spec in _LOSSES:
        register(spec)


@hookimpl
def register_calibrators(register: Register) -> None:
    """Scalings and shifts of the margin, a curve, and steps."""
    for spec in _CALIBRATORS:
        register(spec)


@hookimpl
def register_metrics(register: Register) -> None:
    """Everything that a summary shows."""
    for spec in _METRICS:
        register(spec)
