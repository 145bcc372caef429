"""What this plugin brings. Metadata only: it imports in milliseconds, and never torch."""

from __future__ import annotations

from collections.abc import Callable

from gasdet import BackboneSpec, DetectorSpec, Modality, WeightsSpec, hookimpl

DINOV3_LICENCE = "DINOv3 License"


def _published(name: str, tag: str, licence: str, parameters: int, notes: str = "") -> BackboneSpec:
    return BackboneSpec(
        name=f"{name}.{tag}",
        source=f"hf-hub:timm/{name}.{tag}/model.safetensors",
        licence=licence,
        parameters=parameters,
        notes=notes,
    )


def _dinov3(size: str, parameters: int, notes: str = "") -> BackboneSpec:
    return _published(f"vit_{size}_patch16_dinov3", "lvd1689m", DINOV3_LICENCE, parameters, notes)


def _dinov2(name: str, parameters: int) -> BackboneSpec:
    return _published(name, "lvd142m", "Apache-2.0", parameters, "Sizes that are multiples of 14.")


DINOV3 = DetectorSpec(
    name="dinov3",
    modality=Modality.IMAGE,
    target="gasdet_dinov3.model",
    summary="DINOv3 or DINOv2 tokens under a small head (class token, statistics, attention or patches), tuned by adapters",
    preprocessing={"resize": [224, 224], "resize_mode": "crop", "interpolation": "bicubic", "antialias": True},
    weights=(
        WeightsSpec(
            name="demo",
            kind="demo",
            dtypes=("float32", "bfloat16"),
            source="package:demo.safetensors",
            sha256="c20eb405677342119b18c2b70e9c9faabdb5b06892d9ecf11f85c6d8a348ab9b",
            licence="MIT",
            size_bytes=1_428_080,
            training_data="the procedural demo images of gasdet (train and val splits)",
            model={"embed_dim": 96, "depth": 3, "num_heads": 4, "patch_size": 8},
            preprocessing={"resize": [160, 160], "resize_mode": "center_crop"},
            notes="A small transformer of the same class, from scratch. It is not DINOv3 and says nothing about real media.",
        ),
    ),
    backbones=(
        _dinov3("base", 85_641_216, "Meta's checkpoint and transformers' file (facebook/dinov3-*) are accepted too."),
        _dinov3("small", 21_586_944),
        _dinov3("small_plus", 28_683_264),
        _dinov3("large", 303_079_424),
        _dinov3("huge_plus", 840_509_440),
        _dinov2("vit_small_patch14_dinov2", 22_056_192),
        _dinov2("vit_small_patch14_reg4_dinov2", 22_057_344),
        _dinov2("vit_base_patch14_dinov2", 86_579_712),
        _dinov2("vit_base_patch14_reg4_dinov2", 86_582_016),
        _dinov2("vit_large_patch14_dinov2", 304_367_616),
        _dinov2("vit_large_patch14_reg4_dinov2", 304_370_688),
    ),
    recipe="gasdet_dinov3.recipe:DINOV3",
    parameters=85_650_434,
    paper="Simeoni et al., DINOv3, 2025, arXiv 2508.10104 (the backbone; the detector on it is ours)",
    paper_url="https://arxiv.org/abs/2508.10104",
    code_licence="MIT",
    training_data="No trained detector is published here; the backbone was pretrained on LVD-1689M without labels.",
    input="[B, 3, H, W] RGB 0 to 255, H and W multiples of 16 (DINOv2: of 14), 224 x 224 by default, which fits both",
    notes=(
        "No trained weights are in this package but the demo's: 'gasdet train --plugin dinov3' makes them from a backbone and "
        "your data.",
        "A linear probe of a frozen S or B is reported to be near chance on GenImage: the recipe trains adapters.",
        "Reported to be weak on recaptured pictures, and nearly blind to VAE reconstructions and local edits.",
        "--set model.head=patch trains a detector that gives a heat map.",
    ),
    requires_gasdet=">=0.1,<1",
)


@hookimpl
def register_models(register: Callable[[DetectorSpec], None]) -> None:
    """Register the one detector of this plugin."""
    register(DINOV3)
