"""How ReStraV is trained: the published settings, and what differs for the small demo weights."""

from __future__ import annotations

from gasdet import Recipe

RESTRAV = Recipe(
    builder="gasdet_restrav.backbone:build",
    head=("head.",),
    needs_backbone=True,
    losses={"cross_entropy": 1.0},
    optimiser="adam",
    learning_rate=1e-3,
    batch_size=32,
    epochs=10,
    balance=True,
    selection="combined_score",
    demo={"needs_backbone": False, "model": {"backbone": "demo"}, "epochs": 50},
    reference="arXiv 2507.00583 and its public code: Adam 1e-3, batch 32, 10 epochs, balanced classes. Ours: the "
    "standardisation is of the training part only, and the epoch is chosen on a validation part.",
)
