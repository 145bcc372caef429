"""Table entries of the geometric perturbations."""

from __future__ import annotations

from gasdet.media.perturbation import geometric
from gasdet.media.perturbation.options import Choice, Number, Size
from gasdet.media.perturbation.perturbation import PIXELS, Perturbation

_INTERPOLATION = Choice("bilinear", geometric.INTERPOLATIONS, "OpenCV's kernel")

GEOMETRIC = (
    Perturbation("hflip", PIXELS, geometric.hflip, "left and right exchanged"),
    Perturbation("vflip", PIXELS, geometric.vflip, "top and bottom exchanged"),
    Perturbation(
        "random_crop",
        PIXELS,
        geometric.random_crop,
        "a window at a random place",
        options={
            "size": Size("of the window"),
            "padding": Number(0, 0, 4096, "pixels by which the window may reach over each edge", whole=True),
            "padding_mode": Choice("symmetric", geometric.PADDING_MODES, "what lies beyond the edges"),
            "align": Number(1, 1, 256, "the place is a multiple of so many pixels of the input's grid", whole=True),
        },
        keeps_shape=False,
    ),
    Perturbation(
        "random_resized_crop",
        PIXELS,
        geometric.random_resized_crop,
        "a window of random area and aspect at a random place, resized",
        options={
            "size": Size("of the result"),
            "scale": Number((0.5, 1.0), 0.01, 1.0, "area of the window, as a share"),
            "ratio": Number((0.75, 4 / 3), 0.1, 10.0, "width over height of the window", log=True),
            "interpolation": _INTERPOLATION,
        },
        keeps_shape=False,
        source="Szegedy et al., arXiv 1409.4842; area from 0.5, not 0.08, as the traces of a generator need pixels",
    ),
    Perturbation(
        "crop",
        PIXELS,
        geometric.crop,
        "the middle, resized to the input's size",
        options={
            "share": Number((0.7, 1.0), 0.05, 1.0, "of each side that is kept"),
            "interpolation": _INTERPOLATION,
        },
        levels={"share": (0.95, 0.9, 0.8, 0.65, 0.5)},
    ),
    Perturbation(
        "affine",
        PIXELS,
        geometric.affine,
        "turned, scaled and shifted a little; mirrored beyond the edges",
        options={
            "degrees": Number((-10.0, 10.0), -180, 180, "counter-clockwise"),
            "scale": Number((0.9, 1.1), 0.1, 10, "above 1 enlarges"),
            "shift_x": Number((-0.1, 0.1), -1, 1, "to the right, as a share of the width"),
            "shift_y": Number((-0.1, 0.1), -1, 1, "downwards, as a share of the height"),
            "interpolation": _INTERPOLATION,
        },
        levels={
            "degrees": (1.0, 2.0, 5.0, 10.0, 15.0),
            "scale": (1.0, 1.0, 1.0, 1.0, 1.0),
            "shift_x": (0.0, 0.0, 0.0, 0.0, 0.0),
            "shift_y": (0.0, 0.0, 0.0, 0.0, 0.0),
        },
        source="ranges of GenD's training, arXiv 2508.06248; levels turn only and are own choices",
    ),
)
