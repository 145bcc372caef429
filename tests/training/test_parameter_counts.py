"""How many parameters a stage trains, and layers that no adapter may be on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from gasdet.errors import PluginError, UsageError
from gasdet.training.recipe import Recipe
from gasdet.training.trainable import adapters, check_trainable, make_trainable, parameter_counts


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        attended: torch.Tensor = self.proj(torch.softmax(q @ k.mT, -1) @ v)
        return attended


class Net(nn.Module):
    """Two blocks with timm's names, tied norms, and a head."""

    not_adaptable: ClassVar[Any] = {}

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"norm": nn.LayerNorm(8), "attn": Attention()}) for _ in range(2))
        self.tied = self.blocks[0]["norm"]  # type: ignore[index]
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block["attn"](block["norm"](x))  # type: ignore[index]
        logits: torch.Tensor = self.head(self.tied(x.mean(1)))
        return logits


def recipe(**changes: Any) -> Recipe:
    return Recipe(builder="m:b", head=("head.",), **changes)


NORMS, HEAD, ATTENTION = 2 * 16, 8 * 2 + 2, 2 * (8 * 24 + 24 + 8 * 8 + 8)
WHOLE = NORMS + HEAD + ATTENTION


@pytest.mark.parametrize(
    ("trainable", "options", "count"),
    [
        ("head", {}, HEAD),
        ("layernorm", {}, NORMS + HEAD),
        ("all", {}, WHOLE),
        ("lora", {"lora": {"rank": 3}}, HEAD + 2 * 3 * ((8 + 24) + (8 + 8))),
        ("lora", {"lora": {"rank": 2, "targets": r".*\.proj"}}, HEAD + 2 * 2 * (8 + 8)),
    ],
)
def test_the_count_is_that_of_what_is_made_trainable(trainable: Any, options: Any, count: int) -> None:
    module = Net()
    before = copy.deepcopy(module.state_dict())
    found = parameter_counts(module, recipe(trainable=trainable, **options))
    assert (found.trained, found.of, found.trainable) == (count, WHOLE, trainable)
    assert str(found) == f"trains {count:,} of {WHOLE:,} parameters ({trainable})"
    assert module.state_dict().keys() == before.keys()  # counting changes nothing
    assert not adapters(module)
    made, groups = make_trainable(module, recipe(trainable=trainable, **options))
    assert sum(p.numel() for p in made.parameters() if p.requires_grad) == count
    assert sum(p.numel() for group in groups for p in group["params"]) == count


def test_a_layer_that_the_model_calls_not_adaptable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Net()
    why = "its weight is used without calling it."
    monkeypatch.setattr(Net, "not_adaptable", {"blocks.1.attn.qkv": why})
    chosen = recipe(trainable="lora")
    for function in (check_trainable, parameter_counts, make_trainable):
        with pytest.raises(UsageError) as caught:
            function(module, chosen)
        assert str(caught.value) == (
            "an adapter on blocks.1.attn.qkv would train nothing: its weight is used without calling it; choose other layers "
            "with lora.targets, e.g. blocks.0.attn.qkv, blocks.0.attn.proj, blocks.1.attn.proj."
        )
    assert not adapters(module)
    others = recipe(trainable="lora", lora={"targets": r".*\.proj"})
    check_trainable(module, others)
    check_trainable(module, recipe(trainable="layernorm"))  # no adapter, no reason to refuse
    assert set(adapters(make_trainable(module, others)[0])) == {"blocks.0.attn.proj", "blocks.1.attn.proj"}


def test_not_adaptable_may_be_a_property_and_must_be_a_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocked(self: Net) -> Mapping[str, str]:
        return {f"blocks.{i}.attn.qkv": "fused" for i in range(len(self.blocks))}

    monkeypatch.setattr(Net, "not_adaptable", property(blocked))
    with pytest.raises(UsageError, match=r"an adapter on blocks\.0\.attn\.qkv would train nothing: fused;"):
        check_trainable(Net(), recipe(trainable="lora"))
    monkeypatch.setattr(Net, "not_adaptable", ["blocks.0.attn.qkv"])
    with pytest.raises(PluginError, match=r"not_adaptable of the model \(Net\) must map names of layers to reasons"):
        check_trainable(Net(), recipe(trainable="lora"))
