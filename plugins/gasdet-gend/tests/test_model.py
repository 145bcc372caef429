"""The detector as a whole: inputs, outputs, precision, the encoders, and what of them is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gasdet_gend.model import ENCODERS, GenD

Clips = Callable[..., torch.Tensor]
Detectors = Callable[..., GenD]
EACH = pytest.mark.parametrize("encoder", list(ENCODERS))


@EACH
def test_pictures_and_clips(encoder: str, random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = random_detector(encoder), moving_clip(8, batch=2)
    assert model(clip).shape == (2, 2)
    assert torch.equal(model(clip), model(clip.float()))
    picture = clip[:, 3]
    assert torch.equal(model(picture), model.head(model.features(picture)))
    for empty in (clip[:0], picture[:0]):
        assert model(empty).shape == (0, 2)
        assert model.forward_with_details(empty)[0].shape == (0, 2)
        assert len(model.features(empty)) == 0
    larger = moving_clip(8, side=48)
    assert torch.isfinite(model(larger)).all()


@EACH
def test_pixels_are_normalised_for_the_encoder(encoder: str, random_detector: Detectors, moving_clip: Clips) -> None:
    import timm

    model, x = random_detector(encoder), moving_clip(1)[:, 0]
    configuration = timm.create_model(ENCODERS[encoder].architecture, pretrained=False, depth=1).default_cfg
    if encoder == "clip":  # the first of timm's tags of this architecture is not OpenAI's
        configuration = timm.models.get_pretrained_cfg("vit_large_patch14_clip_quickgelu_224.openai").to_dict()
    mean, std = (torch.tensor(configuration[key]).view(3, 1, 1) for key in ("mean", "std"))
    features = model.encoder((x / 255.0 - mean) / std)
    torch.testing.assert_close(model.features(x), features, rtol=1e-4, atol=1e-5)


def test_features_have_length_one_before_the_head(random_detector: Detectors, moving_clip: Clips) -> None:
    model, x = random_detector(), moving_clip(1, batch=3)[:, 0]
    z = model.features(x)
    units = z / z.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model(x), units @ model.head.weight.T + model.head.bias)
    logits, embeddings = model.forward_with_embeddings(x)
    torch.testing.assert_close(embeddings, units)
    torch.testing.assert_close(model.head(100 * z), logits)


def test_patches_behind_the_class_token(random_detector: Detectors, moving_clip: Clips) -> None:
    x = moving_clip(8)
    for encoder in ENCODERS:
        model, plain = random_detector(encoder, pooling="cls_patches"), random_detector(encoder)
        z = model.features(x[:, 0])
        torch.testing.assert_close(z[:, :64], plain.features(x[:, 0]))
        pixels = (x[:, 0].float() / 255 - torch.tensor(ENCODERS[encoder].mean).view(3, 1, 1)) / torch.tensor(
            ENCODERS[encoder].std
        ).view(3, 1, 1)
        tokens = model.encoder.forward_features(pixels)
        assert tokens.shape[1] == (5 if encoder == "dinov3" else 1) + 16
        torch.testing.assert_close(z[:, 64:], tokens[:, -16:].mean(1), rtol=1e-4, atol=1e-5)
        assert model(x).shape == (1, 2)


@pytest.mark.parametrize("temporal", [False, True])
def test_cached_features_give_the_same(temporal: bool, random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = random_detector(temporal=temporal), moving_clip(9, batch=2)
    clip[:, 7:] = clip[:, 6:7]
    for x in (clip, clip[:, 0]):
        with torch.inference_mode():
            features = model.features(x)
            found, expected = model.classify_with_outputs(features), model.forward_with_outputs(x)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in found)
            assert torch.equal(model.classify(features), model(x))
            assert all(map(torch.equal, model.classify_with_embeddings(features), model.forward_with_embeddings(x)))
    assert model.features(clip).shape == (2, 9 * 65)
    with pytest.raises(ValueError, match="features are"):
        model.classify(torch.zeros(2, 66))


def test_chunks_change_nothing_but_rounding(random_detector: Detectors, moving_clip: Clips) -> None:
    clip = moving_clip(10, batch=2)
    with torch.inference_mode():
        expected = random_detector()(clip)
        for size in (1, 3, 100):
            torch.testing.assert_close(random_detector(chunk_frames=size)(clip), expected, rtol=0, atol=1e-5)
        alone = torch.cat([random_detector()(one[None]) for one in clip])
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-6)


def test_outputs_for_losses(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = random_detector(), moving_clip(9, batch=2)
    outputs = model.forward_with_outputs(clip, targets=torch.zeros(2, 1))
    assert outputs["embeddings"].shape == (2, 64)  # of the transformer's class token
    frames = torch.stack([model.features(one) for one in clip])
    units = frames / frames.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(outputs["frame_embeddings"], units.mean(1))
    p = model.head(frames).softmax(-1).mean(1)
    torch.testing.assert_close(outputs["frame_log_probabilities"], p.log())
    without = random_detector(temporal=False).forward_with_outputs(clip)
    torch.testing.assert_close(without["embeddings"], without["frame_embeddings"])


def test_details_of_a_clip(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = random_detector(), moving_clip(9, batch=2)
    clip[1, 6:] = clip[1, 5]
    with torch.inference_mode():
        logits, details = model.forward_with_details(clip)
        assert torch.equal(logits, model(clip))
        each = torch.stack([model(one).softmax(-1)[:, 1] for one in clip])
    torch.testing.assert_close(details["frame_p"], each)
    assert details["frames_used"].tolist() == [9, 6]
    torch.testing.assert_close(details["frame_average"], torch.stack([each[0].mean(), each[1, :6].mean()]))
    torch.testing.assert_close(details["frame_p_seconds"], (torch.arange(9) * 2 / 15).expand(2, -1))
    assert model.forward_with_details(clip[:, 0])[1] == {}
    without = random_detector(temporal=False, frame_seconds=0.5)
    assert without.forward_with_details(clip)[1]["frame_p_seconds"][1, :3].tolist() == [0.0, 0.5, 1.0]


def test_half_precision(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = random_detector(), moving_clip(8, batch=2)
    nn.init.normal_(model.temporal.out.weight)  # type: ignore[union-attr]
    expected = model(clip)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(clip)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)
    half = model.bfloat16()
    assert half.encoder.cls_token.dtype == torch.bfloat16
    assert {t.dtype for part in (half.head, half.temporal) for t in part.state_dict().values()} == {torch.float32}  # type: ignore[union-attr]
    found = half(clip)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


@EACH
def test_every_parameter_gets_a_gradient(encoder: str, random_detector: Detectors, moving_clip: Clips) -> None:
    from gasdet_gend.losses import alignment, frame_average, uniformity

    model, clip, labels = random_detector(encoder).train(), moving_clip(8, batch=4), torch.tensor([0, 1, 0, 1])
    nn.init.normal_(model.temporal.out.weight)  # type: ignore[union-attr]
    outputs = model.forward_with_outputs(clip)
    loss = nn.functional.cross_entropy(outputs["logits"], labels) + 0.3 * frame_average(outputs, labels)
    loss = loss + 0.1 * alignment(outputs["embeddings"], labels) + 0.5 * uniformity(outputs["embeddings"], labels)
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


# --- What is trained --------------------------------------------------------------------------------------------------


def layer_norms(module: nn.Module) -> int:
    found = [part for part in module.modules() if isinstance(part, nn.LayerNorm)]
    return sum(p.numel() for part in found for p in part.parameters())


@pytest.mark.parametrize(
    ("encoder", "norms", "all_values"),
    [
        ("clip", 102_400, 303_179_776),
        ("pe", 104_448, 316_102_656),
        ("dinov3", 100_352, 303_079_424),
        ("dinov2", 100_352, 304_367_616),
    ],
)
def test_full_size(encoder: str, norms: int, all_values: int) -> None:
    """The published counts: 50 LayerNorms of 2 x 1024 for CLIP-L; LayerScale is none of them."""
    from gasdet.training.trainable import make_trainable
    from gasdet_gend.plugin import BACKBONES, GEND, GEND_IMAGE
    from gasdet_gend.recipe import GEND_IMAGE as RECIPE

    with torch.device("meta"):
        model = GenD(encoder, temporal=False)
        both = GenD(encoder)
    assert layer_norms(model.encoder) == norms
    assert sum(p.numel() for p in model.encoder.parameters()) == all_values
    stated = next(b for b in BACKBONES if b.name.startswith(ENCODERS[encoder].architecture))
    assert stated.parameters == all_values
    make_trainable(model, RECIPE)
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert sum(trained.values()) == norms + 2 * 1024 + 2
    assert not [name for name in trained if "gamma" in name]
    if encoder == "clip":
        assert norms == 50 * 2 * 1024
        assert sum(p.numel() for p in model.parameters()) == GEND_IMAGE.parameters
        assert sum(p.numel() for p in both.parameters()) == GEND.parameters


def test_layernorm_tuning_learns_and_leaves_the_rest_alone(random_detector: Detectors) -> None:
    """Flat noise against noise in stripes, by the recipe's parameters and losses."""
    from gasdet.training.trainable import make_trainable
    from gasdet_gend.losses import alignment, uniformity
    from gasdet_gend.recipe import GEND_IMAGE as RECIPE

    model, _ = make_trainable(random_detector(temporal=False), RECIPE)
    before = {name: p.clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 2
    x = torch.randint(96, 160, (16, 3, 32, 32), generator=generator).float()
    x[labels == 1, :, ::4] += 40
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    values = []
    for _ in range(25):
        logits, embeddings = model.forward_with_embeddings(x)  # type: ignore[operator]
        loss = nn.functional.cross_entropy(logits, labels)
        values.append(loss.item())
        optimiser.zero_grad()
        (loss + 0.1 * alignment(embeddings, labels) + 0.5 * uniformity(embeddings, labels)).backward()
        optimiser.step()
    assert values[-1] < values[0] - 0.02  # slowly: no temperature scales the logits of unit features
    assert (model(x).argmax(-1) == labels).all()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    norms = {name for name in before if "norm" in name}
    assert moved == {*norms, "head.weight", "head.bias"}


def test_quick_gelu_is_that_of_openai() -> None:
    with torch.device("meta"):
        model = GenD("clip", depth=1)
    x = torch.linspace(-3, 3, 31)
    torch.testing.assert_close(model.encoder.blocks[0].mlp.act(x), x * torch.sigmoid(1.702 * x))


def test_an_encoder_without_weights_fails(moving_clip: Clips) -> None:
    for encoder in ENCODERS:
        with pytest.raises(RuntimeError):
            GenD(encoder, embed_dim=64, depth=2, patch_size=8, img_size=32)(moving_clip(8))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 8, 1, 32, 32), (1, 0, 3, 32, 32), (8, 32)])
def test_other_shapes_are_refused(shape: tuple[int, ...], random_detector: Detectors) -> None:
    with pytest.raises(ValueError, match=r"\[B, T, 3, H, W\]"):
        random_detector()(torch.zeros(shape))


@EACH
def test_sides_that_are_no_multiples_of_the_patch_are_refused(encoder: str, random_detector: Detectors) -> None:
    for shape in ((1, 3, 32, 36), (1, 8, 3, 36, 32), (0, 3, 33, 32)):
        with pytest.raises(ValueError, match=rf"multiples of 8, not {shape[-2]} and {shape[-1]}"):
            random_detector(encoder)(torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder": "resnet50"},
        {"pooling": "mean"},
        {"control": "reverse"},
        {"chunk_frames": 0},
        {"frame_seconds": 0.0},
        {"embed_dim": 65, "num_heads": 2},
        {"temporal_dim": 201},
        {"qkv_bias": True},
    ],
)
def test_unusable_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|belongs to"), torch.device("meta"):
        GenD(**wrong)
