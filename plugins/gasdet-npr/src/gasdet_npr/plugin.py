"""What this plugin brings. Metadata only: it imports in milliseconds, and never torch."""

from __future__ import annotations

from collections.abc import Callable

from gasdet import DetectorSpec, Modality, WeightsSpec, hookimpl

NPR = DetectorSpec(
    name="npr",
    modality=Modality.IMAGE,
    target="gasdet_npr.model",
    summary="Differences between neighbouring pixels that upsampling leaves, through two stages of a ResNet-50",
    preprocessing={"resize": [256, 256], "resize_mode": "stretch", "interpolation": "bilinear", "antialias": True},
    weights=(
        WeightsSpec(
            name="demo",
            kind="demo",
            dtypes=("float32", "bfloat16"),
            source="package:demo.safetensors",
            sha256="347167aedd9c242a9d9d3e56284b6bd4820545d17e0df535f3fbff764d8ea732",
            licence="MIT",
            size_bytes=222700,
            training_data="the procedural demo images of gasdet (train and val splits)",
            model={"blocks": [2, 2], "width": 16},
            preprocessing={"resize": [160, 160], "resize_mode": "center_crop"},
            notes="A smaller network, trained for a minute. It says nothing about real media.",
        ),
    ),
    recipe="gasdet_npr.recipe:NPR",
    parameters=1_437_761,
    paper="Tan et al., Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake "
    "Detection, CVPR 2024, arXiv 2312.10461",
    paper_url="https://arxiv.org/abs/2312.10461",
    code_licence="MIT",
    training_data="Published with ProGAN's cars, cats, chairs and horses against LSUN's.",
    input="[B, 3, H, W] RGB 0 to 255, H = W = 256 (any sides of at least 2 work; an odd size loses its last row or column)",
    notes=(
        "No trained weights are in this package but the demo's: 'gasdet train --plugin npr' makes them from your data, and the "
        "README says how the authors' checkpoint is converted.",
        "JPEG compression and resizing after the generator take most of the signal away.",
        "Others found the published weights to call most real pictures from the web synthetic.",
    ),
    requires_gasdet=">=0.1,<1",
)


@hookimpl
def register_models(register: Callable[[DetectorSpec], None]) -> None:
    """Register the one detector of this plugin."""
    register(NPR)
