"""Training losses of logits, each a pure function of a batch that returns a scalar tensor.

What they share, and docs/losses.md explains:

* Logits are ``[B, 2]`` (real, synthetic) or ``[B, 3]`` (real, synthetic, semisynthetic), of any float dtype; a third class is
  folded into synthetic as it is for the metrics, so that every loss is a function of P(synthetic) alone. Labels are ``[B]``,
  0 real or 1 synthetic.
* Half-precision inputs are computed on in float32, under autocast as well.
* Weights ``[B]`` are at least 0; None counts each sample once. A sample of weight 0 is as if absent; where all are, the value
  is 0 (1 for ``soft_mcc``).
* A batch of one class is allowed everywhere; each function says what it gets.
"""

from __future__ import annotations

from gasdet.builtin.losses.classification import brier, cross_entropy, cross_entropy_optimum, focal, focal_brier
from gasdet.builtin.losses.score import combined_score, soft_mcc

__all__ = [
    "brier",
    "combined_score",
    "cross_entropy",
    "cross_entropy_optimum",
    "focal",
    "focal_brier",
    "soft_mcc",
]
