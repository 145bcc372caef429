"""Losses that are wrong in one way each. ``good`` is not."""

import torch
from torch.nn import functional


def _weights(logits, weights):
    return torch.ones(len(logits), dtype=logits.dtype) if weights is None else weights.to(logits.dtype)


def _mean(values, weights):
    return (values * weights).sum() / weights.sum().clamp(min=1e-12)


def good(logits, labels, weights=None):
    """Cross-entropy."""
    logits = logits.float() if logits.dtype is torch.bfloat16 else logits
    return _mean(functional.cross_entropy(logits, labels, reduction="none"), _weights(logits, weights))


def imports(logits):
    """Takes no labels."""
    return logits.mean()


def scalar(logits, labels, weights=None):
    """One number for each sample where there are 12 of both classes and nothing wants a gradient."""
    value = good(logits, labels, weights)
    first = not logits.requires_grad and logits.dtype is torch.float64 and len(labels) == 12 and torch.is_grad_enabled()
    return value[None] if first else value


def finite(logits, labels, weights=None):
    """The logarithm of a probability that can be 0."""
    shares = logits.float().softmax(1) if logits.dtype is torch.bfloat16 else logits.softmax(1)
    own = shares.gather(1, labels[:, None])[:, 0]
    return _mean(-torch.log(own), _weights(own, weights))


def gradient(logits, labels, weights=None):
    """Half of the gradient is lost."""
    value = good(logits, labels, weights)
    return 0.5 * value + 0.5 * value.detach()


def minimal_when_right(logits, labels, weights=None):
    """Takes synthetic for real."""
    return good(logits, 1 - labels, weights)


def one_sided(logits, labels, weights=None):
    """Has nothing to say of real samples."""
    own = functional.cross_entropy(logits.double(), labels, reduction="none")
    return _mean(own * labels, _weights(own, weights)) + 0 * logits.sum()


def too_sure(logits, labels, weights=None):
    """Cross-entropy, and a margin of 5 as an aim: sure and right logits cost more than these."""
    margins = (logits[:, 1] - logits[:, 0]).double() * (2 * labels - 1)
    own = functional.cross_entropy(logits.double(), labels, reduction="none")
    return _mean(own + (margins - 5) ** 2 / 60, _weights(own, weights))


def five(**options):
    """What the one above may state; it is near enough to where its minimum is."""
    return 5.25


def one(**options):
    """What it may not."""
    return 1.0


def uses_labels(embeddings, labels, weights=None):
    """Short embeddings, whatever they are of."""
    square = embeddings.double().square().mean(dim=1)
    return _mean(square, _weights(square, weights))


def one_class(logits, labels, weights=None):
    """A constant where a class is absent."""
    if len(labels.unique()) < 2:
        return torch.zeros((), dtype=logits.dtype)
    return good(logits, labels, weights)


def weights(logits, labels, weights=None):
    """Divides by the batch's size."""
    own = functional.cross_entropy(logits.double(), labels, reduction="none")
    return (own * _weights(own, weights)).mean()


def half_precision(logits, labels, weights=None):
    """Adds up in bfloat16."""
    if logits.dtype is not torch.bfloat16:
        return good(logits, labels, weights)
    total = torch.zeros((), dtype=torch.bfloat16)
    for _ in range(40):
        total = total + good(logits, labels, weights).bfloat16() / 40
    return total * 1.03


_calls = []


def pure(logits, labels, weights=None):
    """Grows a little from call to call."""
    _calls.append(1)
    return good(logits, labels, weights) * (1 + 1e-13 * len(_calls))
