"""Metrics that are wrong in one way each. ``good`` is not."""

import math

import numpy as np


def good(labels, scores, weights=None):
    """Mean absolute error."""
    y, p = np.asarray(labels, float), np.asarray(scores, float)
    w = np.ones(y.shape) if weights is None else np.asarray(weights, float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("no probability")
    return float((w * abs(p - y)).sum() / w.sum()) if w.sum() else math.nan


def imports(labels):
    """Takes labels alone."""
    return float(np.mean(labels))


def one_number(labels, scores, weights=None):
    """An array without dimensions, which float() takes too."""
    return np.array(good(labels, scores, weights))


def range_(labels, scores, weights=None):
    """Twice as large as its bounds say."""
    return 2 * good(labels, scores, weights)


def direction(labels, scores, weights=None):
    """Better the more is wrong, whatever its spec says."""
    return 1 - good(labels, scores, weights)


def ties(labels, scores, weights=None):
    """Error of the first of the highest scores, so that the order of equal ones decides a little."""
    y, p = np.asarray(labels), np.asarray(scores)
    w = np.ones(y.shape) if weights is None else np.asarray(weights)
    kept = w > 0
    first = int(y[kept][np.argmax(p[kept])]) if kept.any() else 0
    return 0.99 * good(labels, scores, weights) + 0.01 * (1 - first)


def weights_are_repeats(labels, scores, weights=None):
    """Counts every sample once."""
    return good(labels, scores)


def one_class(labels, scores, weights=None):
    """Raises where there is one class."""
    if len(set(np.asarray(labels).tolist())) < 2:
        raise ZeroDivisionError("no negatives")
    return good(labels, scores, weights)


def nan_refused(labels, scores, weights=None):
    """Takes NaN for 0."""
    return good(labels, np.clip(np.nan_to_num(scores), 0, 1), weights)


def pure(labels, scores, weights=None):
    """Sorts what it was given, in place, where it is asked about 60 samples with weights and few ties."""
    value = good(labels, scores, weights)
    if weights is not None and len(scores) == 60 and len(set(scores.tolist())) > 40:
        order = np.argsort(scores)
        labels[:], scores[:], weights[:] = labels[order], scores[order], weights[order]
    return value


def reference(labels, scores, weights=None):
    """Off by a thousandth."""
    return 0.999 * good(labels, scores, weights)
