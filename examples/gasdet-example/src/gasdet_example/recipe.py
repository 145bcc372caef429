"""How example-spectrum is trained: the spectra are computed once and kept, and the small network learns from them."""

from __future__ import annotations

from typing import Any

from gasdet import Recipe

PREPROCESSING: dict[str, Any] = {"resize": [128, 128], "resize_mode": "center_crop"}
"""A crop: resizing would change the very spectrum."""

SPECTRUM = Recipe(
    builder="gasdet_example.training:build",
    head=("head.",),
    needs_backbone=False,
    trainable="head",
    cache_features=True,
    losses={"cross_entropy": 1.0},
    optimiser="adamw",
    learning_rate=3e-3,
    weight_decay=0.01,
    schedule="cosine",
    batch_size=64,
    epochs=60,
    ema=0.99,
    selection="combined_score",
    reference="ours; the features are those of arXiv 2003.01826, section 3.1",
)
