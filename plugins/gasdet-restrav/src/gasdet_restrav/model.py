"""ReStraV: is a clip's path through a frozen image encoder's feature space as straight as a real clip's?

Every frame becomes one long vector (all tokens of a frozen encoder). The steps between consecutive vectors have lengths
and turning angles; 21 numbers about them go through a small MLP. Method: arXiv 2507.00583 (NeurIPS 2025) and its public
code. Only the MLP is trained.

The file is self-contained: an exported bundle contains it unchanged. It reads one safetensors file that holds every
tensor of the model; a missing, unexpected or misshapen tensor is an error, so the encoder is never silently random.
"""

import dataclasses
import math
import typing

import torch
from safetensors.torch import load_file
from torch import nn

MIN_FRAMES = 8
"""Fewer frames have no seventh step and no sixth turning angle, so the 21 numbers do not exist."""
NUM_FEATURES = 21
ANGLE_OF_ZERO_STEP = 90.0
"""Degrees. The published code sets the cosine to 0 where one of the two steps has no length."""
FEATURE_NAMES = (
    *(f"d_{i}" for i in range(1, 8)),
    *(f"theta_{i}" for i in range(1, 7)),
    *(f"{statistic}_{of}" for of in ("d", "theta") for statistic in ("mean", "min", "max", "var")),
)

DINOV2_VITS14 = "dinov2_vits14"
DEMO = "demo"
_GRID = 16
_PATCH = 14
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


# --- Geometry -------------------------------------------------------------------------------------------------------


def step_geometry(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lengths of the steps along a path and the angles between consecutive steps.

    Args:
        z: ``[..., T, D]``, T >= 1 points of a path. Computed in float32 whatever the dtype.

    Returns:
        ``d [..., T-1]``: Euclidean length of every step. ``theta [..., T-2]``: the angle between consecutive steps in
        degrees, 0 to 180; 90 where one of the two has no length. Equal to ``arccos(clamp(cosine))``, in the form
        ``2 atan2(|a-b|, |a+b|)`` for two vectors of equal length, which does not lose its digits near 0 and 180 degrees.
    """
    z = z.float()
    steps = z[..., 1:, :] - z[..., :-1, :]
    d = steps.norm(dim=-1)
    first = steps[..., :-1, :] * d[..., 1:, None]
    second = steps[..., 1:, :] * d[..., :-1, None]
    theta = torch.rad2deg(2.0 * torch.atan2((first - second).norm(dim=-1), (first + second).norm(dim=-1)))
    has_no_length = (d[..., 1:] == 0) | (d[..., :-1] == 0)
    return d, torch.where(has_no_length, torch.full_like(theta, ANGLE_OF_ZERO_STEP), theta)


def summarise_geometry(d: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """The 21 numbers, in the published order, from all steps of a path.

    Args:
        d: ``[..., T-1]`` step lengths, T >= 8.
        theta: ``[..., T-2]`` angles in degrees.

    Returns:
        float32 ``[..., 21]``: d_1..d_7, theta_1..theta_6, then mean, minimum, maximum and population variance of all
        d, then the same four of all theta.

    Raises:
        ValueError: The path has fewer than 8 points.
    """
    frames = d.shape[-1] + 1
    if frames < MIN_FRAMES:
        raise ValueError(
            f"ReStraV needs clips of at least {MIN_FRAMES} frames and got {frames}: its vector holds the first seven "
            "steps and the first six angles, and shorter clips have none to put there."
        )

    def statistics(v: torch.Tensor) -> torch.Tensor:
        return torch.stack([v.mean(-1), v.amin(-1), v.amax(-1), v.var(-1, correction=0)], dim=-1)

    return torch.cat([d[..., :7], theta[..., :6], statistics(d), statistics(theta)], dim=-1)


def trajectory_features(z: torch.Tensor) -> torch.Tensor:
    """The 21 numbers of whole paths.

    Args:
        z: ``[B, T, D]``, T >= 8.

    Returns:
        float32 ``[B, 21]``, named by ``FEATURE_NAMES``.

    Raises:
        ValueError: T is below 8.
    """
    return summarise_geometry(*step_geometry(z))


class TrajectoryStream:
    """``trajectory_features`` of one path whose points arrive a few at a time.

    Only the last two points are kept, so that memory does not grow with the length of the path (two numbers a point do).
    """

    def __init__(self) -> None:
        self._tail: torch.Tensor | None = None
        self._d: list[torch.Tensor] = []
        self._theta: list[torch.Tensor] = []

    @property
    def last(self) -> torch.Tensor | None:
        """The last point so far, ``[1, D]``; None before the first."""
        return None if self._tail is None else self._tail[-1:]

    def update(self, z: torch.Tensor) -> None:
        """Take the path's next points, ``[n, D]`` with n >= 1."""
        known = 0 if self._tail is None else self._tail.shape[0]
        points = z.float() if self._tail is None else torch.cat([self._tail, z.float()])
        d, theta = step_geometry(points)
        self._d.append(d[max(0, known - 1) :])  # with two points known, the step between them was counted before
        self._theta.append(theta)
        self._tail = points[-2:].clone()

    def steps(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All step lengths ``[T-1]`` and angles ``[T-2]`` so far."""
        return torch.cat(self._d), torch.cat(self._theta)


# --- What a clip's trajectory cannot be trusted for ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TrajectoryFlags:
    """Why a clip's 21 numbers may say little. All tensors are ``[B]``.

    Attributes:
        static: No frame differs from the one before: there is no path.
        padded_frames: How many frames at the end only repeat the last one (a clip shorter than its window).
        repeated_frames: How many other frames repeat the frame before them (a frame rate that was converted, or animation
            on twos): steps of no length between real ones look like a very crooked path.
    """

    static: torch.Tensor
    padded_frames: torch.Tensor
    repeated_frames: torch.Tensor

    @property
    def valid(self) -> torch.Tensor:
        """Bool: the clip is neither static nor padded and repeats no frame."""
        return ~self.static & (self.padded_frames == 0) & (self.repeated_frames == 0)


def frame_changes(x: torch.Tensor) -> torch.Tensor:
    """Whether each frame differs in any pixel from the one before it: ``[B, T, 3, H, W]`` to bool ``[B, T-1]``."""
    return (x[:, 1:] != x[:, :-1]).flatten(2).any(-1)


def trajectory_flags(changes: torch.Tensor) -> TrajectoryFlags:
    """The flags of clips whose frames change as ``frame_changes`` says."""
    still = ~changes
    tail = still.flip(-1).long().cumprod(-1).sum(-1)
    return TrajectoryFlags(static=still.all(-1), padded_frames=tail, repeated_frames=still.sum(-1) - tail)


# --- Encoders: pixels in 0..1 to tokens ------------------------------------------------------------------------------


class Float32Module(nn.Module):
    """A module whose tensors move between devices and stay float32, also in a half-precision model.

    Step lengths of some hundreds and angles around 100 degrees, standardised by a few units, do not survive bfloat16's
    three digits.
    """

    def _apply(self, fn: typing.Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> typing.Self:
        def move_only(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self


class PixelScale(Float32Module):
    """Pixels in 0..1, less a mean, over a standard deviation: 0 and 1 as published, or ImageNet's.

    They are tensors of the weights file, so that a head always gets the pixels that it was trained with.
    """

    def __init__(self, imagenet: bool) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN if imagenet else (0.0,) * 3).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD if imagenet else (1.0,) * 3).view(3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 ``[N, 3, H, W]``, scaled."""
        return (pixels - self.mean) / self.std


class DinoV2Encoder(nn.Module):
    """Frozen DINOv2 ViT-S/14 without registers: normalised CLS token and 256 normalised patch tokens of 384 values.

    The architecture is timm's, built without weights on the meta device: used before its weights are loaded, it fails.
    Its position embedding is that of a 224 x 224 input (16 x 16 patches).
    """

    def __init__(self, normalize: bool) -> None:
        super().__init__()
        import timm  # here, because it takes seconds to import and the demo encoder has no use for it

        with torch.device("meta"):
            self.vit: typing.Any = timm.create_model(
                "vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=_GRID * _PATCH
            )
        self.scale = PixelScale(normalize)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 ``[N, 3, 224, 224]`` in 0..1 to tokens ``[N, 257, 384]`` in the weights' dtype."""
        tokens: torch.Tensor = self.vit.forward_features(self.scale(pixels).to(self.vit.pos_embed.dtype))
        return tokens


def dct_filters(order: int) -> torch.Tensor:
    """Two-dimensional DCT-II basis images of 14 x 14 pixels with u + v < order, as convolution kernels.

    Returns:
        float32 ``[K, 3, 14, 14]`` of unit norm: K = order (order + 1) / 2 for luma (BT.601), then the two chroma means.
    """
    position = (torch.arange(_PATCH, dtype=torch.float64) + 0.5) * math.pi / _PATCH
    basis = torch.stack([torch.cos(position * k) for k in range(order)])
    basis = basis / basis.norm(dim=1, keepdim=True)
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    kernels = [luma * torch.outer(basis[u], basis[n - u]) for n in range(order) for u in range(n + 1)]
    flat = torch.outer(basis[0], basis[0])
    for channel in (2, 0):  # blue minus luma, red minus luma
        chroma = -luma.clone()
        chroma[channel] += 1.0
        kernels.append(chroma * flat)
    return torch.stack(kernels).float()


class FilterBankEncoder(Float32Module):
    """The demo's encoder: a fixed bank of DCT filters over DINOv2's 14 x 14 patches. Nothing in it is learned or random.

    It stands in for DINOv2 where a few kilobytes must do, so that the plugin runs anywhere; it knows nothing of the world,
    and a detector on top of it says nothing about real media.
    """

    def __init__(self, order: int = 6) -> None:
        super().__init__()
        self.filters: torch.Tensor
        self.register_buffer("filters", dct_filters(order))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 ``[N, 3, 224, 224]`` in 0..1 to tokens ``[N, 257, K]``: the mean of all patches, then the patches."""
        coefficients = nn.functional.conv2d(pixels.float(), self.filters, stride=_PATCH).flatten(2).transpose(1, 2)
        return torch.cat([coefficients.mean(1, keepdim=True), coefficients], dim=1)


# --- The detector ----------------------------------------------------------------------------------------------------


class TrajectoryHead(Float32Module):
    """Standardisation and the MLP 21-64-32-1. The only part that is trained.

    Its one output is the published one, whose label 1 means REAL: sigmoid(output) = P(real). ``forward`` turns it into
    logits (real, synthetic) = (output/2, -output/2), so that softmax gives P(synthetic) = 1 - sigmoid(output) in column 1,
    and cross-entropy over them is the published binary cross-entropy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("std", torch.ones(NUM_FEATURES))
        self.mlp = nn.Sequential(nn.Linear(NUM_FEATURES, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Vectors ``[B, 21]`` to logits float32 ``[B, 2]`` (real, synthetic)."""
        with torch.autocast(features.device.type, enabled=False):
            real: torch.Tensor = self.mlp((features.float() - self.mean) / (self.std + 1e-8))
        return torch.cat([real / 2, -real / 2], dim=-1)


class Calibration(Float32Module):
    """A calibrator that was fitted to the model's margin z, the logit of synthetic less the logit of real.

    Its one tensor is in the weights file of a calibrated bundle, named ``calibration.`` and one of:

    - ``affine`` (scale, bias): scale * z + bias.
    - ``beta`` (a, b, c): a * log s - b * log(1 - s) + c with s = sigmoid(z).
    - ``knots`` ``[2, K]``: a line through K points (z, calibrated z), level outside of them.

    It keeps its dtype, which is the precision of the map, in a half-precision model.
    """

    def __init__(self, kind: str, tensor: torch.Tensor) -> None:
        super().__init__()
        shape = tuple(tensor.shape)
        good = {"affine": shape == (2,), "beta": shape == (3,), "knots": shape[:1] == (2,) and shape[1:] > (0,)}
        if not good.get(kind, False):
            raise ValueError(f"calibration.{kind} {list(shape)} is no calibrator that this model knows.")
        self.kind = kind
        self.register_buffer(kind, tensor.clone())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Margins ``[B, 1]`` to calibrated margins, float32."""
        values = self.get_buffer(self.kind)
        z = z.to(values.dtype)
        if self.kind == "affine":
            return (values[0] * z + values[1]).float()
        if self.kind == "beta":
            log_s, log_not_s = nn.functional.logsigmoid(z), nn.functional.logsigmoid(-z)
            return (values[0] * log_s - values[1] * log_not_s + values[2]).float()
        x, y = values[0].contiguous(), values[1]
        right = torch.searchsorted(x, z.contiguous()).clamp(max=x.numel() - 1)
        left = (right - 1).clamp(min=0)
        width = x[right] - x[left]
        share = torch.where(width > 0, (z - x[left]) / torch.where(width > 0, width, 1.0), 1.0).clamp(0, 1)
        return (y[left] + (y[right] - y[left]) * share).float()


class ReStraV(nn.Module):
    """Clips to logits (real, synthetic).

    Args:
        backbone: ``dinov2_vits14``, or ``demo`` for the fixed filter bank.
        normalize: Give DINOv2 pixels with ImageNet's mean and standard deviation, which it was trained with. False, as
            published: pixels in 0..1. The head must have been trained with the same choice.
        chunk_frames: How many frames go through the encoder at once. It bounds the memory and does not change the result
            beyond float rounding.
    """

    def __init__(self, backbone: str = DINOV2_VITS14, normalize: bool = False, chunk_frames: int = 24) -> None:
        super().__init__()
        if backbone not in (DINOV2_VITS14, DEMO):
            raise ValueError(f"backbone must be {DINOV2_VITS14!r} or {DEMO!r}, not {backbone!r}.")
        if backbone == DEMO and normalize:
            raise ValueError(
                "normalize=True belongs to DINOv2; the demo filter bank has no mean and standard deviation."
            )
        if chunk_frames < 1:
            raise ValueError(f"chunk_frames must be at least 1, not {chunk_frames}.")
        self.chunk_frames = chunk_frames
        self.backbone: nn.Module = FilterBankEncoder() if backbone == DEMO else DinoV2Encoder(normalize)
        self.backbone.requires_grad_(False)
        self.head = TrajectoryHead()
        self.calibration: Calibration | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` (real, synthetic) of clips ``[B, T, 3, 224, 224]``, RGB 0 to 255, uint8 or float."""
        logits = self.classify(self.features(x))
        if self.calibration is None:
            return logits
        z: torch.Tensor = self.calibration(logits[:, 1:] - logits[:, :1])
        return torch.cat([-z / 2, z / 2], dim=-1)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` (real, synthetic) of vectors ``[B, 21]``, without a calibrator."""
        logits: torch.Tensor = self.head(features)
        return logits

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The 21 numbers, float32 ``[B, 21]``, of clips as ``forward`` takes them. No gradient flows through them."""
        return self.features_with_flags(x)[0]

    @torch.no_grad()
    def features_with_flags(self, x: torch.Tensor) -> tuple[torch.Tensor, TrajectoryFlags]:
        """The 21 numbers of clips, and which of the clips are static, padded or have repeated frames.

        Every clip is computed by itself, so that a clip's numbers do not depend on what else is in its batch.

        Raises:
            ValueError: The shape is not ``[B, T, 3, 224, 224]``, or T is below 8.
        """
        side = _GRID * _PATCH
        if x.dim() != 5 or tuple(x.shape[2:]) != (3, side, side):
            raise ValueError(f"ReStraV takes clips of shape [B, T, 3, {side}, {side}], not {list(x.shape)}.")
        if x.shape[1] < MIN_FRAMES:
            raise ValueError(f"ReStraV needs clips of at least {MIN_FRAMES} frames and got {x.shape[1]}.")
        changes = frame_changes(x)
        with torch.autocast(x.device.type, enabled=False):
            vectors = [self._clip_features(clip, changed) for clip, changed in zip(x, changes, strict=True)]
        stacked = torch.stack(vectors) if vectors else torch.zeros(0, NUM_FEATURES, device=x.device)
        return stacked, trajectory_flags(changes)

    def set_standardisation(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Set what the 21 numbers are standardised by; 1e-8 is added to ``std`` where it is used."""
        self.head.mean.copy_(torch.as_tensor(mean, dtype=torch.float32))
        self.head.std.copy_(torch.as_tensor(std, dtype=torch.float32))

    def _clip_features(self, clip: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        """One clip ``[T, 3, H, W]`` whose frames 1.. change as ``changed [T-1]`` says, to ``[21]``.

        A frame that repeats the one before it takes over its tokens. That saves the encoder's work, and makes the step
        exactly zero: the encoder's rounding depends on a frame's place in the batch and would leave a tiny step with a
        meaningless direction.
        """
        fresh = torch.cat([torch.ones_like(changed[:1]), changed])
        stream = TrajectoryStream()
        for start in range(0, clip.shape[0], self.chunk_frames):
            is_fresh = fresh[start : start + self.chunk_frames]
            frames = clip[start : start + self.chunk_frames][is_fresh]
            pixels = frames.float() / 255.0
            points = [] if stream.last is None else [stream.last]
            if frames.shape[0]:
                points.append(self.backbone(pixels).flatten(1).float())
            # counted from the last known point, if there is one: 0 repeats it, 1 is the chunk's first fresh frame
            which = is_fresh.long().cumsum(0) - (1 if stream.last is None else 0)
            stream.update(torch.cat(points)[which])
        return summarise_geometry(*stream.steps())


# --- Loading ---------------------------------------------------------------------------------------------------------


def load_model(
    weights_path: str,
    num_classes: int = 2,
    backbone: str | None = None,
    normalize: bool | None = None,
    chunk_frames: int = 24,
) -> nn.Module:
    """The detector with the weights of one safetensors file, on the CPU, in float32, in eval mode.

    Args:
        weights_path: A safetensors file with every tensor of the model.
        num_classes: 2. ReStraV knows real and synthetic only.
        backbone: ``dinov2_vits14`` or ``demo``. None takes the one that the file holds.
        normalize: See ``ReStraV``. None takes what the file was trained with.
        chunk_frames: See ``ReStraV``.

    Raises:
        ValueError: The file lacks a tensor, has one too many or one of another shape, or was trained with another choice
            than asked for.
    """
    if num_classes != 2:
        raise ValueError(f"ReStraV has 2 classes, real and synthetic, not {num_classes}.")
    tensors = load_file(str(weights_path), device="cpu")
    if backbone is None:
        backbone = DEMO if "backbone.filters" in tensors else DINOV2_VITS14
    model = ReStraV(backbone, bool(normalize), chunk_frames)
    for name in [name for name in tensors if name.startswith("calibration.")]:
        model.calibration = Calibration(name.removeprefix("calibration."), tensors[name])
    asked = model.state_dict()
    load_tensors(model, tensors, str(weights_path))
    for name in ("backbone.scale.mean", "backbone.scale.std"):
        if normalize is not None and name in asked and not torch.equal(asked[name], tensors[name].float()):
            raise ValueError(
                f"{weights_path} was trained on pixels with {name} = {tensors[name].flatten().tolist()}, which "
                f"normalize={normalize} contradicts."
            )
    return model.requires_grad_(False).eval()


def load_tensors(module: nn.Module, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Put tensors into a module, all of them and nothing else, as float32; a calibrator keeps its own precision.

    Raises:
        ValueError: With what is missing, unexpected or misshapen; of more than 20 names of a kind, the first 20.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    problems = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "misshapen": [
            f"{name} {list(tensors[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in tensors and tuple(tensors[name].shape) != shape
        ],
    }
    if any(problems.values()):
        parts = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in problems.items() if names]
        raise ValueError(f"{where} does not fit the model; {'; '.join(parts)}.")
    ready = {name: t if name.startswith("calibration.") else t.float() for name, t in tensors.items()}
    module.load_state_dict(ready, strict=True, assign=True)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
