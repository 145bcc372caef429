"""The power of a picture by spatial frequency (arXiv 2003.01826), and a small network on it.

Self-contained: an exported bundle contains it unchanged. It reads one safetensors file that holds every tensor of the model; a
missing, unexpected or misshapen tensor is an error.
"""

import collections.abc
import typing

import torch
from safetensors.torch import load_file
from torch import nn

BANDS = 64


def spectrum(pixels: torch.Tensor) -> torch.Tensor:
    """The logarithm of the mean power in each of 64 rings of spatial frequency, after an azimuthal average.

    Args:
        pixels: float32 ``[B, 3, H, W]``, 0 to 255, sides of at least 16.

    Returns:
        float32 ``[B, 64]``: from the mean of the picture to its finest diagonals.
    """
    grey = pixels.mean(1) / 255.0
    height, width = grey.shape[1:]
    window = torch.outer(_hann(height, pixels.device), _hann(width, pixels.device))
    power = torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * window).abs().square()
    rows = torch.fft.fftfreq(height, device=pixels.device)[:, None]
    columns = torch.fft.fftfreq(width, device=pixels.device)[None]
    # half a cycle a pixel in both directions is the highest frequency there is
    radius = (rows.square() + columns.square()).sqrt() / 0.5**0.5
    band = (radius * BANDS).long().clamp(max=BANDS - 1).flatten()
    members = torch.zeros(BANDS, device=pixels.device).index_add_(0, band, torch.ones_like(radius).flatten())
    sums = torch.zeros(len(grey), BANDS, device=pixels.device).index_add_(1, band, power.flatten(1))
    return torch.log10(sums / members.clamp(min=1.0) + 1e-6)


def _hann(length: int, device: torch.device) -> torch.Tensor:
    return torch.hann_window(length, device=device)


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


class Spectrum(nn.Module):
    """Images to logits (real, synthetic).

    Args:
        hidden: Width of the network's one hidden layer.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(BANDS))
        self.register_buffer("std", torch.ones(BANDS))
        self.head = nn.Sequential(nn.Linear(BANDS, hidden), nn.GELU(), nn.Linear(hidden, 1))
        self.calibration: Calibration | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` (real, synthetic) of pictures ``[B, 3, H, W]``, RGB 0 to 255, uint8 or float.

        Raises:
            ValueError: The shape is another, or a side is below 16.
        """
        return self.classify(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """float32 ``[B, 64]``: the spectra, not standardised."""
        if x.dim() != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 16:
            raise ValueError(
                f"example-spectrum takes pictures of shape [B, 3, H, W] with sides of at least 16, not {list(x.shape)}."
            )
        with torch.autocast(x.device.type, enabled=False):
            return spectrum(x.float())

    def set_standardisation(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Standardise spectra by a mean and a standard deviation, each ``[64]``."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-6))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` of spectra ``[B, 64]``."""
        standard = (features.float() - self.mean.float()) / self.std.float()
        z = self.head(standard.to(next(self.head.parameters()).dtype)).float()
        if self.calibration is not None:
            z = self.calibration(z)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def load_model(weights_path: str, num_classes: int = 2, hidden: int | None = None) -> nn.Module:
    """The detector with the weights of one safetensors file, on the CPU, in float32, in eval mode.

    Args:
        weights_path: A safetensors file with every tensor of the model.
        num_classes: 2, real and synthetic.
        hidden: See ``Spectrum``; None takes what the file was trained with.

    Raises:
        ValueError: The file lacks a tensor, has one too many or one of another shape.
    """
    if num_classes != 2:
        raise ValueError(f"example-spectrum has 2 classes, real and synthetic, not {num_classes}.")
    tensors = load_file(str(weights_path), device="cpu")
    if hidden is None:
        hidden = tensors["head.0.weight"].shape[0] if "head.0.weight" in tensors else 32
    model = Spectrum(hidden=hidden)
    for name in [name for name in tensors if name.startswith("calibration.")]:
        model.calibration = Calibration(name.removeprefix("calibration."), tensors[name])
    load_tensors(model, tensors, str(weights_path))
    return model.requires_grad_(False).eval()


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
