"""What is trained, what stays frozen, and low-rank adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gasdet.errors import PluginError, UsageError
from gasdet.training.recipe import Recipe
from gasdet.training.trainable import (
    ModelCaller,
    adapters,
    check_adapters,
    make_trainable,
    merge,
    set_training_mode,
    trained_tensors,
)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(torch.softmax(q @ k.mT, -1) @ v)


class PatchEmbed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, 8, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).mT


class Vit(nn.Module):
    """A transformer with the names of timm's, a BatchNorm and dropout in its trunk, and a head with both."""

    def __init__(self, bypass: bool = False) -> None:
        super().__init__()
        self.bypass = bypass
        self.patch_embed = PatchEmbed()
        self.norm1 = nn.LayerNorm(8)
        self.attn = Attention()
        self.drop = nn.Dropout(0.5)
        self.bn = nn.BatchNorm1d(8)
        self.head = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(self.patch_embed(x))
        x = x + (self._fused(x) if self.bypass else self.attn(x))
        return self.head(self.bn(self.drop(x.mean(1))))

    def _fused(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = nn.functional.linear(x, self.attn.qkv.weight, self.attn.qkv.bias).chunk(3, -1)
        return self.attn.proj(torch.softmax(q @ k.mT, -1) @ v)


def recipe(**fields: Any) -> Recipe:
    return Recipe(builder="a:b", head=("head",), **fields)


def trained(module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.requires_grad}


HEAD = {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}


def test_head_alone() -> None:
    module, groups = make_trainable(Vit(), recipe(trainable="head", learning_rate=0.1))
    assert trained(module) == HEAD
    assert sum(len(group["params"]) for group in groups) == 4


def test_layernorm_trains_scale_and_shift_and_no_batchnorm() -> None:
    module, groups = make_trainable(
        Vit(), recipe(trainable="layernorm", learning_rate=0.1, head_learning_rate=0.5, weight_decay=0.2)
    )
    assert trained(module) == HEAD | {"norm1.weight", "norm1.bias"}
    names = {id(p): name for name, p in module.named_parameters()}
    found = [({names[id(p)] for p in g["params"]}, g["lr"], g["weight_decay"]) for g in groups]
    assert found == [
        ({"head.2.weight"}, 0.5, 0.2),
        (HEAD - {"head.2.weight"}, 0.5, 0.0),
        ({"norm1.weight", "norm1.bias"}, 0.1, 0.0),
    ]


def test_all_trains_all() -> None:
    module, groups = make_trainable(Vit(), recipe(trainable="all"))
    assert trained(module) == {name for name, _ in module.named_parameters()}
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in module.parameters()}


@pytest.mark.parametrize("mode", ["head", "layernorm", "lora", "all"])
def test_frozen_parts_stay_in_eval_mode(mode: str) -> None:
    module, _ = make_trainable(Vit(), recipe(trainable=mode, lora={"dropout": 0.1}))
    set_training_mode(module, recipe(trainable=mode))
    assert module.head[1].training
    assert module.drop.training == module.bn.training == (mode == "all")
    before = module.bn.running_mean.clone(), module.head[0].running_mean.clone()
    module(torch.randn(4, 3, 8, 8))
    assert torch.equal(module.bn.running_mean, before[0]) == (mode != "all")
    assert not torch.equal(module.head[0].running_mean, before[1])
    assert ("bn.running_mean" in trained_tensors(module, recipe(trainable=mode))) == (mode == "all")
    assert "head.0.running_mean" in trained_tensors(module, recipe(trainable=mode))


def test_lora_adapts_linear_layers_of_that_name_only() -> None:
    lora = {"rank": 2, "targets": r".*proj|.*\.qkv|.*head.*"}
    module, _ = make_trainable(Vit(), recipe(trainable="lora", lora=lora))
    assert set(adapters(module)) == {"attn.qkv", "attn.proj"}, "no convolution, and the head is trained itself"
    low_rank = sum(p.numel() for name, p in module.named_parameters() if p.requires_grad and "lora" in name)
    assert low_rank == 2 * (8 + 24) + 2 * (8 + 8)
    assert {name for name in trained(module) if "lora" not in name} == HEAD


def test_lora_starts_at_the_model_and_merges_into_it() -> None:
    torch.manual_seed(0)
    plain = Vit().eval()
    x = torch.randn(3, 3, 8, 8)
    before, names = plain(x), set(plain.state_dict())
    module, groups = make_trainable(plain, recipe(trainable="lora", lora={"rank": 2, "alpha": 8}))
    torch.testing.assert_close(module.eval()(x), before)
    set_training_mode(module, recipe(trainable="lora"))
    optimiser = torch.optim.Adam([p for g in groups for p in g["params"]], lr=0.05)
    frozen = module.attn.qkv.get_base_layer().weight.clone()
    for _ in range(3):
        optimiser.zero_grad()
        module(x)[:, 1].sum().backward()
        check_adapters(module)
        optimiser.step()
    assert torch.equal(module.attn.qkv.get_base_layer().weight, frozen)
    after = module.eval()(x)
    assert (after - before).abs().max() > 1e-3
    # the definition: W + alpha / rank * B A
    layer = module.attn.qkv
    expected = frozen + 8 / 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merged = merge(module)
    assert set(merged.state_dict()) == names
    assert type(merged.attn.qkv) is nn.Linear
    torch.testing.assert_close(merged.attn.qkv.weight, expected)
    torch.testing.assert_close(merged(x), after, rtol=1e-5, atol=1e-6)


def test_adapter_that_the_model_goes_past_is_found() -> None:
    module, _ = make_trainable(Vit(bypass=True), recipe(trainable="lora", lora={"targets": r"attn\.(qkv|proj)"}))
    module(torch.randn(3, 3, 8, 8)).sum().backward()
    with pytest.raises(UsageError, match=r"the adapter on attn\.qkv gets no gradient"):
        check_adapters(module)


def test_targets_that_match_nothing_are_refused() -> None:
    message = "no Linear layer outside the head has a name like 'proj'; there are: attn.qkv, attn.proj"
    with pytest.raises(UsageError, match=message):
        make_trainable(Vit(), recipe(trainable="lora", lora={"targets": "proj"}))


def test_module_without_the_parts_is_refused() -> None:
    with pytest.raises(PluginError, match="no parameters of a head under tail"):
        make_trainable(Vit(), Recipe(builder="a:b", head=("tail",)))
    with pytest.raises(UsageError, match="no LayerNorm"):
        make_trainable(nn.Sequential(), Recipe(builder="a:b", head=("head",), trainable="layernorm"))


def test_caller_takes_the_method_that_is_needed() -> None:
    class Offers(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def classify(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

        def forward_with_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + 2, x + 3

        def classify_with_outputs(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
            return {"logits": x + 4, "embeddings": x + 5, "targets": targets}

    class OffersOutputs(nn.Module):
        def forward_with_outputs(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
            return {"logits": x + 6}

    def called(module: nn.Module | None = None, **options: bool) -> Any:
        return ModelCaller(module or Offers(), **options)(torch.zeros(()), torch.ones(()))

    assert called(from_features=False) == {"logits": 0}
    assert called(from_features=True) == {"logits": 1}
    assert called(from_features=False, with_embeddings=True) == {"logits": 2, "embeddings": 3}
    assert called(from_features=True, with_outputs=True) == {"logits": 4, "embeddings": 5, "targets": 1}
    assert called(from_features=True, with_embeddings=True)["embeddings"] == 5, "its outputs have embeddings"
    assert called(OffersOutputs(), from_features=False, with_outputs=True) == {"logits": 6}
    for options, message in (
        ({"from_features": False, "with_outputs": True}, "offers no forward_with_outputs"),
        ({"from_features": True, "with_embeddings": True, "module": OffersOutputs()}, "no classify_with_embeddings"),
        ({"from_features": False, "with_embeddings": True, "module": OffersOutputs()}, "have no embeddings"),
    ):
        with pytest.raises(PluginError, match=message):
            called(**options)  # type: ignore[arg-type]


def test_outputs_that_are_not_kept_are_detached() -> None:
    class Outputs(nn.Module):
        def forward_with_outputs(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
            return {"logits": x * 2, "told": x * 3}

    caller = ModelCaller(Outputs(), from_features=False, with_outputs=True)
    caller.kept = frozenset({"told"})
    found = caller(torch.ones(1, requires_grad=True))
    assert {name: (value.item(), value.requires_grad) for name, value in found.items()} == {
        "logits": (2, False),
        "told": (3, True),
    }
