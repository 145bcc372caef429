"""How the detector is trained: adapters on a published transformer, and, for the demo weights, a small one from scratch."""

from __future__ import annotations

from gasdet import Recipe

ATTENTION = r"backbone\.blocks\.\d+\.attn\.(qkv|proj)"
"""Which layers have adapters: of the attention, and not the patch embedding's ``proj``, which is a convolution."""

DINOV3 = Recipe(
    builder="gasdet_dinov3.training:build",
    head=("head.",),
    needs_backbone=True,
    trainable="lora",
    lora={"rank": 8, "alpha": 16, "dropout": 0.05, "targets": ATTENTION},
    losses={"cross_entropy": 1.0},
    optimiser="adamw",
    betas=(0.9, 0.999),
    learning_rate=2e-4,
    weight_decay=0.01,
    schedule="cosine",
    warmup=0.05,
    clip_norm=1.0,
    batch_size=32,
    epochs=10,
    precision="bfloat16",
    augmentation=(
        {"name": "random_crop", "size": 224, "padding": 16, "padding_mode": "reflect"},
        {"name": "hflip", "p": 0.5},
        {"name": "resize_chain", "p": 0.3, "factor": [0.5, 1.0]},
        {"name": "gaussian_blur", "p": 0.1, "sigma": [0.1, 1.5]},
        {"name": "jpeg", "p": 0.5, "quality": [40, 100], "subsampling": ["420", "444"]},
        {"name": "webp", "p": 0.1, "quality": [40, 100]},
    ),
    selection="combined_score",
    demo={
        "needs_backbone": False,
        "model": {"embed_dim": 96, "depth": 3, "num_heads": 4, "patch_size": 8},
        "preprocessing": {"resize": [160, 160], "resize_mode": "center_crop"},
        "trainable": "all",
        "learning_rate": 1.5e-3,
        "weight_decay": 0.05,
        "epochs": 16,
        "ema": 0.96,
        "precision": "float32",
        "augmentation": ({"name": "random_crop", "size": 96}, {"name": "hflip", "p": 0.5}),
    },
    reference="Ours, within what is published: LoRA of rank 8 to 16 with twice the rank as alpha, dropout 0.05, AdamW at 1e-4 "
    "to 5e-4, weight decay 0 to 0.01 (peft on timm's transformers; LoRA on DINOv3-L: arXiv 2604.16083). A frozen DINOv3 S or B "
    "with a linear probe is near chance on GenImage (arXiv 2511.22471's linear baseline), hence adapters by default. JPEG, "
    "WebP and resizing of both classes alike, because file format and size are the usual shortcuts.",
)
