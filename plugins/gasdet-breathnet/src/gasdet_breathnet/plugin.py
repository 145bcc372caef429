"""What this plugin brings. Metadata only: it imports in milliseconds, and never torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gasdet import BackboneSpec, ComponentSpec, DetectorSpec, Modality, WeightsSpec, hookimpl

BREATHNET = DetectorSpec(
    name="breathnet",
    modality=Modality.AUDIO,
    target="gasdet_breathnet.model",
    summary="BreathNet-style reconstruction: XLS-R amplified where the speaker breathes, beside a spectral branch",
    # 4.0375 s are 64,600 samples, and 64,599 in floating point
    preprocessing={"sample_rate": 16000, "duration_seconds": 4.03751, "audio_pad": "repeat", "audio_crop": "center"},
    weights=(
        WeightsSpec(
            name="demo",
            kind="demo",
            dtypes=("float32", "bfloat16"),
            source="package:demo.safetensors",
            sha256="bdcc3707c223d881bc47c8162fb673e7dedbc64472016ff583df78c12889200f",
            licence="MIT",
            size_bytes=181_944,
            training_data="the procedural demo recordings of gasdet (train and val splits)",
            notes="A small encoder trained from random numbers in the place of XLS-R. It says nothing about real media.",
        ),
    ),
    backbones=(
        BackboneSpec(
            name="xls-r-300m",
            source="hf-hub:facebook/wav2vec2-xls-r-300m@081af4b2d98de3a437a3d2b4b7f9530f4a543097/model.safetensors",
            sha256="683ca455157e8c9da75a67eb0c7737768f3db9f0876e3ca1fec53320babdfe6b",
            licence="Apache-2.0",
            parameters=315_437_568,
            notes="The repository's main branch has a pickle only; this is the safetensors file that Hugging Face's converter "
            "offers in its pull request 2, with the sha256 that the hub states. torchaudio's WAV2VEC2_XLSR_300M and fairseq's "
            "checkpoint, saved as safetensors, are accepted too; the README says how.",
        ),
    ),
    recipe="gasdet_breathnet.recipe:BREATHNET",
    parameters=317_420_251,
    paper="BreathNet, 2026, arXiv 2602.13596; this is a reconstruction from its description, not the authors' model",
    paper_url="https://arxiv.org/abs/2602.13596",
    code_licence="MIT",
    training_data="None published. The paper trains on ASVspoof 2019 LA.",
    input="[B, N] mono float32 at 16 kHz, N = 64,600 (4.04 s; any N of at least 400 works), shorter recordings repeated",
    notes=(
        "A reconstruction: the paper publishes no equations, sizes, training settings, code or weights. Its figures are not "
        "this detector's.",
        "No trained weights but the demo's: 'gasdet train --plugin breathnet' makes them from XLS-R 300M and your data.",
        "Breath masks are used in training only. detect --json has the predicted breath over time.",
        "Four seconds of speech hold about one breath or none; noise suppression and codecs take breaths out of real speech.",
    ),
    requires_gasdet=">=0.1,<1",
)


def _loss(name: str, summary: str, reference: str, target: str = "", **options: Any) -> ComponentSpec:
    return ComponentSpec(name, f"gasdet_breathnet.losses:{target or name}", summary, reference, options=options)


LOSSES = (
    _loss(
        "positive_supcon",
        "real embeddings near each other, synthetic ones away",
        "Khosla et al. 2020; BreathNet, arXiv 2602.13596",
        temperature=0.1,
        negatives=True,
    ),
    _loss(
        "center", "squared distance of embeddings to a learnable centre", "Wen et al. 2016", "Center", one_class=False
    ),
    _loss("contrastive", "pairs of one label near, of two apart", "Hadsell, Chopra and LeCun 2006", margin=1.0),
    ComponentSpec(
        "breath",
        "gasdet_breathnet.losses:breath",
        "predicted breath against its target, rare frames weighing more",
        "binary cross-entropy",
        example="gasdet_breathnet.examples:breath_outputs",
    ),
    _loss("weighted_cross_entropy", "cross-entropy with class weights", "torch", real=0.9, synthetic=0.1),
)


@hookimpl
def register_models(register: Callable[[DetectorSpec], None]) -> None:
    """Register the one detector of this plugin."""
    register(BREATHNET)


@hookimpl
def register_losses(register: Callable[[ComponentSpec], None]) -> None:
    """Register the losses of the joint training."""
    for spec in LOSSES:
        register(spec)
