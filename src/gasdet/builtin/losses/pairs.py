"""Losses of pairs of embeddings, all on the unit sphere: u = e / |e|, u_i . u_j their cosine, |u_i - u_j|^2 = 2 - 2 u_i . u_j.

A pair weighs w_i w_j: a weight of 0 is like the sample's absence. Every loss is 0, with a gradient of 0, for a batch without
a pair that it is about. All work on the B x B Gram matrix: O(B^2 D) time, O(B^2) memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gasdet.builtin.losses.inputs import cosines, pair_weights, sample_weights, unit, weighted_mean


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
    u = unit(embeddings, labels)
    pairs = pair_weights(sample_weights(weights, u)) * _same(labels)
    return weighted_mean(2.0 - 2.0 * cosines(u), pairs)


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
    u = unit(embeddings, labels)
    pairs = pair_weights(sample_weights(weights, u))
    if not pairs.any():
        return _nothing(u)
    return weighted_mean(torch.exp(-2.0 * t * (1.0 - cosines(u))), pairs).clamp(min=1e-6).log()


def contrastive(embeddings: Tensor, labels: Tensor, weights: Tensor | None = None, *, margin: float = 1.0) -> Tensor:
    """Mean over all unordered pairs of d^2 (one label) or max(0, margin - d)^2 (two labels), d = |u_i - u_j|; 0 to 4.

    Source: Hadsell, Chopra and LeCun 2006, equation 4, without its factor 1/2.

    Args:
        embeddings: ``[B, D]``, of any length above 0.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
        margin: Above 0 and at most 2, the sphere's diameter.

    Raises:
        ValueError: Shapes or the option do not fit.
    """
    if not 0.0 < margin <= 2.0:
        raise ValueError(f"margin must be above 0 and at most 2, not {margin}.")
    u = unit(embeddings, labels)
    square = 2.0 - 2.0 * cosines(u)
    # the root's derivative is infinite at 0; two equal vectors of two classes get a gradient of 0 instead
    apart = (margin - square.clamp(min=1e-12).sqrt()).clamp(min=0.0) ** 2
    return weighted_mean(torch.where(_same(labels), square, apart), pair_weights(sample_weights(weights, u)))


def positive_supcon(
    embeddings: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    temperature: float = 0.1,
    negatives: bool = True,
) -> Tensor:
    """Supervised contrast whose anchors and positives are real samples; synthetic ones only push away. 0 or more.

    With negatives: mean over the real samples i of
    ``-1/|P(i)| sum_{p in P(i)} log(exp(u_i . u_p / t) / sum_{a != i} exp(u_i . u_a / t))``, where P(i) are the other real
    samples and a runs over all others; 0 with fewer than two real samples. Synthetic samples come from many generators and
    are never pulled together. Without negatives: mean over all unordered pairs of one label (either) of 1 - u_i . u_j, which
    is half of :func:`alignment`.

    Source: Khosla et al. 2020, arXiv 2004.11362, equation 2, with its anchors restricted. BreathNet (arXiv 2602.13596) names
    a positive-only supervised contrastive loss without a formula; these are two readings of that name.

    Args:
        embeddings: ``[B, D]``, of any length above 0.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0: of anchors, positives and terms of the denominator alike.
        temperature: t, above 0.
        negatives: Which of the two.

    Raises:
        ValueError: Shapes or an option do not fit.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}.")
    if not negatives:
        return 0.5 * alignment(embeddings, labels, weights)
    u = unit(embeddings, labels)
    w = sample_weights(weights, u)
    anchors = w * (labels == 0)
    if int((anchors > 0).sum()) < 2:
        return _nothing(u)
    itself = torch.eye(len(u), dtype=torch.bool, device=u.device)
    logits = cosines(u) / temperature
    absent = itself | (w == 0)
    others = (logits + w.clamp(min=torch.finfo(w.dtype).tiny).log()).masked_fill(absent, -torch.inf)
    positives = anchors.expand(len(u), -1).masked_fill(itself, 0.0)
    shares = positives / positives.sum(dim=1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    losses = (shares * (torch.logsumexp(others, dim=1, keepdim=True) - logits)).sum(dim=1)
    return weighted_mean(losses, anchors)


def _same(labels: Tensor) -> Tensor:
    return labels[:, None] == labels[None, :]


def _nothing(units: Tensor) -> Tensor:
    """0 that is connected to the embeddings, so that it can be differentiated."""
    return (units * 0.0).sum()
