"""Changes of decoded media as they meet on their way through the world: compression, resizing, noise, cuts.

One table, :data:`PERTURBATIONS`, names them with their options and severities 1 to 5. Training draws from it
(``gasdet.training.augmentation``), robustness evaluation asks it for a severity. Functions take and return decoded arrays,
uint8 ``[3, H, W]`` or ``[T, 3, H, W]`` and float32 ``[N]``; every random number comes from the generator that is handed in.
"""

from __future__ import annotations

from gasdet.media.perturbation.perturbation import LEVELS, Perturbation
from gasdet.media.perturbation.randomness import generator
from gasdet.media.perturbation.table import PERTURBATIONS, find_perturbation, perturb, perturbations_for

__all__ = [
    "LEVELS",
    "PERTURBATIONS",
    "Perturbation",
    "find_perturbation",
    "generator",
    "perturb",
    "perturbations_for",
]
