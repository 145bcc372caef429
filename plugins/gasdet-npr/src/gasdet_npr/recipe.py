"""How NPR is trained: the published settings, and what differs for the small demo weights."""

from __future__ import annotations

from gasdet import Recipe

NPR = Recipe(
    builder="gasdet_npr.training:build",
    head=("fc1.",),
    needs_backbone=False,
    trainable="all",
    cache_features=False,
    losses={"cross_entropy": 1.0},
    optimiser="adam",
    betas=(0.9, 0.999),
    learning_rate=2e-4,
    weight_decay=0.0,
    schedule="step",
    schedule_options={"epochs": 10, "gamma": 0.9},
    batch_size=32,
    epochs=50,
    channels_last=True,
    augmentation=({"name": "random_crop", "size": 224}, {"name": "hflip", "p": 0.5}),
    selection="combined_score",
    demo={
        "model": {"blocks": [2, 2], "width": 16},
        "preprocessing": {"resize": [160, 160], "resize_mode": "center_crop"},
        "augmentation": ({"name": "random_crop", "size": 128}, {"name": "hflip", "p": 0.5}),
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "schedule_options": {},
        "epochs": 40,
    },
    reference="arXiv 2312.10461 and its public code: Adam 2e-4, betas 0.9 and 0.999, batch 32, 50 epochs, learning rate x 0.9 "
    "every 10, 224 x 224 crops of 256 x 256 pictures, flips. Ours: the epoch is chosen on a validation part.",
)
