"""A BreathNet-style reconstruction: wav2vec 2.0 features, amplified where the speaker breathes, beside a spectral branch.

The paper (arXiv 2602.13596) names the parts of its detector and publishes no equations, sizes, code or weights. This network
has those parts in a form of our own; it is not the paper's, and none of the paper's figures is a claim about it.

The file is self-contained: an exported bundle contains it unchanged. It reads one safetensors file that holds every tensor
of the model; a missing, unexpected or misshapen tensor is an error.
"""

import collections.abc
import math
import typing

import torch
import torchaudio
from safetensors.torch import load_file
from torch import nn

SAMPLE_RATE = 16_000
RECEPTIVE_FIELD = 400
"""Samples that one frame of wav2vec 2.0 sees, and the fewest that a recording can have."""
HOP = 320
"""Samples from one frame to the next."""
WINDOW = 64_600
FREQUENCY_FRONT_ENDS = ("stft", "lfcc", "sinc")

_CONV_KERNELS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
_FLOOR = 1e-6


def frame_count(samples: int) -> int:
    """Frames of a recording of so many samples, at least 400, in both branches."""
    return (samples - RECEPTIVE_FIELD) // HOP + 1


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Every recording of ``[B, N]`` with a mean of 0 and a variance of 1, float32; silence stays silence.

    As wav2vec 2.0's large models were trained: the 1e-7 under the root is the published feature extractor's.
    """
    x = x.float()
    x = x - x.mean(-1, keepdim=True)
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-7)


class Float32Module(nn.Module):
    """A module whose tensors move between devices and stay float32, also in a half-precision model."""

    def _apply(self, fn: typing.Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> typing.Self:
        def move_only(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self


# --- Frequency branch ------------------------------------------------------------------------------------------------


def mel_sinc_bank(filters: int = 70, kernel: int = 129) -> torch.Tensor:
    """Band-pass kernels ``[filters, kernel]``, float32: neighbouring bands of equal width in mel from 0 to 8000 Hz.

    Differences of two ideal low-passes under a Hamming window, as in AASIST's first layer (arXiv 2110.01200): 70 filters of
    129 taps, not trained.
    """
    mel = torch.linspace(0.0, 2595.0 * math.log10(1.0 + SAMPLE_RATE / 2 / 700.0), filters + 1, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (mel / 2595.0) - 1.0) / SAMPLE_RATE
    n = torch.arange(kernel, dtype=torch.float64) - kernel // 2
    low_pass = 2.0 * edges[:, None] * torch.sinc(2.0 * edges[:, None] * n)
    window = torch.hamming_window(kernel, periodic=False, dtype=torch.float64)
    return ((low_pass[1:] - low_pass[:-1]) * window).float()


class SpectralFrames(Float32Module):
    """What the frequency branch sees of a waveform, on wav2vec 2.0's frames and without any trained tensor.

    - ``stft``: log power of the ``n_fft / 2 + 1`` bins to 8 kHz (Hann window), and the sizes of its differences along
      time and along frequency, in which a vocoder's traces stand out against the voice.
    - ``lfcc``: 20 cepstral coefficients of 20 linear filters, their differences and second differences: 60 numbers.
    - ``sinc``: log power of 70 mel-spaced bands, and its differences as above.

    A window of more than 400 samples has the middle of the frame's 400 in its own middle; zeros go on beyond the ends.
    """

    channels = 3

    def __init__(self, kind: str, n_fft: int) -> None:
        super().__init__()
        self.kind = kind
        self.n_fft = n_fft
        constants = {"window": torch.hann_window(n_fft)}
        if kind == "lfcc":
            bins = n_fft // 2 + 1
            constants["filters"] = torchaudio.functional.linear_fbanks(bins, 0.0, SAMPLE_RATE / 2, 20, SAMPLE_RATE)
            constants["dct"] = torchaudio.functional.create_dct(20, 20, "ortho")
        elif kind == "sinc":
            constants = {"bank": mel_sinc_bank()[:, None]}
        for name, tensor in constants.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms float32 ``[B, N]`` to float32 ``[B, 3, bands, T]``."""
        if self.kind == "sinc":
            bank = self.get_buffer("bank")
            filtered = nn.functional.conv1d(x[:, None], bank, padding=bank.shape[-1] // 2)
            power = nn.functional.avg_pool1d(filtered.square(), RECEPTIVE_FIELD, HOP) * RECEPTIVE_FIELD
            return self._with_differences(self._log(power))
        around = (self.n_fft - RECEPTIVE_FIELD) // 2
        x = nn.functional.pad(x, (around, around))
        window = self.get_buffer("window")
        spectrum = torch.stft(x, self.n_fft, HOP, window=window, center=False, return_complex=True)
        power = (spectrum.real.square() + spectrum.imag.square()) * (RECEPTIVE_FIELD / self.n_fft)
        if self.kind == "stft":
            return self._with_differences(self._log(power))
        bands = self._log(torch.einsum("bft,fk->bkt", power, self.get_buffer("filters")))
        cepstrum = torch.einsum("bkt,kc->bct", bands, self.get_buffer("dct"))
        first = torchaudio.functional.compute_deltas(cepstrum)
        return torch.stack([cepstrum, first, torchaudio.functional.compute_deltas(first)], dim=1)

    @staticmethod
    def _with_differences(bands: torch.Tensor) -> torch.Tensor:
        """``[B, bands, T]`` to ``[B, 3, bands, T]``: and the sizes of their differences, the first of which are 0."""
        along_time = nn.functional.pad(bands.diff(dim=2).abs(), (1, 0))
        along_frequency = nn.functional.pad(bands.diff(dim=1).abs(), (0, 0, 1, 0))
        return torch.stack([bands, along_time, along_frequency], dim=1)

    @staticmethod
    def _log(power: torch.Tensor) -> torch.Tensor:
        """Speech at unit variance lies within some units of 0."""
        return (torch.log(power + _FLOOR) + 3.0) / 4.0


class FrequencyBranch(nn.Module):
    """Spectral frames through 2-D convolutions that stride along frequency alone.

    What goes into the first and what comes out of the last convolution is averaged over equal parts of the frequencies, and one
    linear layer sees all of these means, so that it knows where in the spectrum something is.
    """

    def __init__(self, kind: str, n_fft: int, channels: collections.abc.Sequence[int], bands: int) -> None:
        super().__init__()
        self.frames = SpectralFrames(kind, n_fft)
        self.bands = bands
        self.blocks = nn.Sequential()
        width = self.frames.channels
        for count in channels:
            conv = nn.Conv2d(width, count, (5, 3), stride=(2, 1), padding=(2, 1))
            self.blocks.append(nn.Sequential(conv, nn.GroupNorm(1, count), nn.GELU()))
            width = count
        self.project = nn.Linear((self.frames.channels + width) * bands, width)

    def forward(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Waveforms float32 ``[B, N]`` to ``[B, T, channels]``, computed in ``dtype``."""
        with torch.autocast(x.device.type, enabled=False):
            frames = self.frames(x)
        frames = frames.to(dtype)
        pooled = [self._pooled(frames), self._pooled(self.blocks(frames))]
        features: torch.Tensor = self.project(torch.cat(pooled, dim=-1))
        return features

    def _pooled(self, maps: torch.Tensor) -> torch.Tensor:
        """``[B, C, F, T]`` to ``[B, T, C bands]``."""
        means = nn.functional.adaptive_avg_pool2d(maps, (self.bands, maps.shape[-1]))
        return means.flatten(1, 2).transpose(1, 2)


# --- Breath ----------------------------------------------------------------------------------------------------------


class BreathFiLM(nn.Module):
    """Predicts breath in every frame, and scales and shifts the features where there is some.

    With c the breath, 0 to 1: H' = H (1 + c gamma) + c beta, (gamma, beta) = W2 gelu(W1 [H; c]). A frame with c = 0 stays as
    it is, whatever the weights; W2 starts at zero, so that at first all do.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = max(dim // 4, 1)
        self.predictor = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, 1))
        self.w1 = nn.Linear(dim + 1, hidden)
        self.w2 = nn.Linear(hidden, 2 * dim)
        nn.init.zeros_(self.w2.weight)
        nn.init.zeros_(self.w2.bias)

    def predict(self, h: torch.Tensor) -> torch.Tensor:
        """Logits of breath, float32 ``[B, T]``, of features ``[B, T, dim]``."""
        logits: torch.Tensor = self.predictor(h)
        return logits[..., 0].float()

    def forward(self, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Features ``[B, T, dim]`` modulated by breath ``[B, T]``."""
        c = c[..., None].to(h.dtype)
        gamma, beta = self.w2(nn.functional.gelu(self.w1(torch.cat([h, c], dim=-1)))).chunk(2, dim=-1)
        modulated: torch.Tensor = h * (1.0 + c * gamma) + c * beta
        return modulated


def mixed_condition(predicted: torch.Tensor, targets: torch.Tensor, share: float) -> torch.Tensor:
    """The breath that conditions the features in training: a frame's target with probability ``share``, else the prediction.

    Args:
        predicted: ``[B, T]``, 0 to 1.
        targets: ``[B, T]``: 0 or 1; below 0 where it is unknown, which takes what is predicted.
        share: 0 to 1.
    """
    known = (torch.rand(predicted.shape) < share).to(predicted.device) & (targets >= 0)
    return torch.where(known, targets.to(predicted.dtype), predicted)


# --- Head ------------------------------------------------------------------------------------------------------------


class AttentivePooling(nn.Module):
    """Mean and standard deviation over time of every channel, each with attention weights of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = max(dim // 2, 1)
        self.attention = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, dim))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """``[B, T, dim]`` to float32 ``[B, 2 dim]``."""
        weights = self.attention(z).float().softmax(dim=1)
        z = z.float()
        mean = (weights * z).sum(dim=1)
        variance = (weights * (z - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, torch.sqrt(variance + 1e-5)], dim=-1)


class RunningNorm(nn.Module):
    """Every channel less its mean over its standard deviation, both running averages over the training's recordings.

    Recordings differ by little in their pooled channels, compared with what is common to all of them. Unlike batch
    normalisation it does the same to a recording in training and afterwards, and takes batches of one. The averages are plain
    means at first, and then follow with a share of 5 % a batch.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.var: torch.Tensor
        self.seen: torch.Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, dim]`` to ``[B, dim]``."""
        if self.training:
            with torch.no_grad():
                share = max(1.0 / (int(self.seen) + 1), 0.05)
                change = x.mean(0) - self.mean if self.seen else torch.zeros_like(self.mean)
                around = self.mean if self.seen else x.mean(0)
                spread = (x - around).square().mean(0)
                self.mean.copy_(around + share * change)
                self.var.copy_(self.var + share * (spread - self.var))
                self.seen.add_(1)
        return (x - self.mean.clone()) / torch.sqrt(self.var.clone() + 1e-4)


class Head(Float32Module):
    """Gated fusion of both branches, pooling over time, embedding, logits; in float32."""

    def __init__(self, dim: int, spectral_dim: int, fused_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim + spectral_dim, spectral_dim)
        self.fuse = nn.Linear(dim + spectral_dim, fused_dim)
        self.norm = nn.LayerNorm(fused_dim)
        self.pooling = AttentivePooling(fused_dim)
        self.standard = RunningNorm(2 * fused_dim)
        self.embed = nn.Linear(2 * fused_dim, embedding_dim)
        self.classifier = nn.Linear(embedding_dim, 2)

    def forward(self, h: torch.Tensor, spectral: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames ``[B, T, dim]`` and ``[B, T, spectral_dim]`` to logits ``[B, 2]`` and embeddings ``[B, E]``, float32."""
        with torch.autocast(h.device.type, enabled=False):
            h, spectral = h.float(), spectral.float()
            gate = torch.sigmoid(self.gate(torch.cat([h, spectral], dim=-1)))
            z = self.norm(self.fuse(torch.cat([h, gate * spectral], dim=-1)))
            embeddings = self.embed(self.standard(self.pooling(z)))
            return self.classifier(embeddings), embeddings


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


# --- The detector ----------------------------------------------------------------------------------------------------


class BreathNet(nn.Module):
    """Recordings to logits (real, synthetic). The defaults are XLS-R 300M's and our head's.

    Args:
        embed_dim: Width of the transformer; a multiple of ``num_heads`` and of ``pos_groups``.
        num_layers: Its layers. All of their outputs are summed, with trained weights.
        num_heads: Its attention heads.
        ffn_dim: Width inside its feed-forward layers.
        conv_dim: Channels of the convolutions over the waveform.
        pos_kernel: Frames that the positional convolution sees.
        pos_groups: Its groups.
        normalize: Whether the waveform is brought to mean 0 and variance 1 first, as XLS-R was trained. A file is used as
            it was trained.
        frequency: What the frequency branch sees: ``stft``, ``lfcc`` or ``sinc``.
        n_fft: Samples of its Fourier transforms, even, at least 400 (``sinc`` has none).
        channels: Of its convolutions; the last is the width of a frame.
        bands: Parts of the spectrum that it is averaged over.
        fused_dim: Channels of a frame after the fusion.
        embedding_dim: Of the embedding.
        window: Samples of the random crop that a longer recording is cut to in training mode; in eval mode every
            recording is taken whole.
    """

    def __init__(
        self,
        embed_dim: int = 1024,
        num_layers: int = 24,
        num_heads: int = 16,
        ffn_dim: int = 4096,
        conv_dim: int = 512,
        pos_kernel: int = 128,
        pos_groups: int = 16,
        normalize: bool = True,
        frequency: str = "stft",
        n_fft: int = RECEPTIVE_FIELD,
        channels: collections.abc.Sequence[int] = (32, 64, 128),
        bands: int = 8,
        fused_dim: int = 256,
        embedding_dim: int = 256,
        window: int = WINDOW,
    ) -> None:
        super().__init__()
        sizes = [embed_dim, num_layers, num_heads, ffn_dim, conv_dim, pos_kernel, pos_groups, bands]
        sizes += [fused_dim, embedding_dim]
        if min(*sizes, *channels, 1) < 1 or not channels:
            raise ValueError(f"every size must be at least 1, and channels name one, not {sizes} and {list(channels)}.")
        if embed_dim % num_heads or embed_dim % pos_groups:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads and pos_groups, not {embed_dim} of {num_heads} and {pos_groups}."
            )
        if frequency not in FREQUENCY_FRONT_ENDS:
            raise ValueError(f"frequency must be one of {', '.join(FREQUENCY_FRONT_ENDS)}, not {frequency!r}.")
        if n_fft < RECEPTIVE_FIELD or n_fft % 2:
            raise ValueError(f"n_fft must be even and at least {RECEPTIVE_FIELD}, not {n_fft}.")
        if window < RECEPTIVE_FIELD:
            raise ValueError(f"window must be at least {RECEPTIVE_FIELD} samples, not {window}.")
        self.normalize = normalize
        self.window = window
        self.mask_share = 1.0
        self.backbone: typing.Any = torchaudio.models.wav2vec2_model(
            extractor_mode="layer_norm",
            extractor_conv_layer_config=[(conv_dim, kernel, stride) for kernel, stride in _CONV_KERNELS],
            extractor_conv_bias=True,
            encoder_embed_dim=embed_dim,
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=pos_kernel,
            encoder_pos_conv_groups=pos_groups,
            encoder_num_layers=num_layers,
            encoder_num_heads=num_heads,
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=ffn_dim,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=True,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        # its weight in one tensor: torchaudio divides it into length and direction, under names that differ by version
        self.backbone.encoder.transformer.pos_conv_embed.conv = nn.Conv1d(
            embed_dim, embed_dim, pos_kernel, padding=pos_kernel // 2, groups=pos_groups
        )
        self.layer_weights = nn.Parameter(torch.zeros(num_layers))
        self.breath = BreathFiLM(embed_dim)
        self.frequency = FrequencyBranch(frequency, n_fft, channels, bands)
        self.head = Head(embed_dim, channels[-1], fused_dim, embedding_dim)
        self.calibration: Calibration | None = None
        # what shapes do not show
        told = [num_heads, int(normalize), FREQUENCY_FRONT_ENDS.index(frequency), n_fft, window]
        self.register_buffer("settings", torch.tensor(told))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` (real, synthetic) of mono recordings ``[B, N]`` at 16 kHz, N at least 400.

        Raises:
            ValueError: The shape is another.
        """
        return self.forward_with_outputs(x)["logits"]

    def forward_with_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``forward``, and the embeddings at length 1, float32 ``[B, embedding_dim]``."""
        outputs = self.forward_with_outputs(x)
        return outputs["logits"], outputs["embeddings"]

    def forward_with_details(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As ``forward``, and ``breath`` and ``breath_seconds``, both ``[B, T]``.

        ``breath`` is the predicted breath of a frame, 0 to 1; ``breath_seconds`` is the frame's middle, counted from the start.
        """
        outputs = self.forward_with_outputs(x)
        breath = torch.sigmoid(outputs["breath_logits"])
        frames = torch.arange(breath.shape[1], device=breath.device)
        seconds = (frames * HOP + RECEPTIVE_FIELD / 2) / SAMPLE_RATE
        return outputs["logits"], {"breath": breath, "breath_seconds": seconds.expand_as(breath)}

    def set_progress(self, progress: float) -> None:
        """How far the training is, 0 to 1: the breath that conditions the features goes from the targets to the prediction."""
        self.mask_share = 1.0 - min(max(float(progress), 0.0), 1.0)

    def forward_with_outputs(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Everything that a loss may want, float32.

        Args:
            x: Mono recordings ``[B, N]`` at 16 kHz. In training mode those longer than ``window`` are cropped at random.
            targets: Breath on the frames of ``x``, ``[B, (N - 400) // 320 + 1]``: 1, 0, or -1 for unknown.

        Returns:
            ``logits`` ``[B, 2]``, ``embeddings`` ``[B, E]`` at length 1, ``breath_logits`` ``[B, T]`` and
            ``breath_targets`` ``[B, T]`` (all -1 without targets); T counts the frames of the crop.

        Raises:
            ValueError: A shape is another.
        """
        if x.dim() != 2 or x.shape[1] < RECEPTIVE_FIELD:
            raise ValueError(
                f"BreathNet takes mono recordings [B, N] of at least {RECEPTIVE_FIELD} samples, not {list(x.shape)}."
            )
        frames = frame_count(x.shape[1])
        if targets is None:
            targets = x.new_full((x.shape[0], frames), -1.0)
        if targets.shape != (x.shape[0], frames):
            raise ValueError(f"The breath targets must be {[x.shape[0], frames]}, not {list(targets.shape)}.")
        if self.training and x.shape[1] > self.window:
            x, targets = random_crop(x, targets, self.window)
        x = normalised(x) if self.normalize else x.float()
        h = self.temporal_features(x)
        breath_logits = self.breath.predict(h)
        condition = torch.sigmoid(breath_logits)
        if self.training:
            condition = mixed_condition(condition, targets, self.mask_share)
        spectral = self.frequency(x, self.layer_weights.dtype)
        logits, embeddings = self.head(self.breath(h, condition), spectral)
        if self.calibration is not None:
            z = self.calibration(logits[:, 1:] - logits[:, :1])
            logits = torch.cat([-z / 2, z / 2], dim=-1)
        return {
            "logits": logits,
            "embeddings": nn.functional.normalize(embeddings, dim=-1),
            "breath_logits": breath_logits,
            "breath_targets": targets,
        }

    def temporal_features(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised waveforms ``[B, N]`` to the weighted sum of the transformer's layers, normalised, ``[B, T, embed_dim]``.

        The last normalisation is the transformer's own: with all weight on the last layer this is its published output.
        """
        layers, _ = self.backbone.extract_features(x.to(self.layer_weights.dtype))
        shares = self.layer_weights.softmax(0)
        total = sum(share * layer for share, layer in zip(shares, layers, strict=True))
        features: torch.Tensor = self.backbone.encoder.transformer.layer_norm(total)
        return features


def random_crop(x: torch.Tensor, targets: torch.Tensor, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops of ``window`` samples at random places, with the targets of the same frames.

    Places are whole hops, so that the crop's frames are the recording's.

    Args:
        x: ``[B, N]``, N above ``window``.
        targets: ``[B, frames of N]``.
        window: Samples, at least 400.
    """
    frames = frame_count(window)
    starts = torch.randint(0, (x.shape[1] - window) // HOP + 1, (x.shape[0],)).tolist()
    cropped = torch.stack([row[start * HOP :][:window] for row, start in zip(x, starts, strict=True)])
    return cropped, torch.stack([row[start : start + frames] for row, start in zip(targets, starts, strict=True)])


# --- Loading ---------------------------------------------------------------------------------------------------------


def load_model(weights_path: str, num_classes: int = 2, **model: typing.Any) -> nn.Module:
    """The detector with the weights of one safetensors file, on the CPU, in float32, in eval mode.

    Args:
        weights_path: A safetensors file with every tensor of the model.
        num_classes: 2, real and synthetic.
        model: Arguments of ``BreathNet`` that the file must have been trained with; what is not named is the file's.

    Raises:
        ValueError: The file lacks a tensor, has one too many or one of another shape, or was trained with another choice
            than asked for.
    """
    if num_classes != 2:
        raise ValueError(f"BreathNet has 2 classes, real and synthetic, not {num_classes}.")
    tensors = load_file(str(weights_path), device="cpu")
    found = architecture(tensors, str(weights_path))
    for name, value in model.items():
        if name not in found:
            raise ValueError(f"BreathNet knows no argument {name!r}; it knows {', '.join(found)}.")
        asked = tuple(value) if name == "channels" and value is not None else value
        if asked is not None and asked != found[name]:
            raise ValueError(
                f"{weights_path} was trained with {name}={found[name]!r}, which {name}={asked!r} contradicts."
            )
    network = BreathNet(**found)
    for name in [name for name in tensors if name.startswith("calibration.")]:
        network.calibration = Calibration(name.removeprefix("calibration."), tensors[name])
    load_tensors(network, tensors, str(weights_path))
    return network.requires_grad_(False).eval()


def architecture(tensors: collections.abc.Mapping[str, torch.Tensor], where: str) -> dict[str, typing.Any]:
    """The arguments of ``BreathNet`` with which it has the tensors of a file.

    Raises:
        ValueError: The file is no such model's.
    """
    transformer = "backbone.encoder.transformer"
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    dims = {
        "backbone.encoder.feature_projection.projection.weight": 2,
        f"{transformer}.pos_conv_embed.conv.weight": 3,
        f"{transformer}.layers.0.feed_forward.intermediate_dense.weight": 2,
        "layer_weights": 1,
        "frequency.blocks.0.0.weight": 4,
        "frequency.project.weight": 2,
        "head.fuse.weight": 2,
        "head.embed.weight": 2,
        "settings": 1,
    }
    missing = [name for name, dim in dims.items() if len(shapes.get(name, ())) != dim or 0 in shapes[name]]
    if missing or shapes["settings"] != (5,):
        raise ValueError(f"{where} is no file of this model; it lacks {_listed(missing or ['settings [5]'])}.")
    heads, normalize, frequency, n_fft, window = tensors["settings"].tolist()
    if not 0 <= frequency < len(FREQUENCY_FRONT_ENDS):
        raise ValueError(f"{where} has settings {tensors['settings'].tolist()}, which this model does not know.")
    projection, position, feed_forward, layers, _, project, fuse, embed, _ = (shapes[name] for name in dims)
    channels: list[int] = []
    while len(shapes.get(f"frequency.blocks.{len(channels)}.0.weight", ())) == 4:
        channels.append(shapes[f"frequency.blocks.{len(channels)}.0.weight"][0])
    return {
        "embed_dim": projection[0],
        "num_layers": layers[0],
        "num_heads": heads,
        "ffn_dim": feed_forward[0],
        "conv_dim": projection[1],
        "pos_kernel": position[2],
        "pos_groups": projection[0] // position[1],
        "normalize": bool(normalize),
        "frequency": FREQUENCY_FRONT_ENDS[frequency],
        "n_fft": n_fft,
        "channels": tuple(channels),
        "bands": project[1] // (channels[-1] + 3),
        "fused_dim": fuse[0],
        "embedding_dim": embed[0],
        "window": window,
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
