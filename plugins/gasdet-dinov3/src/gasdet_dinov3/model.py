"""DINOv3 (or DINOv2) as a detector of generated images: a vision transformer's tokens, and a small head on top of them.

The transformers are timm's. Four heads: on the class token; on class token, mean and standard deviation of the patch
tokens; on the patch tokens through an attention pooling; on every patch by itself, pooled, which also gives a heat map.

The file is self-contained: an exported bundle contains it unchanged. It reads one safetensors file that holds every
tensor of the model; a missing, unexpected or misshapen tensor is an error, so the transformer is never silently random.
Adapters of a training (LoRA) are merged into it before it is written.
"""

import collections.abc
import dataclasses
import math
import re
import typing

import torch
from safetensors.torch import load_file
from torch import nn

DINOV3 = "dinov3"
DINOV2 = "dinov2"
HEADS = ("cls", "concat", "attention", "patch")
POOLINGS = ("topk", "lse")
STATED = ("num_heads", "depth", "registers", "qkv_bias")
"""What a detector's file states of its transformer as whole numbers: that the file is complete shows only against them."""

MAX_DEPTH = 200
"""More blocks no transformer has: a file that claims them is refused before they are built."""

DEFAULT_SHARE = 0.1
DEFAULT_TEMPERATURE = 1.0
ATTENTION_HEADS = 8
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

NOT_CALLED = (
    "timm's attention with a bias of its own uses this layer's weight without calling the layer, so that an adapter on it "
    "would change nothing; take the backbone of the same name without _qkvb"
)


# --- Architectures ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A vision transformer of the DINOv3 or DINOv2 family.

    Attributes:
        family: ``dinov3`` (rotary positions, any size) or ``dinov2`` (learned positions, resampled for other sizes).
        embed_dim: Values of a token.
        depth: Number of blocks.
        num_heads: Attention heads.
        patch_size: Side of a patch in pixels.
        registers: Register tokens between the class token and the patches.
        swiglu: Whether the MLPs are gated.
        qkv_bias: Of DINOv3: whether queries and values have a bias (timm's ``_qkvb``). DINOv2 always has one.
        grid: Of DINOv2: patches along a side of the picture that the learned positions belong to.
    """

    family: str
    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int
    registers: int = 4
    swiglu: bool = False
    qkv_bias: bool = False
    grid: int = 0


def _named() -> dict[str, Architecture]:
    names: dict[str, Architecture] = {}
    sizes = {"small": (384, 12, 6), "small_plus": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
    for size, shape in {"tiny": (192, 12, 3), **sizes, "huge_plus": (1280, 32, 20)}.items():
        plain = Architecture(DINOV3, *shape, 16, swiglu=size.endswith("plus"))
        if size != "tiny":  # timm has the smallest with a bias only
            names[f"vit_{size}_patch16_dinov3"] = plain
        names[f"vit_{size}_patch16_dinov3_qkvb"] = dataclasses.replace(plain, qkv_bias=True)
    for size in ("small", "base", "large"):
        names[f"vit_{size}_patch14_dinov2"] = Architecture(DINOV2, *sizes[size], 14, registers=0, grid=37)
        names[f"vit_{size}_patch14_reg4_dinov2"] = Architecture(DINOV2, *sizes[size], 14, registers=4, grid=37)
    return names


BACKBONES = _named()
"""timm's names of the transformers that a detector can be built on."""


def named_architecture(backbone: str) -> Architecture:
    """The architecture of a timm name, with or without its weights' tag (``vit_large_patch16_dinov3.lvd1689m``).

    Raises:
        ValueError: It is none of ``BACKBONES``; the message lists them.
    """
    name = backbone.partition(".")[0]
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, not {backbone!r}.")
    return BACKBONES[name]


def pixel_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, on a scale of 0 to 1, of the pixels that a timm name's weights were trained with.

    ImageNet's but for some tags, e.g. ``vit_large_patch16_dinov3.sat493m``.

    Raises:
        ValueError: timm knows no such tag of the name.
    """
    named_architecture(backbone)
    if "." not in backbone:
        return IMAGENET_MEAN, IMAGENET_STD
    import timm  # here, because it takes seconds to import

    known = [name for name in timm.list_pretrained() if name.partition(".")[0] == backbone.partition(".")[0]]
    if backbone not in known:
        raise ValueError(f"timm knows no weights {backbone!r}; there are: {', '.join(known) or 'none'}.")
    stated: typing.Any = timm.get_pretrained_cfg(backbone)
    return tuple(stated.mean), tuple(stated.std)


def make_vit(architecture: Architecture) -> nn.Module:
    """Timm's transformer of an architecture, without weights: random, or of no content under ``torch.device("meta")``.

    Raises:
        ValueError: Width and number of heads do not go together, or a number is out of range.
    """
    import timm  # here, because it takes seconds to import

    a = architecture
    if min(a.embed_dim, a.depth, a.num_heads, a.patch_size) < 1 or a.embed_dim % a.num_heads:
        raise ValueError(
            f"embed_dim, depth, num_heads and patch_size must be at least 1 and num_heads divide embed_dim, not {a.embed_dim}, "
            f"{a.depth}, {a.num_heads} and {a.patch_size}."
        )
    if a.depth > MAX_DEPTH:
        raise ValueError(f"depth must be at most {MAX_DEPTH}, not {a.depth}.")
    size: dict[str, typing.Any] = {"embed_dim": a.embed_dim, "depth": a.depth, "num_heads": a.num_heads}
    size |= {"patch_size": a.patch_size, "num_classes": 0, "dynamic_img_size": True}
    vit: nn.Module
    if a.family == DINOV3:
        if a.embed_dim // a.num_heads % 4:
            raise ValueError(f"embed_dim / num_heads must be a multiple of 4, not {a.embed_dim} / {a.num_heads}.")
        base = "vit_small_plus_patch16_dinov3" if a.swiglu else "vit_small_patch16_dinov3"
        size |= {"qkv_bias": a.qkv_bias, "num_reg_tokens": a.registers, "img_size": a.patch_size}
        vit = timm.create_model(base, pretrained=False, **size)
    else:
        if a.grid < 1:
            raise ValueError(f"DINOv2's positions need a picture of at least one patch, not of {a.grid}.")
        base = "vit_small_patch14_reg4_dinov2" if a.registers else "vit_small_patch14_dinov2"
        vit = timm.create_model(base, pretrained=False, img_size=a.grid * a.patch_size, **size)
    return vit


def fill_fixed_buffers(vit: nn.Module, architecture: Architecture) -> None:
    """Give a transformer that was made on the meta device the buffers that are in no file (the rotary frequencies)."""
    real = dict(make_vit(dataclasses.replace(architecture, depth=1)).named_buffers())
    for name, buffer in list(vit.named_buffers()):
        if buffer.is_meta:
            owner, _, last = name.rpartition(".")
            value = real[re.sub(r"^blocks\.\d+\.", "blocks.0.", name)]
            vit.get_submodule(owner).register_buffer(last, value.clone(), persistent=False)


# --- Parts -----------------------------------------------------------------------------------------------------------


class Float32Module(nn.Module):
    """A module whose tensors move between devices and keep their dtype, also in a half-precision model."""

    def _apply(self, fn: typing.Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> typing.Self:
        def move_only(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self


class PixelScale(Float32Module):
    """Pixels 0 to 255, less a mean, over a standard deviation; both are tensors of the weights file, on a scale of 0 to 1."""

    def __init__(self, mean: collections.abc.Sequence[float], std: collections.abc.Sequence[float]) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 or floating ``[B, 3, H, W]`` to float32."""
        return (pixels.float() / 255.0 - self.mean) / self.std


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
        """Margins of any shape to calibrated margins, float32."""
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


# All heads are float32 throughout. ``gather`` makes of class tokens [B, D] and patch tokens [B, N, D] vectors [B, F] that can
# be kept while the transformer is frozen; ``forward`` makes of these logits (real, synthetic) [B, 2] and embeddings [B, E];
# ``maps`` by name one number for each patch, [B, N], where a head has any.


class ClsHead(Float32Module):
    """LayerNorm of the class token, unit length, linear.

    The unit vector is multiplied by sqrt(D) before the linear layer: its values then have the variance 1 that the layer's
    initialisation is made for. Without that, logits begin as small as 1/D and grow slowly.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, 2)

    def gather(self, cls: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """The class tokens."""
        return cls

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B, D]`` to logits and embeddings of unit length."""
        unit = nn.functional.normalize(self.norm(features), dim=-1)
        return self.linear(unit * math.sqrt(unit.shape[-1])), unit

    def maps(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """None: the head sees no patch by itself."""
        return {}


class ConcatHead(Float32Module):
    """Class token, mean and standard deviation of the patch tokens, each with a LayerNorm of its own, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.linear = nn.Linear(3 * width, 2)

    def gather(self, cls: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """``[B, 3 D]``; the standard deviation is the population's, with 1e-6 added to the variance."""
        spread = (patches.var(1, correction=0) + 1e-6).sqrt()
        return torch.cat([cls, patches.mean(1), spread], dim=-1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B, 3 D]`` to logits and what the linear layer saw."""
        parts = features.chunk(3, dim=-1)
        embeddings = torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], dim=-1)
        return self.linear(embeddings), embeddings

    def maps(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """None: the head sees no patch by itself."""
        return {}


class AttentionHead(Float32Module):
    """One learned query looks at all patch tokens with 8 heads; what it gathered goes through a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % ATTENTION_HEADS:
            raise ValueError(f"attention pooling has {ATTENTION_HEADS} heads, which do not divide embed_dim={width}.")
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(ATTENTION_HEADS, width // ATTENTION_HEADS))
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.pooled_norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, 2)

    def gather(self, cls: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """The patch tokens, ``[B, N D]``."""
        return patches.flatten(1)

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normalised tokens ``[B, N, D]`` to shares ``[B, 8, N]`` that sum to 1."""
        keys = torch.unflatten(self.key(tokens), -1, self.query.shape)
        scores = torch.einsum("bnhd,hd->bhn", keys, self.query) / math.sqrt(self.query.shape[1])
        return scores.softmax(-1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B, N D]`` to logits and what the linear layer saw."""
        tokens = self.norm(torch.unflatten(features, -1, (-1, self.width)))
        values = torch.unflatten(self.value(tokens), -1, self.query.shape)
        pooled = torch.einsum("bhn,bnhd->bhd", self._attention(tokens), values).flatten(1)
        embeddings = self.pooled_norm(pooled)
        return self.linear(embeddings), embeddings

    def maps(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """``attention``: the share of each patch in what was gathered, mean of the heads."""
        return {"attention": self._attention(self.norm(torch.unflatten(features, -1, (-1, self.width)))).mean(1)}


class PatchHead(Float32Module):
    """A margin for every patch by itself, pooled to the picture's: trained with the labels of whole pictures.

    ``topk``: the mean of the largest ``share`` of the margins, at least one. ``lse``: t log mean exp(margin / t) with the
    temperature t, between the mean (large t) and the maximum (small t), whatever the number of patches.
    """

    def __init__(
        self, width: int, pooling: str | None = None, share: float | None = None, temperature: float | None = None
    ) -> None:
        super().__init__()
        pooling = POOLINGS[0] if pooling is None else pooling
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, not {pooling!r}.")
        if (temperature if pooling == "topk" else share) is not None:
            raise ValueError("share belongs to pooling=topk and temperature to pooling=lse: leave the other one out.")
        share = DEFAULT_SHARE if share is None else share
        temperature = DEFAULT_TEMPERATURE if temperature is None else temperature
        if not 0 < share <= 1 or temperature <= 0:
            raise ValueError(
                f"share must be above 0 and at most 1 and temperature above 0, not {share} and {temperature}."
            )
        self.width, self.top_share, self.softness = width, share, temperature
        self.pooling = pooling
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        # for the file, which tells with them what was trained
        if pooling == "topk":
            self.register_buffer("share", torch.tensor(share))
        else:
            self.register_buffer("temperature", torch.tensor(temperature))

    def gather(self, cls: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """The patch tokens, ``[B, N D]``."""
        return patches.flatten(1)

    def _margins(self, tokens: torch.Tensor) -> torch.Tensor:
        margins: torch.Tensor = self.score(tokens).squeeze(-1)
        return margins

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B, N D]`` to logits (-z/2, z/2) and the mean of the normalised patch tokens."""
        tokens = self.norm(torch.unflatten(features, -1, (-1, self.width)))
        margins = self._margins(tokens)
        count = margins.shape[-1]
        if self.pooling == "topk":
            z = margins.topk(max(1, round(self.top_share * count)), dim=-1).values.mean(-1, keepdim=True)
        else:
            total = torch.logsumexp(margins / self.softness, dim=-1, keepdim=True)
            z = self.softness * (total - math.log(count))
        return torch.cat([-z / 2, z / 2], dim=-1), tokens.mean(1)

    def maps(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """``score``: the margin of each patch."""
        return {"score": self._margins(self.norm(torch.unflatten(features, -1, (-1, self.width))))}


Head = ClsHead | ConcatHead | AttentionHead | PatchHead


def make_head(
    head: str, width: int, pooling: str | None = None, share: float | None = None, temperature: float | None = None
) -> Head:
    """A new head of one of ``HEADS``.

    Raises:
        ValueError: There is no such head, or it cannot be had with these values.
    """
    if head == "patch":
        return PatchHead(width, pooling, share, temperature)
    kinds: dict[str, type[ClsHead | ConcatHead | AttentionHead]]
    kinds = {"cls": ClsHead, "concat": ConcatHead, "attention": AttentionHead}
    if head not in kinds:
        raise ValueError(f"head must be one of {', '.join(HEADS)}, not {head!r}.")
    if (pooling, share, temperature) != (None, None, None):
        raise ValueError(f"pooling, share and temperature belong to head=patch, and head={head} has none of them.")
    return kinds[head](width)


# --- The detector ----------------------------------------------------------------------------------------------------


class DINOv3(nn.Module):
    """Pictures to logits (real, synthetic).

    Args:
        architecture: Of the transformer.
        head: One of ``HEADS``.
        pooling: Of the patch head, one of ``POOLINGS``; None is its default, ``topk``. With another head an error.
        share: Of the patches that ``topk`` takes; None is 0.1. Without ``topk`` an error.
        temperature: Of ``lse``; None is 1. Without ``lse`` an error.
        mean: Of the pixels, on a scale of 0 to 1.
        std: Likewise their standard deviation.
    """

    def __init__(
        self,
        architecture: Architecture,
        head: str = "concat",
        pooling: str | None = None,
        share: float | None = None,
        temperature: float | None = None,
        mean: collections.abc.Sequence[float] = IMAGENET_MEAN,
        std: collections.abc.Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.scale = PixelScale(mean, std)
        self.backbone: typing.Any = make_vit(architecture)
        self.head = make_head(head, architecture.embed_dim, pooling, share, temperature)
        self.calibration: Calibration | None = None
        shape = dataclasses.asdict(architecture)
        for name in STATED:
            self.register_buffer(name, torch.tensor(int(shape[name])))

    @property
    def not_adaptable(self) -> dict[str, str]:
        """Linear layers whose weight is used without calling them, with the reason: ``attn.qkv`` of ``_qkvb`` backbones."""
        if not self.architecture.qkv_bias:
            return {}
        return {f"backbone.blocks.{number}.attn.qkv": NOT_CALLED for number in range(self.architecture.depth)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` (real, synthetic) of pictures ``[B, 3, H, W]``, RGB 0 to 255, uint8 or float.

        Raises:
            ValueError: The shape is another, or H or W is no multiple of the patch size.
        """
        return self.classify(self.features(x))

    def forward_with_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``forward``, and the embeddings float32 ``[B, E]`` that the logits are made of."""
        return self.classify_with_embeddings(self.features(x))

    def forward_with_details(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As ``forward``, and what the head can say of each patch, float32 ``[B, H / patch, W / patch]``, row 0 at the top.

        ``heatmap`` of the patch head: P(synthetic) of every patch by itself, through the calibrator if there is one.
        ``attention`` of the attention head: where it looks; sums to 1.
        """
        features = self.features(x)
        rows = x.shape[2] // self.architecture.patch_size
        with torch.autocast(x.device.type, enabled=False):
            maps = {name: torch.unflatten(values, -1, (rows, -1)) for name, values in self.head.maps(features).items()}
        if "score" in maps:
            scores = maps.pop("score")
            maps["heatmap"] = (scores if self.calibration is None else self.calibration(scores)).sigmoid()
        return self.classify(features), maps

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head takes of pictures, float32 ``[B, F]``: F = D (cls), 3 D (concat), N D (attention, patch)."""
        if x.shape[:1] == (0,):  # timm's transformers cannot be given an empty batch
            return self.features(x.new_zeros(1, *x.shape[1:]))[:0]
        cls, patches = self.tokens(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.head.gather(cls.float(), patches.float())

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits float32 ``[B, 2]`` of what ``features`` gave."""
        return self.classify_with_embeddings(features)[0]

    def classify_with_embeddings(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and embeddings of what ``features`` gave."""
        with torch.autocast(features.device.type, enabled=False):
            logits, embeddings = self.head(features.float())
            if self.calibration is not None:
                z = self.calibration(logits[:, 1:] - logits[:, :1])
                logits = torch.cat([-z / 2, z / 2], dim=-1)
        return logits, embeddings

    def check_input(self, shape: collections.abc.Sequence[int]) -> None:
        """See that pictures of a shape ``[B, 3, H, W]`` can be taken. A batch of none can.

        Raises:
            ValueError: The shape is another, or H or W is no multiple of the patch size.
        """
        side = self.architecture.patch_size
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < side or shape[2] % side or shape[3] % side:
            raise ValueError(
                f"this DINOv{self.architecture.family[-1]} takes pictures [B, 3, H, W] with H and W multiples of {side}, not "
                f"{list(shape)}; set preprocessing.resize to such a size."
            )

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised class tokens ``[B, D]`` and patch tokens ``[B, H W / patch^2, D]``, in the transformer's dtype.

        The class token and the registers come before the patches and are no patches.
        """
        self.check_input(x.shape)
        pixels = self.scale(x).to(self.backbone.patch_embed.proj.weight.dtype)
        tokens: torch.Tensor = self.backbone.forward_features(pixels)
        return tokens[:, 0], tokens[:, self.backbone.num_prefix_tokens :]


# --- Loading ---------------------------------------------------------------------------------------------------------


def load_model(
    weights_path: str,
    num_classes: int = 2,
    backbone: str | None = None,
    head: str | None = None,
    pooling: str | None = None,
    share: float | None = None,
    temperature: float | None = None,
    embed_dim: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    patch_size: int | None = None,
    grid: int | None = None,
) -> nn.Module:
    """The detector with the weights of one safetensors file, on the CPU, in float32, in eval mode.

    Args:
        weights_path: A safetensors file with every tensor of the model.
        num_classes: 2. The detector knows real and synthetic only.
        backbone: timm's name; this and all below: None takes what the file was trained with.
        head: See ``DINOv3``.
        pooling: See ``DINOv3``.
        share: See ``DINOv3``.
        temperature: See ``DINOv3``.
        embed_dim: See ``Architecture``; over the named backbone's.
        depth: Likewise.
        num_heads: Likewise.
        patch_size: Likewise.
        grid: Likewise.

    Raises:
        ValueError: The file lacks a tensor, has one too many or one of another shape, or was trained with another choice
            than asked for.
    """
    if num_classes != 2:
        raise ValueError(f"this detector has 2 classes, real and synthetic, not {num_classes}.")
    tensors = load_file(str(weights_path), device="cpu")
    inner = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    own: dict[str, typing.Any] = {n: int(tensors[n]) for n in STATED if n in tensors and tensors[n].numel() == 1}
    own |= {"qkv_bias": bool(own["qkv_bias"])} if "qkv_bias" in own else {}
    found = dataclasses.replace(read_architecture(inner), **own)
    kind = read_head(tensors)
    mean, std = _pixel_statistics_of(tensors)
    size = {"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads, "patch_size": patch_size, "grid": grid}
    asked: dict[str, typing.Any] = {"head": head, "pooling": pooling, "share": share, "temperature": temperature}
    if backbone is not None:
        stated = dataclasses.asdict(named_architecture(backbone))
        asked |= {**stated, **{name: value for name, value in size.items() if value is not None}}
        asked["mean"], asked["std"] = pixel_statistics(backbone)
    else:
        asked |= size
    have = {**dataclasses.asdict(found), **kind, "mean": mean, "std": std}
    for name, value in asked.items():
        if value is not None and name not in have:
            raise ValueError(f"{weights_path} was trained with {_listed_choices(kind)}, which has no {name}.")
        if value is not None and not _same(value, have[name]):
            raise ValueError(
                f"{weights_path} was trained with {name}={have[name]!r}, which {name}={value!r} contradicts."
            )
    with torch.device("meta"):
        model = DINOv3(found, **kind, mean=mean, std=std)
    fill_fixed_buffers(model.backbone, found)
    for name in [name for name in tensors if name.startswith("calibration.")]:
        model.calibration = Calibration(name.removeprefix("calibration."), tensors[name])
    load_tensors(model, tensors, str(weights_path))
    return model.requires_grad_(False).eval()


def read_architecture(tensors: collections.abc.Mapping[str, torch.Tensor]) -> Architecture:
    """The architecture whose tensors these are, under timm's names; what they do not tell is DINOv3 S's.

    Attention heads, which no tensor's shape shows, are one for each 64 values of a token, as all published ones have. The depth
    is the number of the last block that is there: whether that is the last there should be, the caller must know otherwise.
    """
    embed = tensors.get("patch_embed.proj.weight", torch.empty(0))
    width, side = (embed.shape[0], embed.shape[-1]) if embed.dim() == 4 else (384, 16)
    blocks = {int(name.split(".")[1]) for name in tensors if re.match(r"blocks\.\d+\.", name)}
    positions = tensors.get("pos_embed")
    registers = tensors.get("reg_token")
    count = 4 if positions is None else 0  # every DINOv3 has four: without them a file is not complete
    if registers is not None and registers.dim() == 3:
        count = registers.shape[1]
    grid = 0
    if positions is not None and positions.dim() == 3:
        grid = math.isqrt(max(1, positions.shape[1] - (0 if count else 1)))
    return Architecture(
        family=DINOV3 if positions is None else DINOV2,
        embed_dim=width,
        depth=max(blocks, default=11) + 1,
        num_heads=max(1, width // 64),
        patch_size=side,
        registers=count,
        swiglu=any(".mlp.fc1_g." in name for name in tensors),
        qkv_bias=positions is None and any(name.endswith(".attn.q_bias") for name in tensors),
        grid=grid,
    )


def read_head(tensors: collections.abc.Mapping[str, torch.Tensor]) -> dict[str, typing.Any]:
    """Kind of the head, and pooling, share and temperature where it has them, of a detector's tensors."""
    if "head.score.weight" in tensors:
        if "head.temperature" in tensors:
            return {"head": "patch", "pooling": "lse", "temperature": tensors["head.temperature"].flatten()[0].item()}
        share = tensors.get("head.share", torch.tensor(DEFAULT_SHARE))
        return {"head": "patch", "pooling": "topk", "share": share.flatten()[0].item()}
    if "head.query" in tensors:
        return {"head": "attention"}
    return {"head": "concat" if "head.norms.0.weight" in tensors else "cls"}


def load_tensors(module: nn.Module, tensors: collections.abc.Mapping[str, torch.Tensor], where: str) -> None:
    """Put tensors into a module, all of them and nothing else, as float32; a calibrator and whole numbers stay as they are.

    Raises:
        ValueError: With what is missing, unexpected or misshapen, or is no floating-point number, or not finite; of more than
            20 names of a kind, the first 20.
    """
    expected = module.state_dict()
    check_names(
        {name: tuple(tensor.shape) for name, tensor in expected.items()},
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        where,
    )
    check_numbers({n: t for n, t in tensors.items() if expected[n].is_floating_point()}, where)
    as_is = {n: n.startswith("calibration.") or not t.is_floating_point() for n, t in tensors.items()}
    ready = {name: t if as_is[name] else t.float() for name, t in tensors.items()}
    module.load_state_dict(ready, strict=True, assign=True)


def check_numbers(tensors: collections.abc.Mapping[str, torch.Tensor], where: str) -> None:
    """See that weights are floating-point numbers, and finite.

    Raises:
        ValueError: With the names of those that are not.
    """
    whole = [
        f"{name} {str(t.dtype).removeprefix('torch.')}" for name, t in tensors.items() if not t.is_floating_point()
    ]
    if whole:
        raise ValueError(f"{where} holds {len(whole)} that are no floating-point numbers: {_listed(whole)}.")
    endless = [name for name, tensor in tensors.items() if not tensor.float().isfinite().all()]
    if endless:
        raise ValueError(f"{where} holds {len(endless)} with values that are not finite: {_listed(endless)}.")


def check_names(
    expected: collections.abc.Mapping[str, tuple[int, ...]],
    found: collections.abc.Mapping[str, tuple[int, ...]],
    where: str,
) -> None:
    """See that a file has every expected tensor in its shape, and no other.

    Raises:
        ValueError: With what is missing, unexpected or misshapen.
    """
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "misshapen": [
            f"{name} {list(found[name])} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    if any(problems.values()):
        parts = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in problems.items() if names]
        raise ValueError(f"{where} does not fit the model; {'; '.join(parts)}.")


def _listed_choices(kind: collections.abc.Mapping[str, typing.Any]) -> str:
    return " and ".join(f"{name}={value}" for name, value in kind.items() if name in ("head", "pooling"))


def _pixel_statistics_of(
    tensors: collections.abc.Mapping[str, torch.Tensor],
) -> tuple[collections.abc.Sequence[float], collections.abc.Sequence[float]]:
    stated = [tensors.get(f"scale.{name}", torch.empty(0)).flatten() for name in ("mean", "std")]
    if any(values.numel() != 3 for values in stated):
        return IMAGENET_MEAN, IMAGENET_STD  # the file is refused for lack of them, with everything else that is wrong
    return stated[0].tolist(), stated[1].tolist()


def _same(asked: typing.Any, found: typing.Any) -> bool:
    """Whether two choices are the same, up to the digits that float32 has."""
    if isinstance(found, list | tuple):
        return len(asked) == len(found) and all(_same(a, b) for a, b in zip(asked, found, strict=True))
    return math.isclose(asked, found, rel_tol=1e-6) if isinstance(found, float) else bool(asked == found)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
