"""Adapters: that every one of them changes the logits and learns, how many parameters there are, and that they merge."""

from __future__ import annotations

import dataclasses
import re
from functools import partial

import pytest
import torch
from torch import nn

from gasdet.training.trainable import adapters, check_adapters, make_trainable, merge
from gasdet_dinov3.model import BACKBONES, DINOV2, DINOV3, Architecture, DINOv3
from gasdet_dinov3.recipe import ATTENTION
from gasdet_dinov3.recipe import DINOV3 as RECIPE

QKV = r"backbone\.blocks\.\d+\.attn\.qkv"
ATTENTION_AND_MLP = r"backbone\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc1_g|fc1_x|fc2))"
SMALL = Architecture(DINOV3, embed_dim=32, depth=2, num_heads=2, patch_size=16)
KINDS = {
    "S": SMALL,
    "S+": dataclasses.replace(SMALL, swiglu=True),
    "DINOv2": Architecture(DINOV2, embed_dim=32, depth=2, num_heads=2, patch_size=14, registers=4, grid=3),
}
"""How many Linear layers of a block are adapted by ATTENTION_AND_MLP: S+ has one more, its MLP being gated."""


def prepared(architecture: Architecture, targets: str, rank: int = 8) -> DINOv3:
    torch.manual_seed(0)
    model = DINOv3(architecture).eval()
    for name, parameter in model.backbone.named_parameters():
        if "gamma" in name:  # as small as published, a change of a block would drown in rounding
            nn.init.ones_(parameter)
    recipe = dataclasses.replace(RECIPE, lora={"rank": rank, "dropout": 0.0, "targets": targets})
    make_trainable(model, recipe)
    return model


def pictures(architecture: Architecture) -> torch.Tensor:
    side = 2 * architecture.patch_size
    return torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "count"), [("S", 8), ("S+", 10), ("DINOv2", 8)])
def test_every_adapter_changes_the_logits_and_gets_a_gradient(kind: str, count: int) -> None:
    model = prepared(KINDS[kind], ATTENTION_AND_MLP)
    x = pictures(KINDS[kind])
    found = adapters(model)
    assert len(found) == count
    with torch.no_grad():
        untouched = model(x)
        for name, adapter in found.items():
            weight = adapter.lora_B["default"].weight
            nn.init.normal_(weight, std=0.5)
            assert (model(x) - untouched).abs().max() > 1e-4, f"{name} changes nothing"
            nn.init.zeros_(weight)
            torch.testing.assert_close(model(x), untouched)
        for adapter in found.values():
            nn.init.normal_(adapter.lora_B["default"].weight, std=0.1)
    nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 0, 1])).backward()
    check_adapters(model)
    for name, adapter in found.items():
        for part in (adapter.lora_A, adapter.lora_B):
            assert part["default"].weight.grad.abs().max() > 0, f"{name} does not learn"


@pytest.mark.parametrize("targets", [QKV, ATTENTION, ATTENTION_AND_MLP])
def test_the_backbone_gets_no_gradient_but_through_adapters_and_the_head_does(targets: str) -> None:
    model = prepared(SMALL, targets)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n in trained if not n.startswith("head.")} == {n for n, _ in model.named_parameters() if "lora_" in n}
    assert {n for n, _ in model.named_parameters() if n.startswith("head.")} <= trained


@pytest.mark.parametrize(
    ("targets", "layers", "parameters"),
    [(QKV, 12, 147_456), (ATTENTION, 24, 221_184), (ATTENTION_AND_MLP, 48, 589_824)],
)
def test_parameters_of_dinov3_small_at_rank_8(targets: str, layers: int, parameters: int) -> None:
    with torch.device("meta"):
        model = DINOv3(BACKBONES["vit_small_patch16_dinov3"])
    recipe = dataclasses.replace(RECIPE, lora={"rank": 8, "targets": targets})
    make_trainable(model, recipe)
    assert len(adapters(model)) == layers
    found = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    assert sum(size for name, size in found.items() if "lora_" in name) == parameters
    assert sum(size for name, size in found.items() if name.startswith("head.")) == 3 * 2 * 384 + 2 * 3 * 384 + 2


def test_the_recipes_own_targets_leave_the_patch_embedding_alone() -> None:
    assert RECIPE.lora["targets"] == ATTENTION
    assert re.fullmatch(ATTENTION, "backbone.patch_embed.proj") is None
    model = prepared(SMALL, ATTENTION)
    assert set(adapters(model)) == {f"backbone.blocks.{n}.attn.{part}" for n in range(2) for part in ("qkv", "proj")}


@pytest.mark.parametrize("kind", KINDS)
def test_merged_adapters_leave_the_names_and_keep_the_logits(kind: str) -> None:
    base = DINOv3(KINDS[kind]).state_dict()
    model = prepared(KINDS[kind], ATTENTION_AND_MLP)
    with torch.no_grad():
        for adapter in adapters(model).values():
            nn.init.normal_(adapter.lora_B["default"].weight, std=0.1)
        expected = model(pictures(KINDS[kind]))
        merge(model)
        torch.testing.assert_close(model(pictures(KINDS[kind])), expected, rtol=1e-4, atol=1e-4)
    assert model.state_dict().keys() == base.keys()
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in base.items()}
    assert not adapters(model)


def test_layernorm_only() -> None:
    with torch.device("meta"):
        model = DINOv3(BACKBONES["vit_small_patch16_dinov3"])
    make_trainable(model, dataclasses.replace(RECIPE, trainable="layernorm"))
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad and not n.startswith("head.")}
    assert len(trained) == 2 * (2 * 12 + 1)
    assert sum(trained.values()) == 2 * 384 * (2 * 12 + 1)


# --- _qkvb ------------------------------------------------------------------------------------------------------------


def test_qkvb_says_that_its_qkv_cannot_be_adapted() -> None:
    qkvb = DINOv3(dataclasses.replace(SMALL, qkv_bias=True))
    assert set(qkvb.not_adaptable) == {"backbone.blocks.0.attn.qkv", "backbone.blocks.1.attn.qkv"}
    assert all("without _qkvb" in reason for reason in qkvb.not_adaptable.values())
    names = {n for n, part in qkvb.named_modules() if isinstance(part, nn.Linear)}
    assert set(qkvb.not_adaptable) <= names
    assert DINOv3(SMALL).not_adaptable == DINOv3(KINDS["DINOv2"]).not_adaptable == {}


def _note(called: set[str], names: dict[nn.Module, str], part: nn.Module, *_: object) -> None:
    called.add(names[part])


def test_the_reason_is_true() -> None:
    """What is called of a qkvb model and of a plain one: the former never calls attn.qkv."""
    for bias in (False, True):
        model = DINOv3(dataclasses.replace(SMALL, qkv_bias=bias)).eval()
        called: set[str] = set()
        names = {part: name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
        for part in names:
            part.register_forward_hook(partial(_note, called, names))
        model(pictures(SMALL))
        assert set(names.values()) - called == set(model.not_adaptable)


def test_training_refuses_adapters_there() -> None:
    from gasdet.errors import GasdetError

    qkvb = DINOv3(dataclasses.replace(SMALL, qkv_bias=True))
    with pytest.raises(GasdetError, match=r"attn\.qkv"):
        make_trainable(qkvb, RECIPE)
    rest = dataclasses.replace(RECIPE, lora={"targets": r"backbone\.blocks\.\d+\.(attn\.proj|mlp\.fc[12])"})
    make_trainable(qkvb, rest)
    assert len(adapters(qkvb)) == 6
