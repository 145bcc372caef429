"""This plugin's losses: three of embeddings, one of the predicted breath, and cross-entropy with class weights.

Labels are ``[B]``, 0 real or 1 synthetic. Embeddings are ``[B, D]`` and brought to the unit sphere, u = e / |e|, so that
|u_i - u_j|^2 = 2 - 2 u_i . u_j; pairs come from one B x B Gram matrix, O(B^2 D) time and O(B^2) memory. A pair weighs w_i w_j.
Half-precision inputs are computed on in float32, under autocast as well. Weights ``[B]`` are at least 0; None counts each
sample once; a sample of weight 0 is as if absent. Every loss is 0, with a gradient of 0, for a batch that has nothing that
it is about.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_POSITIVE_WEIGHT = 50.0
"""Of a breath frame, where a batch has so few of them that the inverse of their share is more."""


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
    are never pulled together. Without negatives: mean over all unordered pairs of one label (either) of 1 - u_i . u_j.

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
    u = _unit(embeddings, labels)
    w = _sample_weights(weights, u)
    if not negatives:
        return _weighted_mean(1.0 - _cosines(u), _pair_weights(w) * _same(labels))
    anchors = w * (labels == 0)
    if int((anchors > 0).sum()) < 2:
        return (u * 0.0).sum()
    itself = torch.eye(len(u), dtype=torch.bool, device=u.device)
    logits = _cosines(u) / temperature
    absent = itself | (w == 0)
    others = (logits + w.clamp(min=torch.finfo(w.dtype).tiny).log()).masked_fill(absent, -torch.inf)
    positives = anchors.expand(len(u), -1).masked_fill(itself, 0.0)
    shares = positives / positives.sum(dim=1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    losses = (shares * (torch.logsumexp(others, dim=1, keepdim=True) - logits)).sum(dim=1)
    return _weighted_mean(losses, anchors)


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
    u = _unit(embeddings, labels)
    square = 2.0 - 2.0 * _cosines(u)
    # the root's derivative is infinite at 0; two equal vectors of two classes get a gradient of 0 instead
    apart = (margin - square.clamp(min=1e-12).sqrt()).clamp(min=0.0) ** 2
    return _weighted_mean(torch.where(_same(labels), square, apart), _pair_weights(_sample_weights(weights, u)))


def center(
    embeddings: Tensor, labels: Tensor, centers: Tensor, weights: Tensor | None = None, *, one_class: bool = False
) -> Tensor:
    """1/2 mean |u_i - c_{y_i}|^2 over the batch, u = e / |e|; 0 or more.

    Source: Wen et al. 2016 (ECCV), equation 2; there without the normalisation, and with a sum in place of the mean.

    Args:
        embeddings: ``[B, D]``, of any length above 0.
        labels: ``[B]``, 0 real or 1 synthetic.
        centers: ``[2, D]``, of real and of synthetic.
        weights: ``[B]``, at least 0.
        one_class: Take the real samples alone; 0 where there are none.

    Raises:
        ValueError: Shapes do not fit.
    """
    u = _unit(embeddings, labels)
    if centers.shape != (2, u.shape[1]):
        raise ValueError(f"A center loss takes centers [2, {u.shape[1]}], not {tuple(centers.shape)}.")
    w = _sample_weights(weights, u)
    if one_class:
        w = w * (labels == 0)
    nearest = centers.to(u.dtype)[labels.long()]
    return _weighted_mean(0.5 * (u - nearest).square().sum(dim=1), w)


class Center(nn.Module):
    """:func:`center` with centres of its own, which are trained together with the model.

    They start at the origin, from where they pull no unit vector anywhere before they have moved to their class. The
    original updates them with a rate of 0.5 towards the batch's mean; under Adam a step is about the learning rate, so that
    they get a multiple of the model's.

    Attributes:
        centers: float32 ``[2, D]``.
        learning_rate_factor: The trainer's learning rate times this is that of the centres.
    """

    def __init__(self, embedding_dim: int, *, one_class: bool = False, learning_rate_factor: float = 10.0) -> None:
        super().__init__()
        if embedding_dim < 1 or learning_rate_factor <= 0:
            raise ValueError(
                f"embedding_dim must be at least 1 and learning_rate_factor above 0, not {embedding_dim} and "
                f"{learning_rate_factor}."
            )
        self.one_class = one_class
        self.learning_rate_factor = learning_rate_factor
        self.centers = nn.Parameter(torch.zeros(2, embedding_dim))

    def forward(self, embeddings: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch; arguments and value as :func:`center`."""
        return center(embeddings, labels, self.centers, weights, one_class=self.one_class)


def breath(
    outputs: Mapping[str, Tensor],
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    positive_weight: float | None = None,
) -> Tensor:
    """Binary cross-entropy of the predicted breath, in nats, over all frames whose breath is known; 0 or more.

    A mean over frames: each has its sample's weight, and a frame with breath ``positive_weight`` times that. Without the
    option it is the inverse of the odds of breath in the batch, (frames without) / (frames with), at most 50, so that both
    kinds of frames weigh the same; the prediction is then above the plain probability of breath. A batch without a single
    known frame gets 0.

    Args:
        outputs: ``breath_logits`` ``[B, T]``, and ``breath_targets`` ``[B, T]``: 1 breath, 0 none, -1 unknown.
        labels: ``[B]``; only their number matters.
        weights: ``[B]``, at least 0.
        positive_weight: Above 0.

    Raises:
        KeyError: One of the two outputs is not there.
        ValueError: Shapes or the option do not fit.
    """
    if positive_weight is not None and positive_weight <= 0:
        raise ValueError(f"positive_weight must be above 0, not {positive_weight}.")
    logits, targets = _precise(outputs["breath_logits"]), outputs["breath_targets"]
    if logits.ndim != 2 or logits.shape != targets.shape or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"The breath loss takes breath_logits and breath_targets [B, T] and labels [B], not {tuple(logits.shape)}, "
            f"{tuple(targets.shape)} and {tuple(labels.shape)}."
        )
    known = _sample_weights(weights, logits)[:, None] * (targets >= 0)
    with_breath, without = known * (targets > 0), known * (targets == 0)
    if positive_weight is None:
        total = with_breath.sum().clamp(min=torch.finfo(logits.dtype).tiny)
        factor = (without.sum() / total).clamp(min=1.0 / LARGEST_POSITIVE_WEIGHT, max=LARGEST_POSITIVE_WEIGHT)
    else:
        factor = logits.new_tensor(positive_weight)
    losses = torch.where(targets > 0, F.softplus(-logits), F.softplus(logits))
    return _weighted_mean(losses, factor * with_breath + without)


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, real: float = 0.9, synthetic: float = 0.1
) -> Tensor:
    """Cross-entropy whose mean counts the classes with weights of their own, in nats, 0 or more.

    With two logits it equals torch's ``cross_entropy`` with ``weight=[real, synthetic]``. The defaults are those in use for
    ASVspoof 2019 LA, which has nine synthetic recordings to a real one; on other shares of the classes they move the margin
    by log((real / synthetic) / (share of synthetic / share of real)).

    Args:
        logits: ``[B, 2]``, or ``[B, 3]`` whose third class is folded into synthetic.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
        real: Weight of the real samples, at least 0.
        synthetic: Weight of the synthetic ones, at least 0; one of the two is above 0.

    Raises:
        ValueError: Shapes or the options do not fit.
    """
    if real < 0 or synthetic < 0 or real + synthetic <= 0:
        raise ValueError(f"real and synthetic must be at least 0, and one above, not {real} and {synthetic}.")
    if logits.ndim != 2 or logits.shape[1] not in (2, 3) or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"A loss takes logits [B, 2] or [B, 3] and labels [B], not {tuple(logits.shape)} and {tuple(labels.shape)}."
        )
    logits = _precise(logits)
    margins = torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]
    is_synthetic = labels.bool()
    losses = F.softplus(torch.where(is_synthetic, -margins, margins))
    of_class = torch.where(is_synthetic, synthetic, real).to(losses.dtype)
    return _weighted_mean(losses, _sample_weights(weights, losses) * of_class)


# --- Inputs ----------------------------------------------------------------------------------------------------------


def _unit(embeddings: Tensor, labels: Tensor) -> Tensor:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"A loss takes embeddings [B, D] and labels [B], not {tuple(embeddings.shape)} and {tuple(labels.shape)}."
        )
    return F.normalize(_precise(embeddings), dim=1)


def _cosines(units: Tensor) -> Tensor:
    """``[B, B]``: u_i . u_j. Autocast would compute it in 16 bits, so it is switched off for it."""
    with torch.autocast(units.device.type, enabled=False):
        return units @ units.T


def _same(labels: Tensor) -> Tensor:
    return labels[:, None] == labels[None, :]


def _sample_weights(weights: Tensor | None, like: Tensor) -> Tensor:
    if weights is None:
        return like.new_ones(like.shape[0])
    if weights.shape != like.shape[:1]:
        raise ValueError(f"A loss takes weights [B], not {tuple(weights.shape)} for B = {like.shape[0]}.")
    return weights.to(like.dtype)


def _pair_weights(weights: Tensor) -> Tensor:
    """``[B, B]``: w_i w_j above the diagonal and 0 elsewhere, so that each unordered pair counts once."""
    return torch.outer(weights, weights).triu(diagonal=1)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def _precise(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
