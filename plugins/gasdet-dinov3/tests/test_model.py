"""The detector: its tokens, its four heads, its inputs and its outputs; that timm's transformers are built as timm does."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

from gasdet_dinov3.model import (
    BACKBONES,
    DINOV2,
    DINOV3,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Architecture,
    DINOv3,
    Head,
    make_head,
    make_vit,
    named_architecture,
    pixel_statistics,
)

SMALL = Architecture(DINOV3, embed_dim=32, depth=2, num_heads=2, patch_size=8)
SMALL_2 = Architecture(DINOV2, embed_dim=32, depth=2, num_heads=2, patch_size=14, registers=0, grid=3)
VARIANTS = {
    "cls": {"head": "cls"},
    "concat": {"head": "concat"},
    "attention": {"head": "attention"},
    "topk": {"head": "patch", "pooling": "topk"},
    "lse": {"head": "patch", "pooling": "lse", "temperature": 0.5},
}


def detector(variant: str = "concat", architecture: Architecture = SMALL) -> DINOv3:
    torch.manual_seed(0)
    model = DINOv3(architecture, **VARIANTS[variant])  # type: ignore[arg-type]
    for name, parameter in model.backbone.named_parameters():
        if "gamma" in name:  # as small as the published ones, blocks would hardly change a random model's tokens
            nn.init.ones_(parameter)
    return model.eval()


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# --- Backbones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
def test_a_named_backbone_is_timms(name: str) -> None:
    with torch.device("meta"):  # one block says all but the depth, which test_plugin has in the parameter counts
        ours = make_vit(dataclasses.replace(BACKBONES[name], depth=1))
        theirs = timm.create_model(name, pretrained=False, num_classes=0, depth=1)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert ours.num_prefix_tokens == theirs.num_prefix_tokens == 1 + BACKBONES[name].registers
    assert ours.blocks[0].attn.num_heads == theirs.blocks[0].attn.num_heads == BACKBONES[name].num_heads
    assert (type(ours), ours.norm.eps) == (type(theirs), theirs.norm.eps)


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_dinov3", "vit_small_plus_patch16_dinov3", "vit_small_patch14_reg4_dinov2"]
)
def test_it_computes_what_timms_model_computes(name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=0, depth=1, dynamic_img_size=True).eval()
    architecture = dataclasses.replace(BACKBONES[name], depth=1)
    model = DINOv3(architecture, "cls").eval()
    model.backbone.load_state_dict(theirs.state_dict())
    x = pictures(2, 3, 2 * architecture.patch_size, 3 * architecture.patch_size)
    normalised = (x / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    expected = theirs.forward_features(normalised)
    cls, patches = model.tokens(x)
    torch.testing.assert_close(cls, expected[:, 0])
    torch.testing.assert_close(patches, expected[:, theirs.num_prefix_tokens :])
    assert patches.shape == (2, 6, architecture.embed_dim)


@pytest.mark.parametrize(
    ("registers", "family"), [(4, DINOV3), (0, DINOV3), (4, DINOV2), (0, DINOV2)], ids=lambda value: str(value)
)
def test_registers_are_no_patches(registers: int, family: str) -> None:
    model = detector(architecture=Architecture(family, 32, 1, 2, 14, registers=registers, grid=2))
    cls, patches = model.tokens(pictures(1, 3, 28, 42))
    assert patches.shape == (1, 6, 32)
    everything = model.backbone.forward_features(model.scale(pictures(1, 3, 28, 42)))
    assert everything.shape[1] == 1 + registers + 6
    assert torch.equal(patches[:, 0], everything[:, 1 + registers])
    assert torch.equal(cls, everything[:, 0])


def test_the_place_of_a_patch_is_its_place_in_the_picture() -> None:
    """What is brighter at the right of the second row is patch 5 of 3 columns."""
    model = detector()
    model.backbone.blocks = nn.ModuleList()  # blocks mix patches: the embedding alone does not
    x = torch.zeros(1, 3, 16, 24)
    x[:, :, 8:, 16:] = 255
    _, patches = model.tokens(x)
    differs = (patches[0] - patches[0, 0]).abs().amax(-1) > 1e-3
    assert differs.tolist() == [False, False, False, False, False, True]


def test_unknown_backbones_and_tags_are_refused() -> None:
    with pytest.raises(ValueError, match="backbone must be one of vit_tiny_patch16_dinov3_qkvb"):
        named_architecture("resnet50")
    with pytest.raises(ValueError, match="timm knows no weights"):
        pixel_statistics("vit_small_patch16_dinov3.nonsense")


def test_pixel_statistics_are_those_of_the_weights() -> None:
    for name in ("vit_base_patch16_dinov3.lvd1689m", "vit_small_patch14_dinov2.lvd142m"):
        assert pixel_statistics(name) == pixel_statistics(name.partition(".")[0]) == (IMAGENET_MEAN, IMAGENET_STD)
    satellite = pixel_statistics("vit_large_patch16_dinov3.sat493m")
    assert satellite == ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))


def test_pixels_are_normalised_inside() -> None:
    x = pictures(1, 3, 8, 8)
    model = DINOv3(SMALL, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    expected = (x.numpy() / 255 - np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / np.array([0.5, 0.25, 0.125]).reshape(
        3, 1, 1
    )
    np.testing.assert_allclose(model.scale(x).numpy(), expected, rtol=1e-5, atol=1e-5)


# --- Inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_bytes_and_floats_give_the_same(variant: str) -> None:
    model, x = detector(variant), pictures(2, 3, 24, 32)
    assert torch.equal(model(x), model(x.float()))


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (64, 24)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_multiple_of_the_patch_size(variant: str, size: tuple[int, int]) -> None:
    logits = detector(variant)(pictures(2, 3, *size))
    assert logits.shape == (2, 2)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("architecture", [SMALL, SMALL_2], ids=["dinov3", "dinov2"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_empty_batch(variant: str, architecture: Architecture) -> None:
    model, x = detector(variant, architecture), pictures(0, 3, 56, 112)
    logits, details = model.forward_with_details(x)
    assert model(x).shape == logits.shape == (0, 2)
    side = architecture.patch_size
    assert all(values.shape == (0, 56 // side, 112 // side) for values in details.values())
    assert model.forward_with_embeddings(x)[1].shape[0] == 0
    with pytest.raises(ValueError, match="multiples of"):
        model(pictures(0, 3, 56, 113))


def test_dinov2_resamples_its_positions() -> None:
    model = detector(architecture=SMALL_2)
    assert torch.isfinite(model(pictures(1, 3, 42, 42))).all()
    assert torch.isfinite(model(pictures(1, 3, 70, 28))).all()


@pytest.mark.parametrize(
    "shape", [(1, 3, 250, 256), (1, 3, 256, 250), (1, 3, 0, 8), (1, 1, 16, 16), (3, 16, 16), (1, 2, 3, 16, 16)]
)
def test_other_shapes_are_refused_in_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, not \[") as caught:
        detector()(torch.zeros(shape))
    assert str(caught.value).count(".") == 2  # one in the key's name, one at the end


def test_a_picture_does_not_depend_on_its_batch() -> None:
    model, x = detector(), pictures(3, 3, 16, 16)
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]))


# --- Heads ------------------------------------------------------------------------------------------------------------


def tokens(seed: int = 1, count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 32, generator=generator), torch.randn(3, count, 32, generator=generator)


def new_head(kind: str, **options: object) -> Head:
    torch.manual_seed(3)
    head = make_head(kind, 32, **options)  # type: ignore[arg-type]
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def layer_norm(x: np.ndarray, norm: nn.Module) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy()


def linear(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    return x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()


def by_head(head: Head) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    cls, patches = tokens()
    logits, embeddings = head(head.gather(cls, patches))
    return cls.double().numpy(), patches.double().numpy(), logits.detach().numpy(), embeddings.detach().numpy()


def test_cls_head_by_hand() -> None:
    head = new_head("cls")
    cls, _, logits, embeddings = by_head(head)
    unit = layer_norm(cls, head.norm)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    np.testing.assert_allclose(embeddings, unit, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, linear(unit * math.sqrt(32), head.linear), rtol=1e-4, atol=1e-4)


def test_concat_head_by_hand() -> None:
    head = new_head("concat")
    cls, patches, logits, _ = by_head(head)
    parts = (cls, patches.mean(1), np.sqrt(patches.var(1) + 1e-6))
    seen = np.concatenate([layer_norm(part, norm) for part, norm in zip(parts, head.norms, strict=True)], axis=-1)
    np.testing.assert_allclose(logits, linear(seen, head.linear), rtol=1e-4, atol=1e-4)


def test_attention_head_is_torchs_multi_head_attention_with_one_query() -> None:
    head = new_head("attention")
    _, patches = tokens()
    normalised = head.norm(patches)
    reference = nn.MultiheadAttention(32, 8, bias=True, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([torch.eye(32), head.key.weight, head.value.weight]))
        reference.in_proj_bias.copy_(torch.cat([torch.zeros(32), head.key.bias, head.value.bias]))
        reference.out_proj.weight.copy_(torch.eye(32))
        reference.out_proj.bias.zero_()
    query = head.query.flatten().expand(3, 1, 32)
    pooled, weights = reference(query, normalised, normalised)
    logits, _ = head(patches.flatten(1))
    torch.testing.assert_close(logits, head.linear(head.pooled_norm(pooled[:, 0])), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head.maps(patches.flatten(1))["attention"], weights[:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("share", "count", "taken"), [(0.1, 20, 2), (0.1, 256, 26), (0.1, 3, 1), (1.0, 20, 20)])
def test_topk_takes_the_stated_share(share: float, count: int, taken: int) -> None:
    head = new_head("patch", share=share)
    _, patches = tokens(count=count)
    margins = linear(layer_norm(patches.double().numpy(), head.norm), head.score)[..., 0]
    z = np.sort(margins, axis=-1)[:, -taken:].mean(-1)
    logits = head(patches.flatten(1))[0].detach().numpy()
    np.testing.assert_allclose(logits, np.stack([-z / 2, z / 2], axis=-1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_log_sum_exp_by_hand(temperature: float) -> None:
    head = new_head("patch", pooling="lse", temperature=temperature)
    _, patches = tokens()
    margins = linear(layer_norm(patches.double().numpy(), head.norm), head.score)[..., 0]
    z = temperature * np.log(np.exp(margins / temperature).mean(-1))
    logits = head(patches.flatten(1))[0].detach().numpy()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], z, rtol=1e-4, atol=1e-3)
    assert (z < margins.max(-1)).all()
    assert (z > margins.mean(-1)).all()


def test_log_sum_exp_does_not_depend_on_how_often_the_patches_are_there() -> None:
    head = new_head("patch", pooling="lse")
    _, patches = tokens()
    torch.testing.assert_close(
        head(patches.flatten(1))[0], head(patches.repeat(1, 3, 1).flatten(1))[0], rtol=1e-4, atol=1e-4
    )


def test_a_new_cls_head_starts_with_logits_of_a_usable_size() -> None:
    """Without the factor sqrt(D) their standard deviation would be 1/sqrt(3 D), about 0.03 at D = 384."""
    torch.manual_seed(0)
    logits = torch.cat([make_head("cls", 384)(torch.randn(64, 384))[0] for _ in range(20)])
    assert 0.4 < logits.std() < 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "mean"}, "head must be one of cls, concat, attention, patch"),
        ({"head": "patch", "pooling": "max"}, "pooling must be one of topk, lse"),
        ({"head": "patch", "share": 0.0}, "share must be above 0"),
        ({"head": "patch", "pooling": "lse", "temperature": 0.0}, "temperature above 0"),
    ],
)
def test_unusable_choices_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DINOv3(SMALL, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_heads": 3}, "num_heads divide embed_dim"),
        ({"depth": 0}, "at least 1"),
        ({"embed_dim": 36, "num_heads": 6}, "multiple of 4"),
        ({"family": DINOV2, "grid": 0}, "at least one patch"),
    ],
)
def test_unusable_sizes_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_vit(dataclasses.replace(SMALL, **wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="8 heads, which do not divide embed_dim=36"):
        DINOv3(dataclasses.replace(SMALL, embed_dim=36, num_heads=3), "attention")


# --- What they offer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_and_embeddings_lead_to_the_same_logits(variant: str) -> None:
    model, x = detector(variant), pictures(2, 3, 24, 16)
    logits = model(x)
    features = model.features(x)
    assert features.dim() == 2
    assert torch.equal(model.classify(features), logits)
    for found, embeddings in (model.forward_with_embeddings(x), model.classify_with_embeddings(features)):
        assert torch.equal(found, logits)
        assert embeddings.shape[0] == 2
        assert embeddings.dtype == torch.float32


@pytest.mark.parametrize("variant", ["topk", "lse"])
def test_the_heat_map_is_each_patchs_own_probability(variant: str) -> None:
    model, x = detector(variant), pictures(2, 3, 24, 40)
    logits, details = model.forward_with_details(x)
    assert torch.equal(logits, model(x))
    heatmap = details["heatmap"]
    assert heatmap.shape == (2, 3, 5)
    assert ((heatmap > 0) & (heatmap < 1)).all()
    _, patches = model.tokens(x)
    alone = model.head(patches[:, 7].contiguous())[0].softmax(-1)[:, 1]  # a picture of only that patch
    torch.testing.assert_close(heatmap[:, 1, 2], alone, rtol=1e-4, atol=1e-5)


def test_the_heat_map_shows_where() -> None:
    """A score for brightness, without blocks: the bright patch is hot, and it is at the top right."""
    model = detector("topk")
    model.backbone.blocks = nn.ModuleList()
    x = torch.zeros(1, 3, 16, 24)
    x[:, :, :8, 16:] = 255
    with torch.no_grad():
        _, patches = model.tokens(x)
        bright, dark = (model.head.norm(patches[0, place]) for place in (2, 0))
        model.head.score.weight.copy_((bright - dark)[None])
        model.head.score.bias.zero_()
        heatmap = model.forward_with_details(x)[1]["heatmap"][0]
    assert heatmap.argmax().item() == 2
    assert heatmap[0, 2] > 0.9
    assert (heatmap.flatten()[[0, 1, 3, 4, 5]] < 0.5).all()


def test_the_attention_head_tells_where_it_looks() -> None:
    details = detector("attention").forward_with_details(pictures(2, 3, 16, 32))[1]
    assert set(details) == {"attention"}
    assert details["attention"].shape == (2, 2, 4)
    torch.testing.assert_close(details["attention"].sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize("variant", ["cls", "concat"])
def test_heads_without_a_map_offer_none(variant: str) -> None:
    logits, details = detector(variant).forward_with_details(pictures(1, 3, 16, 16))
    assert logits.shape == (1, 2)
    assert details == {}


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_keeps_head_and_pixels_in_float32(variant: str) -> None:
    model, x = detector(variant), pictures(4, 3, 32, 32)
    expected = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = model(x)
    half = detector(variant).to(torch.bfloat16)
    assert {t.dtype for t in (*half.head.state_dict().values(), *half.scale.state_dict().values())} == {torch.float32}
    assert half.backbone.norm.weight.dtype == torch.bfloat16
    for found in (autocast, half(x)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("architecture", [SMALL, SMALL_2], ids=["dinov3", "dinov2"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_of_use_gets_a_gradient(variant: str, architecture: Architecture) -> None:
    model = detector(variant, architecture).train()
    x = pictures(4, 3, 2 * architecture.patch_size, 3 * architecture.patch_size)
    nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 0, 1])).backward()
    # a key's bias adds the same to all scores of a query and falls out of the softmax
    unused = {"head.key.bias"} if variant == "attention" else set()
    without = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12}
    assert without - unused == set()
