"""The losses that GenD is trained with beside cross-entropy: two of embeddings, and those of the frames alone.

Embeddings are taken on the unit sphere: u = e / |e|, |u_i - u_j|^2 = 2 - 2 u_i . u_j, through the B x B Gram matrix (O(B^2 D)
time, O(B^2) memory). A pair weighs w_i w_j: a weight of 0 is like the sample's absence. Nothing is computed in less than
float32, under autocast as well. A batch without a pair that a loss is about gets 0, with a gradient of 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

FRAME_OUTPUT = "frame_log_probabilities"
"""The output that ``frame_average`` reads: float ``[B, 2]``, log of the frames' mean probability of real and of synthetic."""
FRAME_EMBEDDINGS = "frame_embeddings"
"""The output that ``frame_alignment`` and ``frame_uniformity`` read: float ``[B, D]``, the mean of the frames' features."""


def alignment(embeddings: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over all unordered pairs of one label of |u_i - u_j|^2, 0 to 4.

    Source: Wang and Isola 2020, arXiv 2005.10242 (alpha = 2); over pairs of one label as in GenD, arXiv 2508.06248.

    Args:
        embeddings: ``[B, D]``, of any length above 0.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.

    Raises:
        ValueError: Shapes do not fit.
    """
    u = _unit(embeddings, labels)
    pairs = _pair_weights(_sample_weights(weights, u)) * (labels[:, None] == labels[None, :])
    return _weighted_mean(2.0 - 2.0 * _cosines(u), pairs)


def uniformity(embeddings: Tensor, labels: Tensor, weights: Tensor | None = None, *, t: float = 2.0) -> Tensor:
    """Logarithm of max(1e-6, mean over all unordered pairs of exp(-t |u_i - u_j|^2)); max(-4 t, -13.8) to 0; 0 for one sample.

    The labels have no part in it. Source: Wang and Isola 2020, arXiv 2005.10242; the floor is GenD's, arXiv 2508.06248.

    Args:
        embeddings: ``[B, D]``, of any length above 0.
        labels: ``[B]``; only their number matters.
        weights: ``[B]``, at least 0.
        t: Above 0.

    Raises:
        ValueError: Shapes or the option do not fit.
    """
    if t <= 0:
        raise ValueError(f"t must be above 0, not {t}.")
    u = _unit(embeddings, labels)
    pairs = _pair_weights(_sample_weights(weights, u))
    if not pairs.any():
        return (u * 0.0).sum()  # 0 that is connected to the embeddings, so that it can be differentiated
    return _weighted_mean(torch.exp(-2.0 * t * (1.0 - _cosines(u))), pairs).clamp(min=1e-6).log()


def frame_average(outputs: Mapping[str, Tensor], labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of -log p_t, where p_t is the mean over a clip's frames of their probability of its label; 0 or more, nats.

    It keeps the linear head a detector of single frames while the temporal part is trained on top of it.

    Args:
        outputs: With ``frame_log_probabilities`` ``[B, 2]``, in the order (real, synthetic).
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.

    Raises:
        ValueError: The output is absent, or shapes do not fit.
    """
    if FRAME_OUTPUT not in outputs:
        raise ValueError(f"frame_average takes the output {FRAME_OUTPUT!r}, which the model does not give.")
    frames = _precise(outputs[FRAME_OUTPUT])
    if frames.ndim != 2 or frames.shape[1] != 2 or labels.shape != frames.shape[:1]:
        raise ValueError(
            f"frame_average takes {FRAME_OUTPUT} [B, 2] and labels [B], not {tuple(frames.shape)} and {tuple(labels.shape)}."
        )
    own = frames.gather(1, labels.long()[:, None])[:, 0]
    loss = _weighted_mean(-own, _sample_weights(weights, own))
    if "logits" in outputs:
        loss = loss + 0.0 * outputs["logits"].sum()  # where several processes train, each parameter must get a gradient
    return loss


def frame_alignment(outputs: Mapping[str, Tensor], labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """:func:`alignment` of the output ``frame_embeddings``: the encoder's part, whatever the transformer over time does."""
    return alignment(_frame_embeddings(outputs), labels, weights)


def frame_uniformity(
    outputs: Mapping[str, Tensor], labels: Tensor, weights: Tensor | None = None, *, t: float = 2.0
) -> Tensor:
    """:func:`uniformity` of the output ``frame_embeddings``."""
    return uniformity(_frame_embeddings(outputs), labels, weights, t=t)


# --- What they share -------------------------------------------------------------------------------------------------


def _frame_embeddings(outputs: Mapping[str, Tensor]) -> Tensor:
    if FRAME_EMBEDDINGS not in outputs:
        raise ValueError(f"this loss takes the output {FRAME_EMBEDDINGS!r}, which the model does not give.")
    return outputs[FRAME_EMBEDDINGS]


def _unit(embeddings: Tensor, labels: Tensor) -> Tensor:
    """``[B, D]``, at least float32: the embeddings divided by their lengths; a vector of zeros stays one."""
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"A loss takes embeddings [B, D] and labels [B], not {tuple(embeddings.shape)} and {tuple(labels.shape)}."
        )
    return F.normalize(_precise(embeddings), dim=1)


def _cosines(units: Tensor) -> Tensor:
    """``[B, B]``: the Gram matrix u_i . u_j. Autocast would compute it in 16 bits, so it is switched off for it."""
    with torch.autocast(units.device.type, enabled=False):
        return units @ units.T


def _sample_weights(weights: Tensor | None, like: Tensor) -> Tensor:
    """``[B]`` in the dtype of ``like``: the weights, or ones."""
    if weights is None:
        return like.new_ones(like.shape[0])
    if weights.shape != like.shape[:1]:
        raise ValueError(f"A loss takes weights [B], not {tuple(weights.shape)} for B = {like.shape[0]}.")
    return weights.to(like.dtype)


def _pair_weights(weights: Tensor) -> Tensor:
    """``[B, B]``: w_i w_j above the diagonal and 0 elsewhere, so that each unordered pair counts once."""
    return torch.outer(weights, weights).triu(diagonal=1)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Scalar: sum(w v) / sum(w) over all elements; 0, with a gradient of 0, where all weights are 0 (or there are none)."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def _precise(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
