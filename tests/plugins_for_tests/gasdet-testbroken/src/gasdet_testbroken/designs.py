"""Components of published designs that the kit is to pass, some of them with what their spec says of them."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def _own(logits, labels):
    return functional.cross_entropy(logits.double(), labels, reduction="none")


def least_squares(logits, labels):
    """Margins of 1, as in LSGAN."""
    margins = (logits[:, 1] - logits[:, 0]).double() * (2 * labels - 1)
    return (margins - 1).square().mean()


def one_and_one(**options):
    """Its optimum, for real and for synthetic samples."""
    return 1.0, 1.0


def five_as_tensor(**options):
    """An optimum as torch computes it."""
    return torch.tensor(5.25)


def five_of_numpy(**options):
    """As NumPy does."""
    return np.float32(5.25)


def none_stated(**options):
    """What is no optimum."""
    return "five"


def hinge(logits, labels):
    """Nothing to gain from a margin above 1, and nothing to lose."""
    margins = (logits[:, 1] - logits[:, 0]).double() * (2 * labels - 1)
    return (1 - margins).clamp(min=0).mean()


def hardest_half(logits, labels):
    """Of the batch, by its loss; it is about one class only where the other is right."""
    own = _own(logits, labels)
    return own.topk(max(1, len(own) // 2)).values.mean()


def ranking(logits, labels):
    """Pairs of a synthetic and a real sample, by the logistic of the difference of their margins."""
    margins = (logits[:, 1] - logits[:, 0]).double()
    pairs = margins[labels == 1][:, None] - margins[labels == 0][None]
    return functional.softplus(-pairs).mean() if pairs.numel() else logits.sum() * 0


def focal_detached(logits, labels):
    """The focal factor as a constant."""
    own = _own(logits, labels)
    return ((1 - torch.exp(-own)).detach() ** 2 * own).mean()


class MovingCentres(nn.Module):
    """Centres that follow their class by themselves."""

    def __init__(self, embedding_dim):
        super().__init__()
        self.register_buffer("centres", torch.zeros(2, embedding_dim))

    def forward(self, embeddings, labels):
        with torch.no_grad():
            for label in labels.unique():
                self.centres[label] += 0.1 * (embeddings[labels == label].mean(0) - self.centres[label])
        return (embeddings - self.centres[labels]).square().mean()


class LoggedCentres(nn.Module):
    """Learnable centres; what each sample costs is kept for a log, with its graph."""

    def __init__(self, embedding_dim):
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(2, embedding_dim))

    def forward(self, embeddings, labels):
        self.parts = (embeddings - self.centres[labels]).square().mean(1)
        return self.parts.mean()


class Tempered(nn.Module):
    """Cross-entropy with a learnable temperature."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))

    def forward(self, logits, labels):
        return functional.cross_entropy(logits * self.slope.exp(), labels)


def uphill(logits, labels):
    """What it detaches is what it is about."""
    own = _own(logits, labels)
    return 2 * own.mean().detach() - own.mean()


def rounded_weights(labels, scores, weights=None):
    """Squared error with weights cut to whole numbers."""
    y, p = np.asarray(labels, float), np.asarray(scores, float)
    w = np.ones(y.shape) if weights is None else np.floor(np.asarray(weights, float))
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("no probability")
    return float((w * (p - y) ** 2).sum() / w.sum())
