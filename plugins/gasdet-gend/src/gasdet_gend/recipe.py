"""How GenD is trained: the published settings, the transformer over time, and what differs for the small demo weights."""

from __future__ import annotations

from gasdet import Recipe

AUGMENTATION = (
    {"name": "hflip", "p": 0.5},
    {"name": "affine", "degrees": [-10, 10], "shift_x": [-0.1, 0.1], "shift_y": [-0.1, 0.1], "scale": [0.9, 1.1]},
    {"name": "gaussian_blur", "p": 0.1, "sigma": [0.1, 2.0]},
    {"name": "brightness", "factor": [0.9, 1.1]},
    {"name": "contrast", "factor": [0.9, 1.1]},
    {"name": "jpeg", "quality": [40, 100]},
)
"""As published; of a clip all frames get the same."""
DEMO_ENCODER = {"embed_dim": 64, "depth": 2, "patch_size": 16, "img_size": 96, "chunk_frames": 256}
_PUBLISHED = {
    "trainable": "layernorm",
    "learning_rate": 3e-4,
    "weight_decay": 0.0,
    "schedule": "cosine_restarts",
    "schedule_options": {"epochs": 10, "minimum": 1 / 300},
    "epochs": 30,
    "sampling": "paired",
    "augmentation": AUGMENTATION,
    "selection": "average_precision",
}
_REFERENCE = (
    "arXiv 2508.06248 and its public code: LayerNorms and head, AdamW 3e-4, no decay, cosine with restarts every 10 epochs "
    "down to 1e-6, at most 30 epochs, batches of 512 frames, bfloat16, every fake beside its real video, cross-entropy + "
    "0.1 alignment + 0.5 uniformity, selection by average precision."
)

GEND_IMAGE = Recipe(
    builder="gasdet_gend.training:build",
    head=("head.",),
    model={"temporal": False},
    losses={"cross_entropy": 1.0, "alignment": 0.1, "uniformity": 0.5},
    optimiser="adamw",
    batch_size=512,
    precision="bfloat16",
    **_PUBLISHED,  # type: ignore[arg-type]
    demo={
        "needs_backbone": False,
        "model": {**DEMO_ENCODER, "temporal": False},
        "preprocessing": {"resize": [96, 96]},
        "trainable": "all",
        "learning_rate": 1e-3,
        "batch_size": 32,
        "schedule": "cosine",
        "schedule_options": {},
        "sampling": "uniform",
        "precision": "float32",
    },
    reference=_REFERENCE,
)

GEND = Recipe(
    builder="gasdet_gend.training:build",
    head=("head.", "temporal."),
    optimiser="adamw",
    precision="bfloat16",
    stages=(
        # the encoder and the linear head, as published; the transformer gets no gradient from these losses
        {
            **_PUBLISHED,
            "losses": {"frame_average": 1.0, "frame_alignment": 0.1, "frame_uniformity": 0.5},
            "batch_size": 32,
        },
        # the transformer over time, and the head under it, on the frozen encoder's cached features
        {
            "trainable": "head",
            "losses": {"cross_entropy": 1.0, "frame_average": 0.3, "alignment": 0.1, "uniformity": 0.5},
            "learning_rate": 3e-4,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup": 0.05,
            "clip_norm": 1.0,
            "batch_size": 64,
            "epochs": 20,
            "ema": 0.999,
        },
    ),
    demo={
        "needs_backbone": False,
        "model": {**DEMO_ENCODER, "temporal_dim": 64, "temporal_layers": 2, "frame_seconds": 1 / 15},
        "preprocessing": {"resize": [96, 96], "window_seconds": 1.0},
        "losses": {"cross_entropy": 1.0, "frame_average": 0.3, "alignment": 0.1, "uniformity": 0.5},
        "precision": "float32",
        "weight_decay": 0.05,
        "schedule": "cosine",
        "warmup": 0.05,
        "clip_norm": 1.0,
        "selection": "cross_entropy",
        "stages": (
            {"trainable": "head", "learning_rate": 2e-3, "batch_size": 64, "epochs": 60},
            {"trainable": "all", "learning_rate": 3e-4, "batch_size": 32, "epochs": 6},
        ),
    },
    reference=f"Stage 0: {_REFERENCE} Stage 1 is this package's own: AdamW 3e-4, weight decay 0.05, cosine after 5 % of "
    "warm-up, gradients clipped at 1, batches of 64 clips, 20 epochs, moving average 0.999.",
)
