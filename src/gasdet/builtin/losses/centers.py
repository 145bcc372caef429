"""The center loss: every class has a learnable point that its embeddings are drawn to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gasdet.builtin.losses.inputs import sample_weights, unit, weighted_mean


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
    u = unit(embeddings, labels)
    if centers.shape != (2, u.shape[1]):
        raise ValueError(f"A center loss takes centers [2, {u.shape[1]}], not {tuple(centers.shape)}.")
    w = sample_weights(weights, u)
    if one_class:
        w = w * (labels == 0)
    nearest = centers.to(u.dtype)[labels.long()]
    return weighted_mean(0.5 * (u - nearest).square().sum(dim=1), w)


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
