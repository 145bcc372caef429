"""How the BreathNet-style reconstruction is trained, and what differs for the small demo weights."""

from __future__ import annotations

from gasdet import Recipe

BREATHNET = Recipe(
    builder="gasdet_breathnet.backbone:build",
    head=("head.", "breath.", "frequency.", "layer_weights"),
    needs_backbone=True,
    # From the recording's start, so that the seconds of breath_mask are the array's; the model crops what is longer.
    training_preprocessing={"duration_seconds": 6.0, "audio_crop": "start"},
    trainable="all",
    cache_features=False,
    losses={
        "weighted_cross_entropy": 1.0,
        "positive_supcon": 0.1,
        "center": 0.01,
        "contrastive": 0.1,
        "breath": 0.2,
    },
    targets="gasdet_breathnet.breath:targets",
    annotations=("breath_mask",),
    optimiser="adam",
    learning_rate=1e-6,
    head_learning_rate=1e-4,
    weight_decay=1e-4,
    batch_size=14,
    epochs=20,
    patience=5,
    clip_norm=1.0,
    augmentation=({"name": "rawboost", "algorithm": 5},),
    selection="combined_score",
    demo={
        "needs_backbone": False,
        "model": {
            "embed_dim": 32,
            "num_layers": 1,
            "num_heads": 2,
            "ffn_dim": 64,
            "conv_dim": 16,
            "pos_kernel": 32,
            "pos_groups": 4,
            "n_fft": 2048,
            "channels": [4, 16],
            "bands": 32,
            "fused_dim": 48,
            "embedding_dim": 32,
            "window": 32_080,
        },
        "loss_options": {"weighted_cross_entropy": {"real": 0.5, "synthetic": 0.5}},
        "learning_rate": 3e-3,
        "head_learning_rate": 3e-3,
        "batch_size": 20,
        "epochs": 24,
        "patience": 0,
        "augmentation": (),
        "schedule": "cosine",
        "warmup": 0.1,
    },
    reference="No training of BreathNet is published (arXiv 2602.13596). Adam 1e-6 for XLS-R, weight decay 1e-4, batch 14 and "
    "RawBoost 5: the public code of SSL_Anti-spoofing. Class weights 0.9 and 0.1: in use for ASVspoof 2019 LA. Loss weights, "
    "the other learning rates, the crop and the selection: ours.",
)
