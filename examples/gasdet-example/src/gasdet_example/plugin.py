"""What this plugin brings. Metadata only: it imports in milliseconds, and never torch."""

from __future__ import annotations

from collections.abc import Callable

from gasdet import ComponentSpec, DetectorSpec, Modality, hookimpl
from gasdet_example.recipe import PREPROCESSING

requires_gasdet = ">=0.1,<1"

SPECTRUM = DetectorSpec(
    name="example-spectrum",
    modality=Modality.IMAGE,
    target="gasdet_example.model",
    summary="The power of a picture by spatial frequency, and a small network on 64 such numbers",
    preprocessing=PREPROCESSING,
    recipe="gasdet_example.recipe:SPECTRUM",
    parameters=2_241,
    paper="Durall et al., Watch your Up-Convolution: CNN Based Generative Deep Neural Networks are Failing to Reproduce "
    "Spectral Distributions, CVPR 2020, arXiv 2003.01826",
    paper_url="https://arxiv.org/abs/2003.01826",
    code_licence="MIT",
    training_data="Published with faces of several GANs.",
    input="[B, 3, H, W] RGB 0 to 255, sides of at least 16",
    notes=(
        "An example, with a small network for the paper's support vector machine. No weights are in this package: "
        "'gasdet train --plugin example-spectrum' makes them.",
        "Compression and resizing change the spectrum as much as generators do.",
    ),
    requires_gasdet=requires_gasdet,
)


@hookimpl
def register_models(register: Callable[[DetectorSpec], None]) -> None:
    """Register the detector."""
    register(SPECTRUM)


@hookimpl
def register_preprocessors(register: Callable[[ComponentSpec], None]) -> None:
    """Register what finds the part of a picture with the most texture."""
    register(
        ComponentSpec(
            name="example-texture",
            target="gasdet_example.texture:most_textured",
            summary="the square of a picture with the most texture, on which upsampling leaves most traces",
            options={"share": 0.5},
        )
    )


@hookimpl
def register_metrics(register: Callable[[ComponentSpec], None]) -> None:
    """Register the partial AUROC."""
    register(
        ComponentSpec(
            name="example-partial-auroc",
            target="gasdet_example.metric:partial_auroc",
            summary="area under the ROC curve up to a false positive rate of 10 %, standardised",
            reference="McClish 1989; scikit-learn's roc_auc_score with max_fpr",
            higher_is_better=True,
            bounds=(0.0, 1.0),
            agrees_with="gasdet_example.metric:by_scikit_learn",
        )
    )


@hookimpl
def register_losses(register: Callable[[ComponentSpec], None]) -> None:
    """Register the logit-adjusted cross-entropy."""
    register(
        ComponentSpec(
            name="example-logit-adjusted",
            target="gasdet_example.loss:logit_adjusted",
            summary="cross-entropy that takes a training set's imbalance out of the scores",
            reference="Menon et al. 2021, arXiv 2007.07314, equation 10",
            options={"prior": 0.5, "tau": 1.0},
        )
    )


@hookimpl
def register_calibrators(register: Callable[[ComponentSpec], None]) -> None:
    """Register the prior-weighted line."""
    register(
        ComponentSpec(
            name="example-prior-weighted",
            target="gasdet_example.calibrator:PriorWeighted",
            summary="a line on the margin, fitted as if both classes were equally many",
            reference="Bruemmer and du Preez 2006, prior-weighted logistic regression",
        )
    )
