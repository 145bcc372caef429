"""Table entries of what changes the pixels of images and clips."""

from __future__ import annotations

from gasdet.media.perturbation import colour, compression, deeperforensics, degradation, gasbench
from gasdet.media.perturbation.options import Choice, Number, Switch
from gasdet.media.perturbation.perturbation import PIXELS, VIDEO, Perturbation

_KERNELS = ("nearest", "bilinear", "bicubic", "area", "lanczos")
_PER_FRAME = Switch(False, "whether each frame of a clip is drawn anew; else all frames get the same")
_DEEPERFORENSICS = "DeeperForensics-1.0, arXiv 2001.03024 and its code"


def _quality(default: tuple[int, int]) -> Number:
    return Number(default, 1, 100, "the encoder's scale", whole=True)


COLOUR = (
    Perturbation(
        "brightness",
        PIXELS,
        colour.brightness,
        "grey levels multiplied",
        options={"factor": Number((0.9, 1.1), 0, 10, "above 1 brightens")},
        levels={"factor": (1.1, 1.25, 1.5, 1.75, 2.0)},
        source="range of GenD's training, arXiv 2508.06248; levels own choice",
    ),
    Perturbation(
        "contrast",
        PIXELS,
        colour.contrast,
        "distances from the mean luma multiplied",
        options={"factor": Number((0.9, 1.1), 0, 10, "below 1 flattens")},
        levels={"factor": (0.85, 0.7, 0.55, 0.4, 0.25)},
        source="range of GenD's training, arXiv 2508.06248; levels own choice",
    ),
    Perturbation(
        "colour_jitter",
        PIXELS,
        colour.colour_jitter,
        "brightness, contrast and saturation",
        options={
            "brightness_factor": Number((0.8, 1.2), 0, 10, "times every grey level"),
            "contrast_factor": Number((0.8, 1.2), 0, 10, "times the distance from the mean luma"),
            "saturation_factor": Number((0.8, 1.2), 0, 10, "times the distance from the pixel's luma"),
        },
        levels={
            name: tuple((1 - s, 1 + s) for s in (0.05, 0.1, 0.2, 0.35, 0.5))
            for name in ("brightness_factor", "contrast_factor", "saturation_factor")
        },
    ),
    Perturbation(
        "patch_mask",
        PIXELS,
        colour.patch_mask,
        "patches of a grid set to black, the same in all frames",
        options={
            "share": Number((0.0, 0.75), 0, 1, "of the patches"),
            "patch": Number(16, 1, 4096, "side of a patch in pixels", whole=True),
        },
        levels={"share": (0.05, 0.1, 0.2, 0.35, 0.5)},
        source="SAFE, arXiv 2408.06741; levels own choice",
    ),
)

COMPRESSION = (
    Perturbation(
        "jpeg",
        PIXELS,
        compression.jpeg,
        "real JPEG, frame by frame",
        options={
            "quality": _quality((40, 100)),
            "subsampling": Choice("420", compression.SUBSAMPLINGS, "of the chroma"),
        },
        levels={"quality": (95, 80, 65, 50, 30)},
        source="range of GenD's training, arXiv 2508.06248; levels own choice",
    ),
    Perturbation(
        "webp",
        PIXELS,
        compression.webp,
        "lossy WebP, frame by frame",
        options={"quality": _quality((40, 100))},
        levels={"quality": (95, 80, 65, 50, 30)},
    ),
    Perturbation(
        "h264",
        VIDEO,
        compression.h264,
        "x264 at a constant rate factor, 4:2:0",
        options={
            "crf": Number((18, 35), 0, 51, "constant rate factor", whole=True),
            "fps": Number(25.0, 1, 1000, "frames per second that the encoder is told"),
        },
        levels={"crf": (18, 23, 28, 33, 40)},
        source="23 and 40 as in FaceForensics++, arXiv 1901.08971; the others own choice",
    ),
)

DEGRADATION = (
    Perturbation(
        "gaussian_blur",
        PIXELS,
        degradation.gaussian_blur,
        "Gaussian blur",
        options={"sigma": Number((0.1, 2.0), 0.01, 100, "in pixels")},
        levels={"sigma": (0.5, 1.0, 1.5, 2.0, 3.0)},
        source="range of GenD's training, arXiv 2508.06248; levels own choice",
    ),
    Perturbation(
        "gaussian_noise",
        PIXELS,
        degradation.gaussian_noise,
        "normal noise on every pixel and channel",
        options={"std": Number((0.0, 10.0), 0, 255, "in grey levels"), "per_frame": _PER_FRAME},
        levels={"std": (2.0, 5.0, 10.0, 15.0, 25.0)},
    ),
    Perturbation(
        "resize_chain",
        PIXELS,
        degradation.resize_chain,
        "made smaller and brought back",
        options={
            "factor": Number((0.5, 1.0), 0.01, 1, "of both sides"),
            "down": Choice(_KERNELS, _KERNELS, "kernel that makes it smaller"),
            "up": Choice(("bilinear", "bicubic", "lanczos"), _KERNELS, "kernel that makes it larger"),
            "antialias": Switch(True, "Pillow's kernels, which widen when they shrink; else OpenCV's"),
            "times": Number(1, 1, 10, "how often", whole=True),
        },
        levels={
            "factor": (0.9, 0.75, 0.5, 0.35, 0.25),
            "down": ("bicubic",) * 5,
            "up": ("bicubic",) * 5,
        },
    ),
    Perturbation(
        "frame_freeze",
        VIDEO,
        degradation.frame_freeze,
        "frames lost and shown as the one before",
        options={"share": Number((0.0, 0.3), 0, 1, "probability of a frame's loss")},
        levels={"share": (0.05, 0.1, 0.2, 0.3, 0.5)},
    ),
    Perturbation(
        "gasbench",
        PIXELS,
        gasbench.gasbench,
        "GASBench's robustness pass: half size, JPEG 55, WebP 75, JPEG 80; clips half size, H.264 at CRF 23",
        source="GASBench, processing/transforms.py",
    ),
)

DEEPERFORENSICS = (
    Perturbation(
        "df_cs",
        PIXELS,
        deeperforensics.colour_saturation,
        "CS: chroma scaled",
        options={"factor": Number(0.4, 0, 1, "of both chromas")},
        levels={"factor": (0.4, 0.3, 0.2, 0.1, 0.0)},
        default_level=(1, 5),
        source=_DEEPERFORENSICS,
    ),
    Perturbation(
        "df_cc",
        PIXELS,
        deeperforensics.colour_contrast,
        "CC: grey levels multiplied, which darkens",
        options={"factor": Number(0.85, 0, 1, "of every grey level")},
        levels={"factor": (0.85, 0.725, 0.6, 0.475, 0.35)},
        default_level=(1, 5),
        source=_DEEPERFORENSICS,
    ),
    Perturbation(
        "df_bw",
        PIXELS,
        deeperforensics.block_wise,
        "BW: 8 x 8 blocks of grey; none where the shorter side is below 256",
        options={
            "blocks": Number(16, 0, 10000, "for each whole 256 pixels of the shorter side", whole=True),
            "per_frame": _PER_FRAME,
        },
        levels={"blocks": (16, 32, 48, 64, 80)},
        default_level=(1, 5),
        source=_DEEPERFORENSICS,
    ),
    Perturbation(
        "df_gnc",
        PIXELS,
        deeperforensics.gaussian_noise_colour,
        "GNC: normal noise in YCbCr",
        options={"variance": Number(0.001, 0, 1, "on a scale of 0 to 1"), "per_frame": _PER_FRAME},
        levels={"variance": (0.001, 0.002, 0.005, 0.01, 0.05)},
        default_level=(1, 5),
        source=_DEEPERFORENSICS,
    ),
    Perturbation(
        "df_gb",
        PIXELS,
        deeperforensics.gaussian_blur_kernel,
        "GB: Gaussian blur with a sigma of a sixth of the kernel",
        options={"kernel": Number(7, 1, 255, "width in pixels, made odd", whole=True)},
        levels={"kernel": (7, 9, 13, 17, 21)},
        default_level=(1, 5),
        source=_DEEPERFORENSICS,
    ),
    Perturbation(
        "df_jpeg",
        PIXELS,
        deeperforensics.down_and_up,
        "JPEG by name: down by a factor and up again, bilinear",
        options={"factor": Number(2, 1, 64, "that the sides are divided by", whole=True)},
        levels={"factor": (2, 3, 4, 5, 6)},
        default_level=(1, 5),
        source=_DEEPERFORENSICS,
    ),
    Perturbation(
        "df_vc",
        VIDEO,
        compression.h264,
        "VC: H.264",
        options={
            "crf": Number(30, 0, 51, "constant rate factor", whole=True),
            "fps": Number(25.0, 1, 1000, "frames per second that the encoder is told"),
        },
        levels={"crf": (30, 32, 35, 38, 40)},
        default_level=(1, 5),
        source=_DEEPERFORENSICS,
    ),
)
