"""Calibrators that are wrong in one way each. ``Good`` is not."""

import json

import numpy as np


def _line(logits, labels, weights=None):
    z = logits[:, 1] - logits[:, 0]
    x = np.stack([z, np.ones_like(z)], axis=1)
    w = np.ones(len(z)) if weights is None else np.asarray(weights, float)
    values = np.array([1.0, 0.0])
    for _ in range(40):
        p = 1 / (1 + np.exp(-np.clip(x @ values, -30, 30)))
        curvature = (x * (w * np.maximum(p * (1 - p), 1e-9))[:, None]).T @ x + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (w * (p - labels)))
        values = values - step / max(1.0, abs(step).max())
    return values


class Good:
    """A line on the margin."""

    monotone = True
    minimum_samples = 50

    def __init__(self, scale, bias):
        self.scale, self.bias = scale, bias

    @classmethod
    def fit(cls, logits, labels, weights=None):
        logits, labels = np.asarray(logits, float), np.asarray(labels)
        if not np.isfinite(logits).all() or len(set(labels.tolist())) < 2:
            raise ValueError("unusable")
        scale, bias = _line(logits, labels, weights)
        return cls(max(0.01, float(scale)), float(bias))

    def apply(self, logits):
        logits = np.asarray(logits, float)
        half = (self.scale * (logits[:, 1] - logits[:, 0]) + self.bias) / 2
        centre = logits.mean(axis=1)
        return np.stack([centre - half, centre + half], axis=1)

    def parameters(self):
        return {"scale": self.scale, "bias": self.bias}

    @classmethod
    def from_parameters(cls, parameters):
        return cls(parameters["scale"], parameters["bias"])


class Imports(Good):
    """Says nothing of its order."""

    monotone = None


class Shape(Good):
    """Forgets the dimension of a single row."""

    def apply(self, logits):
        found = super().apply(logits)
        return found if len(found) > 1 or float(np.ravel(logits)[1]) != 0.35 else found[0]


class Improves(Good):
    """Halves what it fitted; at 1 that would be the identity's business."""

    @classmethod
    def fit(cls, logits, labels, weights=None):
        made = super().fit(logits, labels, weights)
        return made if abs(made.scale - 1) < 0.2 and abs(made.bias) < 0.2 else cls(4 * made.scale, made.bias)


class Monotone(Good):
    """Turns pairs far out round, though it says that it does not."""

    def apply(self, logits):
        logits = np.array(logits, float)
        z = logits[:, 1] - logits[:, 0]
        logits[:, 1] = logits[:, 0] + np.where((z > 7) & (z < 9), 14 - z, z)
        return super().apply(logits)


class Identity(Good):
    """Always a little off."""

    @classmethod
    def fit(cls, logits, labels, weights=None):
        made = super().fit(logits, labels, weights)
        return cls(made.scale, made.bias + (0.4 if len(labels) == 8000 else 0))


class Serialises(Good):
    """Rounds its parameters."""

    def parameters(self):
        return {"scale": round(self.scale, 3), "bias": round(self.bias, 3)}


class TooLittleRefused(Good):
    """Is content with one class."""

    @classmethod
    def fit(cls, logits, labels, weights=None):
        if len(labels) and len(set(np.asarray(labels).tolist())) < 2:
            return cls(1.0, 0.0)
        return super().fit(logits, labels, weights)


class EachRowAlone(Good):
    """Takes off the mean of whatever it is applied to, a little."""

    def apply(self, logits):
        found = super().apply(logits)
        if len(found) == 64:
            found[:, 1] += 1e-6 * found[:, 1].mean()
        return found


class Weights(Good):
    """Leaves the weights out."""

    @classmethod
    def fit(cls, logits, labels, weights=None):
        return super().fit(logits, labels)


class Deterministic(Good):
    """Remembers how often it was fitted."""

    fits = 0

    @classmethod
    def fit(cls, logits, labels, weights=None):
        made = super().fit(logits, labels, weights)
        Deterministic.fits += 1
        return cls(made.scale * (1 + 1e-12 * Deterministic.fits), made.bias)


class FoldsIntoBundles(Good):
    """Says another line than it applies."""

    def affine(self):
        return self.scale, self.bias + 0.1


def described(calibrator):
    """Parameters as text."""
    return json.dumps(calibrator.parameters())
