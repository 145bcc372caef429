"""GenD: frames on the unit sphere of a LayerNorm-tuned ViT, a linear head, and for clips a transformer over time.

Every frame goes through an image encoder of which only the LayerNorms were tuned; its feature is divided by its length and a
linear layer judges it. A clip's score is the frames' mean probability, as published (arXiv 2508.06248, WACV 2026). On top of
that a small transformer reads how the features move in real time; its output starts at zero, so that it starts at the mean.

The file is self-contained: an exported bundle contains it unchanged. It reads one safetensors file that holds every tensor
of the model, under its own names or under those of the authors' released files; a missing, unexpected or misshapen tensor is
an error, so that the encoder is never silently random.
"""

import collections.abc
import math
import re
import typing

import torch
from safetensors.torch import load_file
from torch import nn

FRAME_SECONDS = 2.0 / 15.0
"""Between the frames of a clip: 16 frames evenly over 2 s, the first at its begin and the last at its end."""
CONTROLS = ("none", "frame_average", "shuffle", "zero_differences", "repeat")
POOLINGS = ("cls", "cls_patches")

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_EPSILON = 1e-7


class EncoderKind(typing.NamedTuple):
    """One of the encoders: timm's architecture, its pixels' mean and standard deviation (of 0..1), and its full size."""

    architecture: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    patch_size: int
    img_size: int


ENCODERS = {
    # OpenAI's weights belong to the quick GELU, x sigmoid(1.702 x); timm's plain name has the exact one
    "clip": EncoderKind("vit_large_patch14_clip_quickgelu_224", *_CLIP, 14, 224),
    "pe": EncoderKind("vit_pe_core_large_patch14_336", *_HALF, 14, 336),
    "dinov3": EncoderKind("vit_large_patch16_dinov3", *_IMAGENET, 16, 256),
    "dinov2": EncoderKind("vit_large_patch14_dinov2", *_IMAGENET, 14, 518),
}


class Float32Module(nn.Module):
    """A module whose tensors move between devices and stay float32, also in a half-precision model.

    Steps between unit vectors are small differences, and the published head's logits differ in their third digit.
    """

    def _apply(self, fn: typing.Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> typing.Self:
        def move_only(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self


# --- Encoder: frames to features ---------------------------------------------------------------------------------------


def make_encoder(
    kind: str,
    *,
    scratch: bool,
    embed_dim: int,
    depth: int,
    num_heads: int,
    patch_size: int,
    img_size: int,
    mlp_ratio: float = 4.0,
    qkv_bias: bool = False,
) -> typing.Any:
    """A ViT of timm's without a classifier.

    Args:
        kind: Key of ``ENCODERS``.
        scratch: With random numbers in it. Else its parameters are on the meta device: used before they are loaded, it fails.
        embed_dim: Values of a token.
        depth: Blocks.
        num_heads: Of each block's attention.
        patch_size: Side of a patch in pixels.
        img_size: Side of the picture that the position embedding is for; other multiples of the patch size work as well.
        mlp_ratio: Hidden values of an MLP over those of a token.
        qkv_bias: DINOv3 only: whether queries and values have biases (in the released backbones they are zero and left out).
    """
    import timm  # here, because it takes seconds to import

    options: dict[str, typing.Any] = {
        "img_size": img_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "num_heads": num_heads,
        "mlp_ratio": mlp_ratio,
        "dynamic_img_size": True,
    }
    if kind == "pe":
        options["ref_feat_shape"] = (img_size // patch_size, img_size // patch_size)
        options["attn_pool_num_heads"] = max(1, embed_dim // 128)
    if kind == "dinov3":
        options |= {"global_pool": "token", "qkv_bias": qkv_bias}

    def create(blocks: int) -> typing.Any:
        vit: typing.Any = timm.create_model(
            ENCODERS[kind].architecture, pretrained=False, num_classes=0, depth=blocks, **options
        )
        if qkv_bias:
            for block in vit.blocks:
                block.attn.qkv_bias_separate = (
                    True  # else timm uses the layer's weight past the layer, and adapters with it
                )
        return vit

    if scratch:
        return create(depth)
    with torch.device("meta"):
        vit = create(depth)
    # tables that no file holds (rotary angles): from a model of one block
    tables = dict(create(1).named_buffers())
    stored = vit.state_dict()
    for name in [name for name, _ in vit.named_buffers() if name not in stored]:
        parent, _, child = name.rpartition(".")
        table = tables[re.sub(r"^blocks\.\d+", "blocks.0", name)]
        vit.get_submodule(parent).register_buffer(child, table.clone(), persistent=False)
    return vit


# --- Head, and the transformer over time -------------------------------------------------------------------------------


class UnitHead(Float32Module, nn.Linear):
    """The published head: a linear layer on features of length 1. It has no temperature, so its logits start near 0."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[..., D]`` to logits float32 ``[..., 2]`` (real, synthetic)."""
        with torch.autocast(features.device.type, enabled=False):
            units = nn.functional.normalize(features.float(), dim=-1)
            logits: torch.Tensor = nn.functional.linear(units, self.weight, self.bias)
            return logits


class DropPath(nn.Module):
    """In training, leaves out a block's branch for a share of the samples; the others' are scaled up."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, ...]`` to the same shape."""
        if not self.training or self.share == 0:
            return x
        kept = x.new_empty(x.shape[0], *(1,) * (x.dim() - 1)).bernoulli_(1.0 - self.share)
        return x * kept / (1.0 - self.share)


class TemporalBlock(nn.Module):
    """A pre-norm transformer layer: attention with a key padding mask, then an MLP with GELU."""

    def __init__(self, dim: int, heads: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim))
        self.drop = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Tokens ``[B, N, dim]`` and a bool mask ``[B, N]`` of those that may be looked at, to ``[B, N, dim]``."""
        batch, count, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attended[:, None, None], dropout_p=rate)
        x = x + self.drop_path(self.drop(self.proj(mixed.transpose(1, 2).reshape(batch, count, dim))))
        out: torch.Tensor = x + self.drop_path(self.drop(self.mlp(self.norm2(x))))
        return out


class TemporalTransformer(Float32Module):
    """What order and motion of a clip's features add to its logits; 0 before it is trained.

    A frame's token is W [LN(u_t); LN(D_t); log(|D_t| + 1e-4); cos(D_t, D_{t-1})] + V s(t): u_t the feature of length 1, D_t =
    u_t - u_{t-1} (0 for the first), s(t) sine and cosine of its time in seconds at frequencies from 4 Hz down to 0.01 Hz. There
    is no table of positions, so that any number of frames works. A class token and pre-norm layers follow; the output is
    W_o LN(h) of the class token's h, with W_o and its bias zero at first.

    Args:
        features: Values D of a frame's feature.
        dim: Values of a token.
        layers: Number of layers.
        frame_seconds: From one frame to the next.
        dropout: Share that dropout leaves out, and drop-path too.
    """

    def __init__(self, features: int, dim: int, layers: int, frame_seconds: float, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm_u = nn.LayerNorm(features)
        self.norm_d = nn.LayerNorm(features)
        self.embed = nn.Linear(2 * features + 2, dim)
        self.time = nn.Linear(dim, dim)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.drop = nn.Dropout(dropout)
        heads = max(1, dim // 64)
        self.blocks = nn.ModuleList(TemporalBlock(dim, heads, dropout, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.frame_seconds: torch.Tensor
        self.register_buffer("frame_seconds", torch.tensor(frame_seconds))
        self.other_seconds: float | None = None

    def forward(
        self, units: torch.Tensor, valid: torch.Tensor, no_differences: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is added to the logits ``[B, 2]``, and h ``[B, dim]``.

        Args:
            units: float32 ``[B, T, D]``, features of length 1.
            valid: bool ``[B, T]``; the others are not looked at.
            no_differences: Whether D_t is taken as 0 (a control).
        """
        with torch.autocast(units.device.type, enabled=False):
            tokens = self.drop(self.tokens(units, no_differences))
            x = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
            attended = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
            for block in self.blocks:
                x = block(x, attended)
            h = x[:, 0]
            return self.out(self.norm(h)), h

    def tokens(self, units: torch.Tensor, no_differences: bool = False) -> torch.Tensor:
        """The frames' tokens ``[B, T, dim]``."""
        steps = torch.zeros_like(units)
        if not no_differences:
            steps = torch.cat([steps[:, :1], units[:, 1:] - units[:, :-1]], dim=1)
        length = steps.square().sum(-1, keepdim=True).clamp(min=1e-20).sqrt()  # a root has no gradient at 0
        before = torch.cat([torch.zeros_like(steps[:, :1]), steps[:, :-1]], dim=1)
        length_before = torch.cat([torch.zeros_like(length[:, :1]), length[:, :-1]], dim=1)
        # a repeated frame's step is rounding alone, and the small number keeps its direction from counting
        cosine = (steps * before).sum(-1, keepdim=True) / (length * length_before + 1e-8)
        parts = [self.norm_u(units), self.norm_d(steps), (length + 1e-4).log(), cosine]
        embedded: torch.Tensor = self.embed(torch.cat(parts, dim=-1))
        code: torch.Tensor = self.time(time_code(units.shape[1], self.seconds(), self.time.in_features))
        return embedded + code

    def seconds(self) -> torch.Tensor:
        """From one frame to the next: as trained, unless other clips are judged than that."""
        if self.other_seconds is None:
            return self.frame_seconds
        return torch.full_like(self.frame_seconds, self.other_seconds)


def time_code(frames: int, frame_seconds: torch.Tensor, dim: int) -> torch.Tensor:
    """``[T, dim]``: sine, then cosine of 2 pi f t, at dim/2 frequencies f from 4 Hz down to 0.01 Hz; t = 0, 1, ... frames."""
    device = frame_seconds.device
    f = torch.logspace(math.log10(4.0), math.log10(0.01), dim // 2, device=device)
    angle = 2.0 * math.pi * f * (torch.arange(frames, device=device) * frame_seconds)[:, None]
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


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


# --- The detector ------------------------------------------------------------------------------------------------------


def padded_tail(x: torch.Tensor) -> torch.Tensor:
    """Which frames of clips ``[B, T, ...]`` are more than a repetition of the clip's last one: bool ``[B, T]``, True first."""
    still = (x[:, 1:] == x[:, :-1]).flatten(2).all(-1)
    tail = still.flip(-1).long().cumprod(-1).flip(-1).bool()
    return torch.cat([still.new_ones(len(x), 1), ~tail], dim=1)


class GenD(nn.Module):
    """Pictures or clips to logits (real, synthetic).

    Args:
        encoder: ``clip``, ``pe``, ``dinov3`` or ``dinov2``.
        temporal: Whether clips go through the transformer over time; without it their score is the frames' mean.
        frame_seconds: From one frame of a clip to the next.
        pooling: A frame's feature: ``cls`` as published (PE: its attention pooling), or ``cls_patches``, which puts the mean of
            the patch tokens behind it.
        control: Of evaluation: ``frame_average`` leaves the transformer out, ``shuffle`` gives it the frames in a fixed random
            order, ``zero_differences`` takes the steps between frames as 0, ``repeat`` shows the middle frame every time.
        chunk_frames: How many frames go through the encoder at once. It bounds the memory where no gradient is kept.
        embed_dim: Values of the encoder's tokens; smaller ones make an encoder without published weights.
        depth: Its blocks.
        num_heads: Its heads; None makes heads of 64 values.
        patch_size: None: that of the published one.
        img_size: Of its position embedding. None: that of the published one.
        mlp_ratio: Of its MLPs.
        qkv_bias: DINOv3 only, see ``make_encoder``.
        temporal_dim: Values of the transformer's tokens, in heads of 64.
        temporal_layers: Its layers.
        scratch: Whether the encoder starts from random numbers. Else it has none before weights are loaded into it.
    """

    def __init__(
        self,
        encoder: str = "clip",
        temporal: bool = True,
        frame_seconds: float = FRAME_SECONDS,
        pooling: str = "cls",
        control: str = "none",
        chunk_frames: int = 16,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int | None = None,
        patch_size: int | None = None,
        img_size: int | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        temporal_dim: int = 384,
        temporal_layers: int = 3,
        scratch: bool = False,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("encoder", encoder, tuple(ENCODERS)),
            ("pooling", pooling, POOLINGS),
            ("control", control, CONTROLS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
        refuse_nonpositive(chunk_frames=chunk_frames, embed_dim=embed_dim, depth=depth, temporal_layers=temporal_layers)
        refuse_nonpositive(frame_seconds=frame_seconds)
        heads = num_heads or max(1, embed_dim // 64)
        if embed_dim % heads or temporal_dim < 4 or temporal_dim % max(1, temporal_dim // 64) or temporal_dim % 2:
            raise ValueError(
                f"embed_dim {embed_dim} must be divisible by its {heads} heads, and temporal_dim {temporal_dim} be even and "
                "made of heads of 64."
            )
        if qkv_bias and encoder != "dinov3":
            raise ValueError("qkv_bias belongs to dinov3; the other encoders have biases always.")
        full = ENCODERS[encoder]
        self.kind, self.pooling, self.control, self.chunk_frames = encoder, pooling, control, chunk_frames
        self.patch_size = patch_size or full.patch_size
        self.frame_seconds = frame_seconds  # what the transformer over time counts with is its own tensor
        self.encoder = make_encoder(
            encoder,
            scratch=scratch,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=heads,
            patch_size=self.patch_size,
            img_size=img_size or full.img_size,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
        )
        self.feature_dim = embed_dim * (2 if pooling == "cls_patches" else 1)
        self.head = UnitHead(self.feature_dim, 2)
        self.temporal: TemporalTransformer | None = None
        if temporal:
            self.temporal = TemporalTransformer(self.feature_dim, temporal_dim, temporal_layers, frame_seconds)
        self.calibration: Calibration | None = None
        # what shapes do not show, or a missing part would hide: a file says it itself
        self.register_buffer("encoder_heads", torch.tensor(heads))
        self.register_buffer("encoder_depth", torch.tensor(depth))
        self.register_buffer("temporal_layers", torch.tensor(temporal_layers if temporal else 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` (real, synthetic).

        Args:
            x: Clips ``[B, T, 3, H, W]``, or pictures ``[B, 3, H, W]``, which have no time and are judged by the linear head
                alone; RGB 0 to 255, uint8 or float; H and W multiples of the patch size.

        Raises:
            ValueError: The shape is another.
        """
        return self._calibrated(self.forward_with_outputs(x)["logits"])

    def forward_with_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits without a calibrator, and the embeddings of ``forward_with_outputs``."""
        outputs = self.forward_with_outputs(x)
        return outputs["logits"], outputs["embeddings"]

    def forward_with_outputs(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """What losses are made of, all float32.

        Returns:
            ``logits`` ``[B, 2]`` without a calibrator; ``embeddings`` ``[B, D]``: the class token's h of the transformer over
            time, or, without one and for pictures, ``frame_embeddings``; ``frame_embeddings`` ``[B, D]``: the mean of the
            frames' features of length 1; ``frame_log_probabilities`` ``[B, 2]``: log of the frames' mean probabilities.
        """
        return self._outputs(*self._frames(x), has_time=x.dim() == 5)

    def forward_with_details(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As ``forward``, and for clips what a person may want to see.

        Returns:
            The logits, and of clips ``frame_p`` ``[B, T]``, P(synthetic) of each frame alone; ``frame_p_seconds`` ``[B, T]``,
            seconds from the first frame that the model saw (not from the clip's start, which the model does not know);
            ``frame_average`` ``[B]``, their mean without repetitions of the last one; ``frames_used`` ``[B]``, their number.
        """
        z, valid = self._frames(x)
        outputs = self._outputs(z, valid, has_time=x.dim() == 5)
        logits = self._calibrated(outputs["logits"])
        if x.dim() == 4:
            return logits, {}
        gap = self.frame_seconds if self.temporal is None else float(self.temporal.seconds())
        seconds = torch.arange(z.shape[1], device=z.device).expand(valid.shape) * gap
        return logits, {
            "frame_p": self.head(z).softmax(-1)[..., 1],
            "frame_p_seconds": seconds,
            "frame_average": outputs["frame_log_probabilities"].softmax(-1)[:, 1],
            "frames_used": valid.sum(-1),
        }

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What ``classify`` takes, float32: of pictures ``[B, D]``, of clips ``[B, T (D + 1)]``.

        A clip's vector has each frame's D values and a 1, or a 0 where the frame repeats the clip's last one.
        """
        z, valid = self._frames(x)
        return z[:, 0] if x.dim() == 4 else torch.cat([z, valid[..., None].to(z.dtype)], dim=-1).flatten(1)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits without a calibrator of what ``features`` gave."""
        return self.classify_with_outputs(features)["logits"]

    def classify_with_embeddings(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``forward_with_embeddings``, of what ``features`` gave."""
        outputs = self.classify_with_outputs(features)
        return outputs["logits"], outputs["embeddings"]

    def classify_with_outputs(
        self, features: torch.Tensor, targets: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """As ``forward_with_outputs``, of what ``features`` gave.

        Raises:
            ValueError: The vectors are neither of pictures nor of clips.
        """
        if features.dim() == 2 and features.shape[1] == self.feature_dim:
            z = features.float()[:, None]
            return self._outputs(z, torch.ones_like(z[..., 0], dtype=torch.bool), has_time=False)
        if features.dim() != 2 or features.shape[1] == 0 or features.shape[1] % (self.feature_dim + 1):
            raise ValueError(
                f"GenD's features are [B, {self.feature_dim}] of pictures or [B, T * {self.feature_dim + 1}] of clips, not "
                f"{list(features.shape)}."
            )
        frames = features.float().view(len(features), -1, self.feature_dim + 1)
        return self._outputs(frames[..., :-1], frames[..., -1] > 0.5, has_time=True)

    def _frames(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features float32 ``[B, T, D]`` and bool ``[B, T]``, which of the frames count; T = 1 for pictures."""
        if x.dim() not in (4, 5) or x.shape[-3] != 3 or 0 in x.shape[1:]:
            raise ValueError(f"GenD takes pictures [B, 3, H, W] or clips [B, T, 3, H, W], not {list(x.shape)}.")
        if x.shape[-2] % self.patch_size or x.shape[-1] % self.patch_size:
            raise ValueError(
                f"GenD cuts pictures into patches of {self.patch_size} x {self.patch_size}: H and W must be multiples of "
                f"{self.patch_size}, not {x.shape[-2]} and {x.shape[-1]}; choose another resize."
            )
        if x.dim() == 4:
            pictures = [self._encode(part) for part in torch.split(x, self.chunk_frames) if len(part)]
            z = torch.cat(pictures) if pictures else torch.zeros(0, self.feature_dim, device=x.device)
            return z[:, None], torch.ones_like(z[:, None, 0], dtype=torch.bool)
        # each clip by itself: then the encoder's rounding does not depend on what else is in the batch (training may mix them)
        clips = [x.flatten(0, 1)] if self.training or torch.is_grad_enabled() else list(x)
        parts = [self._encode(part) for clip in clips if len(clip) for part in torch.split(clip, self.chunk_frames)]
        z = torch.cat(parts) if parts else torch.zeros(0, device=x.device)
        return z.view(*x.shape[:2], self.feature_dim), padded_tail(x)

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """``[N, 3, H, W]``, 0 to 255, to features float32 ``[N, D]``."""
        kind = ENCODERS[self.kind]
        mean = torch.tensor(kind.mean, device=pixels.device).view(3, 1, 1) * 255.0
        std = torch.tensor(kind.std, device=pixels.device).view(3, 1, 1) * 255.0
        scaled = ((pixels.float() - mean) / std).to(self.encoder.cls_token.dtype)
        tokens = self.encoder.forward_features(scaled)
        z: torch.Tensor = self.encoder.forward_head(tokens, pre_logits=True)
        if self.pooling == "cls_patches":
            z = torch.cat([z, tokens[:, self.encoder.num_prefix_tokens :].mean(1)], dim=-1)
        return z.float()

    def _outputs(self, z: torch.Tensor, valid: torch.Tensor, *, has_time: bool) -> dict[str, torch.Tensor]:
        """See ``forward_with_outputs``."""
        if self.control in ("shuffle", "repeat"):
            z = _rearranged(z, valid, self.control)
        units = nn.functional.normalize(z, dim=-1)
        frame_logits = self.head(z)
        share = valid / valid.sum(-1, keepdim=True)
        frame_embeddings = (units * share[..., None]).sum(1)
        if not has_time:
            logits = frame_logits[:, 0]
            outputs = {"frame_embeddings": frame_embeddings, "frame_log_probabilities": logits.log_softmax(-1)}
            return {"logits": logits, "embeddings": frame_embeddings, **outputs}
        average = ((frame_logits.softmax(-1) * share[..., None]).sum(1) + _EPSILON).log()
        outputs = {"frame_embeddings": frame_embeddings, "frame_log_probabilities": average}
        if self.temporal is None or self.control == "frame_average":
            return {"logits": average, "embeddings": frame_embeddings, **outputs}
        added, h = self.temporal(units, valid, self.control == "zero_differences")
        return {"logits": average + added, "embeddings": h, **outputs}

    def _calibrated(self, logits: torch.Tensor) -> torch.Tensor:
        if self.calibration is None:
            return logits
        z: torch.Tensor = self.calibration(logits[:, 1:] - logits[:, :1])
        return torch.cat([-z / 2, z / 2], dim=-1)


def refuse_nonpositive(**numbers: float) -> None:
    """Nothing where all are above 0 and finite.

    Raises:
        ValueError: With the name of the first that is not.
    """
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be above 0, not {number}.")


def _rearranged(z: torch.Tensor, valid: torch.Tensor, control: str) -> torch.Tensor:
    """Features ``[B, T, D]`` with the frames that count in another order, or each of them the middle one."""
    rows = []
    for clip, count in zip(z, valid.sum(-1).tolist(), strict=True):
        order = torch.arange(len(clip))
        if control == "repeat":
            order[:] = (count - 1) // 2
        else:
            order[:count] = torch.randperm(count, generator=torch.Generator().manual_seed(count))
        rows.append(clip[order.to(clip.device)])
    return torch.stack(rows) if rows else z


# --- Loading -----------------------------------------------------------------------------------------------------------


def load_model(
    weights_path: str,
    num_classes: int = 2,
    encoder: str | None = None,
    temporal: bool | None = None,
    frame_seconds: float | None = None,
    pooling: str | None = None,
    control: str = "none",
    chunk_frames: int = 16,
    embed_dim: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    patch_size: int | None = None,
    img_size: int | None = None,
    mlp_ratio: float | None = None,
    qkv_bias: bool | None = None,
    temporal_dim: int | None = None,
    temporal_layers: int | None = None,
) -> nn.Module:
    """The detector with the weights of one safetensors file, on the CPU, in float32, in eval mode.

    Args:
        weights_path: A safetensors file with every tensor of the model, under its own names, or one that the authors released
            (GenD_CLIP_L_14, GenD_PE_L, GenD_DINOv3_L), written by transformers 4 or 5. The former tells its own depth; the
            latter must have the published sizes but where the arguments state others.
        num_classes: 2. GenD knows real and synthetic only.
        encoder: This and the others as in ``GenD``; None takes what the file holds.
        temporal: None takes what the file holds.
        frame_seconds: None takes what the file was trained with; another number is the clips' own, where it differs.
        pooling: None takes what the file holds.
        control: Of evaluation.
        chunk_frames: Frames at once.
        embed_dim: None takes what the file holds, here and below; of an authors' file the published size.
        depth: Of the encoder.
        num_heads: Of the encoder.
        patch_size: Of the encoder.
        img_size: Of the encoder.
        mlp_ratio: Of the encoder.
        qkv_bias: Of the encoder.
        temporal_dim: Of the transformer over time.
        temporal_layers: Of the transformer over time.

    Raises:
        ValueError: The file lacks a tensor, has one too many, under two names, of another shape, of integers or with numbers
            that are not finite, or was trained with another choice than asked for; or an argument is unusable.
    """
    if num_classes != 2:
        raise ValueError(f"GenD has 2 classes, real and synthetic, not {num_classes}.")
    if frame_seconds is not None:
        refuse_nonpositive(frame_seconds=frame_seconds)
    where = str(weights_path)
    stored = load_file(where, device="cpu")
    tensors = own_names(stored, where)
    found = architecture(tensors)
    asked = {
        "encoder": encoder,
        "temporal": temporal,
        "pooling": pooling,
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": num_heads,
        "patch_size": patch_size,
        "img_size": None if found["encoder"] == "dinov3" else img_size,
        "mlp_ratio": mlp_ratio,
        "qkv_bias": qkv_bias,
        "temporal_dim": temporal_dim if found["temporal"] else None,
        "temporal_layers": temporal_layers if found["temporal"] else None,
    }
    if is_foreign(stored):
        found |= published_sizes(found, asked, where)
        untold = {"encoder_heads": found["num_heads"], "encoder_depth": found["depth"], "temporal_layers": 0}
        tensors |= {name: torch.tensor(value) for name, value in untold.items()}
    for name, value in asked.items():
        if value is not None and value != found[name]:
            raise ValueError(f"{where} was trained with {name}={found[name]!r}, which {name}={value!r} contradicts.")
    model = GenD(**found, control=control, chunk_frames=chunk_frames)
    for name in [name for name in tensors if name.startswith("calibration.")]:
        model.calibration = Calibration(name.removeprefix("calibration."), tensors[name])
    load_tensors(model, tensors, where)
    if model.temporal is not None:
        refuse_nonpositive(**{f"frame_seconds of {where}": float(model.temporal.frame_seconds)})
        model.temporal.other_seconds = frame_seconds  # beside the file's number, which stays what it is
    elif frame_seconds is not None:
        model.frame_seconds = frame_seconds
    return model.requires_grad_(False).eval()


def architecture(tensors: collections.abc.Mapping[str, torch.Tensor]) -> dict[str, typing.Any]:
    """The arguments of ``GenD`` with which it has the tensors of a file; the published ones where the file does not tell."""

    def shape(name: str, *otherwise: int) -> tuple[int, ...]:
        found = tuple(tensors[name].shape) if name in tensors else otherwise
        return found if len(found) == len(otherwise) else otherwise

    def stated(name: str, otherwise: int) -> int:
        return int(tensors[name]) if name in tensors and tensors[name].numel() == 1 else otherwise

    kind = "clip"
    for marker, name in ((r"attn_pool\.", "pe"), (r"reg_token|.*\.gamma_1", "dinov3"), (r".*\.ls1\.", "dinov2")):
        if any(re.match(rf"encoder\.(?:{marker})", found) for found in tensors):
            kind = name
            break
    full = ENCODERS[kind]
    width = shape("encoder.cls_token", 1, 1, 1024)[2]
    patch = shape("encoder.patch_embed.proj.weight", width, 3, full.patch_size, full.patch_size)[2]
    places = shape("encoder.pos_embed", 1, (full.img_size // patch) ** 2 + 1, width)[1]
    layers = stated("temporal_layers", 3 if any(name.startswith("temporal.") for name in tensors) else 0)
    dim = shape("temporal.embed.weight", 384, 2 * width + 2)[0]
    return {
        "encoder": kind,
        "temporal": layers > 0,
        "pooling": POOLINGS[int(shape("head.weight", 2, width)[1] == 2 * width)],
        "embed_dim": width,
        "depth": stated("encoder_depth", 24),
        "num_heads": stated("encoder_heads", max(1, width // 64)),
        "patch_size": patch,
        "img_size": full.img_size if kind == "dinov3" else math.isqrt(max(places - 1, 1)) * patch,
        "mlp_ratio": shape("encoder.blocks.0.mlp.fc1.weight", 4 * width, width)[0] / width,
        "qkv_bias": kind == "dinov3" and any(name.endswith(".attn.q_bias") for name in tensors),
        "temporal_dim": dim,
        "temporal_layers": layers or 3,
    }


def published_sizes(
    found: collections.abc.Mapping[str, typing.Any], asked: collections.abc.Mapping[str, typing.Any], where: str
) -> dict[str, typing.Any]:
    """Depth and heads of an authors' file, which does not tell them: as published, or as stated; no transformer over time.

    Args:
        found: What ``architecture`` read from the shapes of the file's tensors.
        asked: What the user stated, None where nothing was.
        where: Names the file.

    Raises:
        ValueError: A size of the file is neither the published nor a stated one.
    """
    published = {"embed_dim": 1024, "patch_size": ENCODERS[found["encoder"]].patch_size, "mlp_ratio": 4.0}
    for name, size in published.items():
        if asked[name] is None and found[name] != size:
            raise ValueError(
                f"{where} has {name}={found[name]} where the published {found['encoder']} encoder has {size}; state "
                f"{name}={found[name]} as the model's argument if that is meant."
            )
    heads = asked["num_heads"] or max(1, found["embed_dim"] // 64)
    return {"depth": asked["depth"] or 24, "num_heads": heads, "temporal": False}


def load_tensors(module: nn.Module, tensors: collections.abc.Mapping[str, torch.Tensor], where: str) -> None:
    """Put tensors into a module, all of them and nothing else, as float32; a calibrator keeps its precision.

    The module's integers are sizes that it was built with, so the file's must be the same.

    Raises:
        ValueError: With what is missing, unexpected, misshapen, of integers, not finite or of another size; of more than 20
            names of a kind, the first 20.
    """
    expected = module.state_dict()
    both = [name for name in expected if name in tensors]
    refuse(
        where,
        missing=[name for name in expected if name not in tensors],
        unexpected=[name for name in tensors if name not in expected],
        misshapen=[
            f"{name} {list(tensors[name].shape)} instead of {list(expected[name].shape)}"
            for name in both
            if tensors[name].shape != expected[name].shape
        ],
    )
    sizes = [name for name in both if not expected[name].is_floating_point()]
    other = [name for name in sizes if tensors[name].item() != expected[name].item()]
    weights = [name for name in both if name not in sizes]
    refuse(
        where,
        **{
            "not of floating point": [
                f"{name} ({tensors[name].dtype})" for name in weights if not tensors[name].is_floating_point()
            ],
            "of another size": [f"{name} {tensors[name].item()} instead of {expected[name].item()}" for name in other],
        },
    )
    ready = {
        name: tensor.float() if name in weights and not name.startswith("calibration.") else tensor
        for name, tensor in tensors.items()
    }
    refuse(where, **{"with numbers that are not finite": [n for n in weights if not ready[n].isfinite().all()]})
    module.load_state_dict(ready, strict=True, assign=True)


def refuse(where: str, **problems: list[str]) -> None:
    """Nothing where there are no problems.

    Raises:
        ValueError: With the names of each kind of problem; of more than 20 names, the first 20.
    """
    if any(problems.values()):
        parts = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in problems.items() if names]
        raise ValueError(f"{where} does not fit the model; {'; '.join(parts)}.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


# --- The names of other files ------------------------------------------------------------------------------------------

_CLIP_NAMES = (
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.patch_embedding\.weight", "patch_embed.proj.weight"),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (r"pre_layrnorm\.(weight|bias)", r"norm_pre.\1"),
    (r"post_layernorm\.(weight|bias)", r"norm.\1"),
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layers\.(\d+)\.mlp\.(fc[12])\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
)
_DINOV3_NAMES = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.patch_embeddings\.(weight|bias)", r"patch_embed.proj.\1"),
    (r"norm\.(weight|bias)", r"norm.\1"),
    (r"(?:model\.)?layer\.(\d+)\.norm([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (r"(?:model\.)?layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.gamma_\2"),
    (r"(?:model\.)?layer\.(\d+)\.mlp\.up_proj\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"(?:model\.)?layer\.(\d+)\.mlp\.down_proj\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"(?:model\.)?layer\.(\d+)\.attention\.o_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"(?:model\.)?layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
)
_PARTS = re.compile(r"(blocks\.\d+\.attn)\.([qkv])\.(weight|bias)")

Tensors = dict[str, torch.Tensor]


def is_foreign(names: collections.abc.Iterable[str]) -> bool:
    """Whether a file's tensors have the authors' names, which ``load_model`` converts."""
    return any(name.startswith(("feature_extractor.", "model.linear.")) for name in names)


def own_names(tensors: Tensors, where: str) -> Tensors:
    """A file's tensors under this model's names; those of a file that is not one of the authors' as they are.

    The authors' ``model.linear.*`` is the head, and ``feature_extractor.*`` the encoder, named by transformers 4 or 5 (CLIP,
    DINOv3) or timm (PE). ``visual_projection`` (CLIP), which nothing uses, and DINOv3's mask token, which pretraining
    alone uses, are left out where they are present.

    Raises:
        ValueError: A part of a fused tensor is missing or misshapen, or two names mean one tensor.
    """
    if not is_foreign(tensors):
        return tensors
    head = {"model.linear.weight": "head.weight", "model.linear.bias": "head.bias"}
    mark = "feature_extractor."
    inner = {
        n.removeprefix(mark): t
        for n, t in tensors.items()
        if n.startswith(mark) and n != f"{mark}visual_projection.weight"
    }
    encoder = _once(((name.removeprefix("backbone."), tensor) for name, tensor in inner.items()), where)
    renamed = [(f"encoder.{name}", tensor) for name, tensor in encoder_names(encoder, where).items()]
    return _once([*renamed, *((head.get(n, n), t) for n, t in tensors.items() if not n.startswith(mark))], where)


def encoder_names(tensors: Tensors, where: str) -> Tensors:
    """An encoder's tensors under timm's names: from those of transformers' CLIP or DINOv3, or as they are.

    Raises:
        ValueError: As :func:`own_names`.
    """
    bare = _once(((re.sub(r"^(vision_model\.)+", "", name), tensor) for name, tensor in tensors.items()), where)
    if any(name.startswith(("encoder.layers.", "pre_layrnorm.")) for name in bare):
        bare.pop("embeddings.position_ids", None)  # 0, 1, 2 ...: files of early versions have them
        converted = _renamed(bare, _CLIP_NAMES, where)
        for name, dimensions in (("cls_token", 1), ("pos_embed", 2)):
            if name in converted and converted[name].dim() == dimensions:
                converted[name] = converted[name].view(1, -1, converted[name].shape[-1])
        return _fused(converted, where, needed={("q", "bias"), ("k", "bias"), ("v", "bias")})
    if any(re.match(r"(model\.)?layer\.\d", name) for name in bare):
        bare.pop("embeddings.mask_token", None)
        return _with_biases(_fused(_renamed(bare, _DINOV3_NAMES, where), where, needed=set()), where)
    return tensors


def _renamed(tensors: Tensors, rules: tuple[tuple[str, str], ...], where: str) -> Tensors:
    """Names that no rule knows stay, and are unexpected later."""
    renamed: list[tuple[str, torch.Tensor]] = []
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, name):
                new = match.expand(replacement)
                break
        renamed.append((new, tensor))
    return _once(renamed, where)


def _once(pairs: collections.abc.Iterable[tuple[str, torch.Tensor]], where: str) -> Tensors:
    """Renamed tensors; two that now have one name are an error, lest one of them silently wins."""
    tensors: Tensors = {}
    twice = []
    for name, tensor in pairs:
        if name in tensors:
            twice.append(name)
        tensors[name] = tensor
    refuse(where, **{"under two names": twice})
    return tensors


def _fused(tensors: Tensors, where: str, needed: set[tuple[str, str]]) -> Tensors:
    """Weights of queries, keys and values as one tensor, and their biases too where all three must be there."""
    parts: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    rest: list[tuple[str, torch.Tensor]] = []
    for name, tensor in tensors.items():
        match = _PARTS.fullmatch(name)
        if match and (match[3] == "weight" or needed):
            parts.setdefault((match[1], match[3]), {})[match[2]] = tensor
        else:
            rest.append((name, tensor))
    for (place, kind), found in parts.items():
        refuse(where, missing=[f"{place}.{part}.{kind}" for part in "qkv" if part not in found])
        shapes = {part: list(tensor.shape) for part, tensor in found.items()}
        odd = [
            f"{place}.{part}.{kind} {shape} beside {shapes['v']}"
            for part, shape in shapes.items()
            if shape != shapes["v"]
        ]
        refuse(where, misshapen=odd)
        rest.append((f"{place}.qkv.{kind}", torch.cat([found["q"], found["k"], found["v"]])))
    return _once(rest, where)


def _with_biases(tensors: Tensors, where: str) -> Tensors:
    """DINOv3's biases of queries and values, which it has, but for those of keys: left out if all are zero, as released."""
    biases = {name: tensor for name, tensor in tensors.items() if _PARTS.fullmatch(name)}
    places = {name.rpartition(".attn.")[0] for name in tensors if name.endswith(".attn.qkv.weight")}
    if biases:
        wanted = [f"{place}.attn.{part}.bias" for place in sorted(places) for part in "qv"]
        refuse(where, missing=[name for name in wanted if name not in biases])
    rest = {name: tensor for name, tensor in tensors.items() if name not in biases}
    if not any(tensor.any() for tensor in biases.values()):
        return rest
    renamed = [(re.sub(r"\.([qv])\.bias$", r".\1_bias", name), tensor) for name, tensor in biases.items()]
    return _once([*rest.items(), *renamed], where)
