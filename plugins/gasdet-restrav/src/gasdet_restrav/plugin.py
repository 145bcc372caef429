"""What this plugin brings. Metadata only: it imports in milliseconds, and never torch."""

from __future__ import annotations

from collections.abc import Callable

from gasdet import BackboneSpec, DetectorSpec, Modality, WeightsSpec, hookimpl

RESTRAV = DetectorSpec(
    name="restrav",
    modality=Modality.VIDEO,
    target="gasdet_restrav.model",
    summary="Straightness of a clip's path through frozen DINOv2 features: 21 numbers, small MLP",
    preprocessing={
        "resize": [224, 224],
        "resize_mode": "stretch",
        "interpolation": "bicubic",
        "antialias": True,
        "num_frames": 24,
        "sampling": "window",
        "window_seconds": 2.0,
    },
    weights=(
        WeightsSpec(
            name="demo",
            kind="demo",
            dtypes=("float32", "bfloat16"),
            source="package:demo.safetensors",
            sha256="85ca6d54622d94c594487962361bbb5171bd7d29a78cde66b7a9b4f2b71f5955",
            licence="MIT",
            size_bytes=69516,
            training_data="the procedural demo clips of gasdet (train and val splits)",
            model={"backbone": "demo"},
            notes="A fixed bank of DCT filters in the place of DINOv2, and a trained MLP. It says nothing about real media.",
        ),
    ),
    backbones=(
        BackboneSpec(
            name="vit_small_patch14_dinov2.lvd142m",
            source="hf-hub:timm/vit_small_patch14_dinov2.lvd142m/model.safetensors",
            licence="Apache-2.0",
            parameters=21_628_800,
            notes="torch.hub's dinov2_vits14, saved as safetensors, is accepted too.",
        ),
    ),
    recipe="gasdet_restrav.recipe:RESTRAV",
    parameters=21_632_321,
    paper="Internò et al., AI-Generated Video Detection via Perceptual Straightening, NeurIPS 2025, arXiv 2507.00583",
    paper_url="https://arxiv.org/abs/2507.00583",
    code_licence="MIT",
    training_data="Published with VidProM (Pika, VideoCrafter2, Text2Video-Zero, ModelScope) against real clips of DISC.",
    input="[B, T, 3, 224, 224] RGB 0 to 255, T = 24 frames spaced evenly over the middle 2 s (T >= 8), frames stretched",
    notes=(
        "The authors published no trained weights: 'gasdet train --plugin restrav' makes them from DINOv2 and your data.",
        "The numbers depend on T and on the spacing of the frames: train at those that you will use.",
        "Static clips, padded clips and repeated frames give numbers that say little; the model flags them.",
        "Hard cuts in the window dominate the largest step and the variance; step lengths grow with motion.",
    ),
    requires_gasdet=">=0.1,<1",
)


@hookimpl
def register_models(register: Callable[[DetectorSpec], None]) -> None:
    """Register the one detector of this plugin."""
    register(RESTRAV)
