"""NPR: do neighbouring pixels differ as a camera's do, or as a generator's upsampling leaves them?

Every pixel has the top-left pixel of its 2 x 2 block taken away; what is left goes through the first two stages of a
ResNet-50. Method: arXiv 2312.10461 (CVPR 2024) and the behaviour of its public code.

The file is self-contained: an exported bundle contains it unchanged. It reads one safetensors file that holds every
tensor of the model; a missing, unexpected or misshapen tensor is an error.
"""

import collections.abc
import typing

import torch
from safetensors.torch import load_file
from torch import nn

PUBLISHED_BLOCKS = (3, 4)
PUBLISHED_WIDTH = 64
RESIDUAL_SCALE = 2.0 / 3.0
"""The published code's factor on the residual."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_INPUTS = {"residual": 3, "both": 6}
_EXPANSION = 4


def residual(pixels: torch.Tensor) -> torch.Tensor:
    """Every pixel less the top-left pixel of its 2 x 2 block.

    The same as ``pixels - up(down(pixels))`` with nearest-neighbour resampling by 2, as published.

    Args:
        pixels: ``[B, C, H, W]`` in floating point, H and W even.

    Returns:
        The same shape; 0 at even rows of even columns.
    """
    corners = nn.functional.interpolate(pixels[..., ::2, ::2], scale_factor=2.0, mode="nearest")
    return pixels - corners


class Bottleneck(nn.Module):
    """ResNet's block of 1 x 1, 3 x 3 and 1 x 1 convolutions, its stride in the 3 x 3 one."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * _EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, channels, H, W]`` to ``[B, 4 width, H / stride, W / stride]``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class Calibration(nn.Module):
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

    def _apply(self, fn: typing.Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> typing.Self:
        def move_only(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self

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


class NPR(nn.Module):
    """Images to logits (real, synthetic).

    The published network has one output z, with sigmoid(z) = P(synthetic); here the logits are (0, z), so that softmax
    gives the same probability and cross-entropy is the published binary cross-entropy. All defaults are as published.

    Args:
        stem_stride: Stride of the first convolution. 1 keeps the resolution of small pictures.
        stem_pool: Whether a 3 x 3 max pooling of stride 2 follows it.
        blocks: Bottleneck blocks of each stage; every stage after the first halves the resolution and doubles the width.
        width: Channels of the first convolution.
        input: ``residual``, or ``both`` for the residual and the picture itself.
    """

    def __init__(
        self,
        stem_stride: int = 2,
        stem_pool: bool = True,
        blocks: collections.abc.Sequence[int] = PUBLISHED_BLOCKS,
        width: int = PUBLISHED_WIDTH,
        input: str = "residual",
    ) -> None:
        super().__init__()
        if input not in _INPUTS:
            raise ValueError(f"input must be one of {', '.join(_INPUTS)}, not {input!r}.")
        if stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, not {stem_stride!r}.")
        if width < 1 or not blocks or any(count < 1 for count in blocks):
            raise ValueError(f"width and every number of blocks must be at least 1, not {width!r} and {list(blocks)}.")
        self.input = input
        self.conv1 = nn.Conv2d(_INPUTS[input], width, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool: nn.Module = nn.MaxPool2d(3, 2, padding=1) if stem_pool else nn.Identity()
        channels = width
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        for number, (name, count) in enumerate(zip(self.stages, blocks, strict=True)):
            layer = nn.Sequential()
            for block in range(count):
                stride = 2 if number and not block else 1
                layer.append(Bottleneck(channels, width << number, stride))
                channels = (width << number) * _EXPANSION
            self.add_module(name, layer)
        self.fc1 = nn.Linear(channels, 1)
        self.calibration: Calibration | None = None
        if (stem_stride, stem_pool) != (2, True):
            # shapes do not show the stem: a file that was trained with another one than the published says so itself
            self.register_buffer("stem", torch.tensor([stem_stride, int(stem_pool)]))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` (real, synthetic) of pictures ``[B, 3, H, W]``, RGB 0 to 255, uint8 or float.

        The last row or column of an odd size takes no part.

        Raises:
            ValueError: The shape is another, or a side is below 2.
        """
        return self.forward_with_embeddings(x)[0]

    def forward_with_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``forward``, and the embeddings float32 ``[B, D]`` that the logits are made of (D = 512 as published)."""
        features = self.network_input(x).to(self.conv1.weight.dtype)
        features = self.maxpool(torch.relu(self.bn1(self.conv1(features))))
        for name in self.stages:
            features = self.get_submodule(name)(features)
        with torch.autocast(x.device.type, enabled=False):
            embeddings = features.float().mean((2, 3))
            z = nn.functional.linear(embeddings, self.fc1.weight.float(), self.fc1.bias.float())
            if self.calibration is not None:
                z = self.calibration(z)
        return torch.cat([torch.zeros_like(z), z], dim=-1), embeddings

    def network_input(self, x: torch.Tensor) -> torch.Tensor:
        """What the first convolution sees, float32: 2/3 of the normalised picture's residual, and the picture on request.

        ImageNet's mean falls out of the residual; its standard deviation does not.
        """
        if x.dim() != 4 or x.shape[1] != 3 or x.shape[2] < 2 or x.shape[3] < 2:
            raise ValueError(f"NPR takes pictures of shape [B, 3, H, W] with sides of at least 2, not {list(x.shape)}.")
        x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2].float()
        std = torch.tensor(_IMAGENET_STD, device=x.device).view(3, 1, 1) * 255.0
        signal = residual(x) * (RESIDUAL_SCALE / std)
        if self.input == "residual":
            return signal
        mean = torch.tensor(_IMAGENET_MEAN, device=x.device).view(3, 1, 1) * 255.0
        return torch.cat([signal, (x - mean) / std], dim=1)


# --- Loading ---------------------------------------------------------------------------------------------------------


def load_model(
    weights_path: str,
    num_classes: int = 2,
    stem_stride: int | None = None,
    stem_pool: bool | None = None,
    blocks: collections.abc.Sequence[int] | None = None,
    width: int | None = None,
    input: str | None = None,
) -> nn.Module:
    """The detector with the weights of one safetensors file, on the CPU, in float32, in eval mode.

    Args:
        weights_path: A safetensors file with every tensor of the model.
        num_classes: 2. NPR knows real and synthetic only.
        stem_stride: See ``NPR``; this and all below: None takes what the file was trained with.
        stem_pool: See ``NPR``.
        blocks: See ``NPR``.
        width: See ``NPR``.
        input: See ``NPR``.

    Raises:
        ValueError: The file lacks a tensor, has one too many or one of another shape, or was trained with another choice
            than asked for.
    """
    if num_classes != 2:
        raise ValueError(f"NPR has 2 classes, real and synthetic, not {num_classes}.")
    tensors = load_file(str(weights_path), device="cpu")
    found = architecture(tensors)
    asked = {
        "stem_stride": stem_stride,
        "stem_pool": stem_pool,
        "blocks": None if blocks is None else tuple(blocks),
        "width": width,
        "input": input,
    }
    for name, value in asked.items():
        if value is not None and value != found[name]:
            raise ValueError(
                f"{weights_path} was trained with {name}={found[name]!r}, which {name}={value!r} contradicts."
            )
    model = NPR(**found)
    for name in [name for name in tensors if name.startswith("calibration.")]:
        model.calibration = Calibration(name.removeprefix("calibration."), tensors[name])
    load_tensors(model, tensors, str(weights_path))
    return model.requires_grad_(False).eval()


def architecture(tensors: collections.abc.Mapping[str, torch.Tensor]) -> dict[str, typing.Any]:
    """The arguments of ``NPR`` with which it has the tensors of a file; the published ones where the file does not tell."""
    stem = tensors["stem"].tolist() if "stem" in tensors else [2, 1]
    first = tensors.get("conv1.weight", torch.empty(PUBLISHED_WIDTH, 3, 3, 3))
    counts: dict[int, int] = {}
    for name in tensors:
        parts = name.split(".")
        if parts[0].startswith("layer") and parts[0][5:].isdigit() and len(parts) > 2 and parts[1].isdigit():
            counts[int(parts[0][5:])] = max(counts.get(int(parts[0][5:]), 0), int(parts[1]) + 1)
    blocks = tuple(counts[number] for number in sorted(counts))
    return {
        "stem_stride": int(stem[0]),
        "stem_pool": bool(stem[1]),
        "blocks": blocks or PUBLISHED_BLOCKS,
        "width": first.shape[0],
        "input": "both" if first.dim() == 4 and first.shape[1] == _INPUTS["both"] else "residual",
    }


def load_tensors(module: nn.Module, tensors: collections.abc.Mapping[str, torch.Tensor], where: str) -> None:
    """Put tensors into a module, all of them and nothing else, in the module's own dtypes.

    Raises:
        ValueError: With what is missing, unexpected or misshapen; of more than 20 names of a kind, the first 20.
    """
    expected = module.state_dict()
    problems = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "misshapen": [
            f"{name} {list(tensors[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        parts = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in problems.items() if names]
        raise ValueError(f"{where} does not fit the model; {'; '.join(parts)}.")
    module.load_state_dict(dict(tensors), strict=True)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
