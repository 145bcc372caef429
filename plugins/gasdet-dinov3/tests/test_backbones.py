"""Published weights in every publisher's key names: the same numbers as the publisher's own model, and nothing by halves."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gasdet_dinov3.backbones import read_backbone
from gasdet_dinov3.model import BACKBONES, DINOV2, DINOV3, Architecture, load_model, make_vit
from gasdet_dinov3.training import build, cosine_filters

README = Path(__file__).resolve().parents[1] / "README.md"
SMALL = Architecture(DINOV3, embed_dim=32, depth=2, num_heads=2, patch_size=16)
SMALL_2 = Architecture(DINOV2, embed_dim=32, depth=2, num_heads=2, patch_size=14, registers=0, grid=4)
SIZE = {"embed_dim": 32, "depth": 2, "num_heads": 2}
Tensors = dict[str, Tensor]


def size(kind: str) -> dict[str, int]:
    """What must be stated of the small transformers here, which no one published."""
    return {**SIZE, "grid": 4} if "dinov2" in kind else SIZE


def randomised(module: nn.Module) -> nn.Module:
    """Every tensor large enough to matter: a conversion that mixes two up must show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module.eval()


def saved(tensors: Tensors, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(path))
    return path


@cache
def _timm_tensors(architecture: Architecture) -> Tensors:
    return dict(randomised(make_vit(architecture)).state_dict())


def timm_tensors(architecture: Architecture) -> Tensors:
    return dict(_timm_tensors(architecture))


@cache
def transformers_model(name: str) -> nn.Module:
    import transformers

    common = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if name.startswith("dinov3"):
        gated = name.endswith("gated")
        config = transformers.DINOv3ViTConfig(
            **common, intermediate_size=128, patch_size=16, num_register_tokens=4, use_gated_mlp=gated,
            hidden_act="silu" if gated else "gelu",
        )  # fmt: skip
        return randomised(transformers.DINOv3ViTModel(config))
    if name == "dinov2":
        return randomised(transformers.Dinov2Model(transformers.Dinov2Config(**common, image_size=56, patch_size=14)))
    config_2 = transformers.Dinov2WithRegistersConfig(**common, image_size=56, patch_size=14, num_register_tokens=4)
    return randomised(transformers.Dinov2WithRegistersModel(config_2))


def before_version_5(tensors: Tensors) -> Tensors:
    """The names of transformers 4, which the files on the hub have."""
    swaps = {
        r"^model\.layer\.": "layer.",
        r"^(encoder.*attention)\.q_proj": r"\1.attention.query",
        r"^(encoder.*attention)\.k_proj": r"\1.attention.key",
        r"^(encoder.*attention)\.v_proj": r"\1.attention.value",
        r"^(encoder.*attention)\.o_proj": r"\1.output.dense",
    }
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        for old, new in swaps.items():
            name = re.sub(old, new, name)
        renamed[name] = tensor
    return renamed


def metas_dinov3(architecture: Architecture) -> Tensors:
    """timm's tensors under the names of Meta's checkpoint, written down from its module definitions."""
    swaps = {
        "reg_token": "storage_tokens",
        "gamma_1": "ls1.gamma",
        "gamma_2": "ls2.gamma",
        "fc1_g": "w1",
        "fc1_x": "w2",
    }
    if architecture.swiglu:
        swaps["mlp.fc2"] = "mlp.w3"
    tensors = timm_tensors(dataclasses.replace(architecture, qkv_bias=True))
    made: Tensors = {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}
    for name, tensor in tensors.items():
        for old, new in swaps.items():
            name = name.replace(old, new)
        if name.endswith("q_bias"):
            key_bias = torch.full((32,), 7.0)  # masked by Meta's model, so that its values have no meaning
            fused = torch.cat([tensor, key_bias, tensors[name.replace("q_bias", "v_bias")]])
            made[name.replace("q_bias", "qkv.bias")] = fused
            made[name.replace("q_bias", "qkv.bias_mask")] = torch.ones(96)
        elif not name.endswith("v_bias"):
            made[name] = tensor
    return made


def metas_dinov2(architecture: Architecture) -> Tensors:
    tensors = timm_tensors(architecture)
    tensors["mask_token"] = torch.zeros(1, 32)
    if architecture.registers:
        tensors["register_tokens"] = tensors.pop("reg_token")
        tensors["pos_embed"] = torch.cat([torch.full((1, 1, 32), 0.25), tensors["pos_embed"]], dim=1)
        tensors["cls_token"] = tensors["cls_token"] - 0.25
    return tensors


FILES: dict[str, Callable[[], Tensors]] = {
    "timm dinov3": lambda: timm_tensors(SMALL),
    "timm dinov3 swiglu": lambda: timm_tensors(dataclasses.replace(SMALL, swiglu=True)),
    "timm dinov3 qkvb": lambda: timm_tensors(dataclasses.replace(SMALL, qkv_bias=True)),
    "timm dinov2": lambda: timm_tensors(SMALL_2),
    "timm dinov2 reg4": lambda: timm_tensors(dataclasses.replace(SMALL_2, registers=4)),
    "meta dinov3": lambda: metas_dinov3(SMALL),
    "meta dinov3 swiglu": lambda: metas_dinov3(dataclasses.replace(SMALL, swiglu=True)),
    "meta dinov2": lambda: metas_dinov2(SMALL_2),
    "meta dinov2 reg4": lambda: metas_dinov2(dataclasses.replace(SMALL_2, registers=4)),
    "transformers dinov3": lambda: dict(transformers_model("dinov3").state_dict()),
    "transformers dinov3 gated": lambda: dict(transformers_model("dinov3 gated").state_dict()),
    "transformers dinov2": lambda: dict(transformers_model("dinov2").state_dict()),
    "transformers dinov2 reg4": lambda: dict(transformers_model("dinov2 reg4").state_dict()),
    "transformers 4 dinov3": lambda: before_version_5(dict(transformers_model("dinov3").state_dict())),
    "transformers 4 dinov3 gated": lambda: before_version_5(dict(transformers_model("dinov3 gated").state_dict())),
    "transformers 4 dinov2": lambda: before_version_5(dict(transformers_model("dinov2").state_dict())),
    "transformers 4 dinov2 reg4": lambda: before_version_5(dict(transformers_model("dinov2 reg4").state_dict())),
}


def loaded(path: Path, kind: str) -> nn.Module:
    architecture, tensors = read_backbone(path, size(kind))
    vit = make_vit(architecture)
    vit.load_state_dict(tensors, strict=True)
    return vit.eval()


# --- The same numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", [5, 4])
@pytest.mark.parametrize("name", ["dinov3", "dinov3 gated", "dinov2", "dinov2 reg4"])
def test_transformers_own_model_computes_the_same(name: str, generation: int, tmp_path: Path) -> None:
    theirs = transformers_model(name)
    tensors = dict(theirs.state_dict())
    if generation == 4:
        assert before_version_5(tensors).keys() != tensors.keys()
        tensors = before_version_5(tensors)
    ours = loaded(saved(tensors, tmp_path / "w.safetensors"), name)
    size = (56, 56) if name.startswith("dinov2") else (32, 48)  # each resamples DINOv2's positions in its own way
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(x).last_hidden_state
        torch.testing.assert_close(ours.forward_features(x), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("swiglu", [False, True])
def test_metas_dinov3_computes_the_same_as_timms_qkvb_model(swiglu: bool, tmp_path: Path) -> None:
    architecture = dataclasses.replace(SMALL, swiglu=swiglu, qkv_bias=True)
    ours = loaded(saved(metas_dinov3(architecture), tmp_path / "w.safetensors"), "dinov3")
    expected = timm_tensors(architecture)
    found = ours.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_metas_dinov3_is_what_timm_makes_of_it(tmp_path: Path) -> None:
    """timm's own conversion as the reference."""
    from timm.models.eva import checkpoint_filter_fn

    architecture = dataclasses.replace(SMALL, swiglu=True, qkv_bias=True)
    tensors = metas_dinov3(architecture)
    expected = checkpoint_filter_fn(dict(tensors), make_vit(architecture))
    _, found = read_backbone(saved(tensors, tmp_path / "w.safetensors"), SIZE)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("registers", [0, 4])
def test_metas_dinov2_is_what_timm_makes_of_it(registers: int, tmp_path: Path) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    architecture = dataclasses.replace(SMALL_2, registers=registers)
    tensors = metas_dinov2(architecture)
    expected = checkpoint_filter_fn(dict(tensors), make_vit(architecture))
    _, found = read_backbone(saved(tensors, tmp_path / "w.safetensors"), size("dinov2"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", ["meta dinov3", "transformers dinov2 reg4"])
def test_half_precision_files_are_read_as_float32(kind: str, tmp_path: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in FILES[kind]().items()}
    _, found = read_backbone(saved(tensors, tmp_path / "w.safetensors"), size(kind))
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


# --- Strict -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_a_missing_key_is_named(kind: str, tmp_path: Path) -> None:
    tensors = FILES[kind]()
    bias = next(n for n in tensors if n.endswith("bias") and ".1." in n)
    attention = next(n for n in tensors if ".1." in n and "att" in n and n.endswith("weight"))
    for name in (next(n for n in tensors if n.endswith("cls_token")), bias, attention):
        rest = {n: t for n, t in tensors.items() if n != name}
        with pytest.raises(ValueError, match=rf"1 missing: {re.escape(name)}\.$"):
            read_backbone(saved(rest, tmp_path / "w.safetensors"), size(kind))


@pytest.mark.parametrize("kind", [kind for kind in FILES if "dinov3" in kind])
def test_a_dinov3_without_registers_is_not_complete(kind: str, tmp_path: Path) -> None:
    tensors = FILES[kind]()
    name = next(n for n in tensors if n.endswith(("reg_token", "storage_tokens", "register_tokens")))
    del tensors[name]
    with pytest.raises(ValueError, match=rf"1 missing: {re.escape(name)}\.$"):
        read_backbone(saved(tensors, tmp_path / "w.safetensors"), size(kind))


@pytest.mark.parametrize("kind", [kind for kind in FILES if "reg4" in kind])
def test_a_dinov2_without_its_registers_is_not_the_named_one(kind: str, tmp_path: Path) -> None:
    """Without a name, such a file is not to be told from one that never had registers."""
    tensors = FILES[kind]()
    del tensors[next(n for n in tensors if n.endswith(("reg_token", "register_tokens")))]
    named = dataclasses.replace(SMALL_2, registers=4)
    with pytest.raises(ValueError, match="registers=0, and registers=4 was asked for"):
        read_backbone(saved(tensors, tmp_path / "w.safetensors"), named=named)


@pytest.mark.parametrize("kind", FILES)
def test_an_additional_key_is_named(kind: str, tmp_path: Path) -> None:
    for extra in ("head.weight", "blocks.1.extra", "layer.0.attention.k_proj.bias"):
        tensors = {**FILES[kind](), extra: torch.zeros(3)}
        with pytest.raises(ValueError, match=rf"1 unexpected: {re.escape(extra)}\.$"):
            read_backbone(saved(tensors, tmp_path / "w.safetensors"), size(kind))


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_shape_is_named(kind: str, tmp_path: Path) -> None:
    tensors = FILES[kind]()
    norm, query = (
        next(n for n in tensors if re.search(part, n))
        for part in (r"1\.norm2\.weight", r"1\..*(qkv|k_proj|key)\.weight")
    )
    tensors[norm] = torch.zeros(5)
    tensors[query] = torch.zeros(3, 32)
    with pytest.raises(ValueError, match="2 misshapen") as caught:
        read_backbone(saved(tensors, tmp_path / "w.safetensors"), size(kind))
    full = 96 if "qkv" in query else 32
    assert f"{norm} [5] instead of [32]" in str(caught.value)
    assert f"{query} [3, 32] instead of [{full}, 32]" in str(caught.value)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_without_its_last_block_is_no_shallower_model(kind: str, tmp_path: Path) -> None:
    """Every tensor of the block is gone: by its names the file is complete."""
    tensors = FILES[kind]()
    rest = {name: tensor for name, tensor in tensors.items() if not re.search(r"(blocks|layer)\.1\.", name)}
    assert 0 < len(rest) < len(tensors)
    path = saved(rest, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="with depth=1, and depth=2 was asked for"):
        read_backbone(path, size(kind))
    unstated = {name: value for name, value in size(kind).items() if name != "depth"}
    with pytest.raises(
        ValueError, match=r"depth=1, .* which no published dinov[23] has: blocks or registers are missing"
    ):
        read_backbone(path, unstated)
    assert read_backbone(path, {**size(kind), "depth": 1})[0].depth == 1
    named = dataclasses.replace(SMALL_2 if "dinov2" in kind else SMALL, registers=4 if "reg4" in kind else 0)
    with pytest.raises(ValueError, match="with depth=1, and depth=2 was asked for"):
        read_backbone(path, named=named)


def narrow(backbone: str, **changes: int) -> Tensors:
    """A published transformer's tensors, of no content but in its shapes."""
    architecture = dataclasses.replace(BACKBONES[backbone], **changes)  # type: ignore[arg-type]
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in make_vit(architecture).state_dict().items()}
    return {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}


@pytest.mark.parametrize("backbone", ["vit_small_patch16_dinov3", "vit_small_patch14_reg4_dinov2"])
def test_a_published_one_needs_no_statement_and_must_be_whole(backbone: str, tmp_path: Path) -> None:
    whole = narrow(backbone)
    assert read_backbone(saved(whole, tmp_path / "w.safetensors"))[0] == BACKBONES[backbone]
    without = {name: tensor for name, tensor in whole.items() if not name.startswith("blocks.11.")}
    with pytest.raises(
        ValueError, match=r"depth=11, .* which no published dinov[23] has: blocks or registers are missing"
    ):
        read_backbone(saved(without, tmp_path / "w.safetensors"))


@pytest.mark.parametrize("kind", [kind for kind in FILES if "reg4" in kind or "dinov3" in kind])
def test_two_of_four_registers_are_not_enough(kind: str, tmp_path: Path) -> None:
    tensors = FILES[kind]()
    name = next(n for n in tensors if n.endswith(("reg_token", "storage_tokens", "register_tokens")))
    tensors[name] = tensors[name][:, :2]
    with pytest.raises(
        ValueError, match=r"registers=2, .* which no published|reg.*\[1, 2, 32\] instead of \[1, 4, 32\]"
    ):
        read_backbone(saved(tensors, tmp_path / "w.safetensors"), size(kind))


@pytest.mark.parametrize("kind", FILES)
def test_weights_that_are_no_numbers_are_refused(kind: str, tmp_path: Path) -> None:
    tensors = FILES[kind]()
    first, second = (n for n in tensors if re.search(r"\.[01]\.norm2\.weight", n))
    whole = {**tensors, first: tensors[first].to(torch.int8)}
    with pytest.raises(ValueError, match=rf"1 that are no floating-point numbers: {re.escape(first)} int8\.$"):
        read_backbone(saved(whole, tmp_path / "w.safetensors"), size(kind))
    for value in (float("nan"), float("inf")):
        endless = {**tensors, second: torch.full_like(tensors[second], value)}
        with pytest.raises(ValueError, match=rf"1 with values that are not finite: {re.escape(second)}\.$"):
            read_backbone(saved(endless, tmp_path / "w.safetensors"), size(kind))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no DINOv3 or DINOv2 vision transformer"):
        read_backbone(saved({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.safetensors"))
    torch.save({"cls_token": torch.zeros(1)}, tmp_path / "dinov3.pth")
    with pytest.raises(ValueError, match="is a pickle"):
        read_backbone(tmp_path / "dinov3.pth")
    (tmp_path / "text.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_backbone(tmp_path / "text.safetensors")


# --- Biases that are 0 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["timm dinov3 qkvb", "meta dinov3", "transformers dinov3", "transformers 4 dinov3"])
def test_biases_of_zero_are_left_out_so_that_adapters_work(kind: str, tmp_path: Path) -> None:
    tensors = FILES[kind]()
    with_bias = saved(tensors, tmp_path / "b.safetensors")
    assert read_backbone(with_bias, SIZE)[0].qkv_bias
    with pytest.raises(ValueError, match=r"not 0; name the backbone with _qkvb"):
        read_backbone(with_bias, named=SMALL)
    for name in tensors:
        if name.endswith(("q_bias", "v_bias", "q_proj.bias", "v_proj.bias")):
            tensors[name] = torch.zeros(32)
        if name.endswith("attn.qkv.bias"):
            tensors[name][:32] = tensors[name][64:] = 0
    path = saved(tensors, tmp_path / "z.safetensors")
    architecture, plain = read_backbone(path, SIZE)
    assert not architecture.qkv_bias
    kept, full = read_backbone(path, named=dataclasses.replace(SMALL, qkv_bias=True))
    assert kept.qkv_bias
    x = torch.randn(1, 3, 32, 32)
    outputs = []
    for shape, values in ((architecture, plain), (kept, full)):
        vit = make_vit(shape).eval()
        vit.load_state_dict(values, strict=True)
        outputs.append(vit.forward_features(x))
    torch.testing.assert_close(outputs[0], outputs[1])


# --- The detector before its training ---------------------------------------------------------------------------------


def test_the_file_says_what_it_is_and_a_stated_backbone_must_agree(tmp_path: Path) -> None:
    path = saved(timm_tensors(SMALL), tmp_path / "w.safetensors")
    module = build(path, **SIZE)
    assert module.architecture == SMALL
    for name, tensor in timm_tensors(SMALL).items():
        assert torch.equal(module.backbone.state_dict()[name], tensor)
    assert build(path, backbone="vit_small_patch16_dinov3", **SIZE).architecture == SMALL
    with pytest.raises(ValueError, match="with embed_dim=32, and embed_dim=1024 was asked for"):
        build(path, backbone="vit_large_patch16_dinov3")
    with pytest.raises(ValueError, match="with swiglu=False, and swiglu=True"):
        build(path, backbone="vit_small_plus_patch16_dinov3", **SIZE)
    with pytest.raises(ValueError, match="with patch_size=16, and patch_size=8"):
        build(path, **SIZE, patch_size=8)


def test_no_backbone_is_random_unless_its_size_is_stated() -> None:
    for arguments in ({}, {"head": "patch"}, {"backbone": "vit_base_patch16_dinov3"}):
        with pytest.raises(ValueError, match="needs its weights file"):
            build(None, **arguments)
    small = {"embed_dim": 32, "depth": 1, "num_heads": 2, "patch_size": 8}
    assert build(None, **small).architecture == Architecture(DINOV3, 32, 1, 2, 8)
    plus = build(None, backbone="vit_small_plus_patch16_dinov3", **small)
    assert plus.architecture.swiglu
    second = build(None, backbone="vit_small_patch14_reg4_dinov2", embed_dim=32, depth=1, num_heads=2, grid=4)
    assert second.architecture == dataclasses.replace(SMALL_2, depth=1, registers=4)


def test_what_only_another_head_has_is_refused() -> None:
    small = {"embed_dim": 32, "depth": 1, "num_heads": 2}
    for arguments in ({"share": 0.2}, {"pooling": "topk"}, {"head": "attention", "temperature": 1.0}):
        with pytest.raises(ValueError, match="belong to head=patch, and head="):
            build(None, **small, **arguments)
    for pooling, other in (("topk", {"temperature": 1.0}), ("lse", {"share": 0.1})):
        with pytest.raises(ValueError, match="share belongs to pooling=topk and temperature to pooling=lse"):
            build(None, **small, head="patch", pooling=pooling, **other)


def test_a_file_of_the_training_loads_with_nothing_else(tmp_path: Path) -> None:
    backbone = saved(timm_tensors(SMALL_2), tmp_path / "b.safetensors")
    module = build(backbone, **size("dinov2"), head="patch").eval()
    path = saved(dict(module.state_dict()), tmp_path / "w.safetensors")
    x = torch.randint(0, 256, (2, 3, 28, 42), dtype=torch.uint8)
    assert torch.equal(load_model(str(path))(x), module(x))


def test_what_starts_from_scratch_starts_with_cosines() -> None:
    filters = cosine_filters(8).double()
    assert filters.shape == (192, 3, 8, 8)
    shapes = filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    gram = torch.einsum("acij,bcij->ab", shapes, shapes)
    same_colour = gram[:64, :64]
    torch.testing.assert_close(same_colour, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-5)
    flat = filters.sum((2, 3))
    assert flat[0].abs().min() > 0.01  # the mean brightness
    assert flat[1:64].abs().max() < 1e-5
    module = build(None, embed_dim=96, depth=1, num_heads=4, patch_size=8)
    torch.testing.assert_close(module.backbone.patch_embed.proj.weight[:96].double(), filters[:96], rtol=0, atol=1e-6)
    assert torch.equal(module.backbone.blocks[0].gamma_1, torch.ones(96))


@pytest.mark.parametrize("name", ["dinov3_vits16", "dinov2_vits14"])
def test_the_readmes_conversion_of_metas_pickle(name: str, tmp_path: Path) -> None:
    tensors = metas_dinov3(SMALL) if "v3" in name else metas_dinov2(SMALL_2)
    torch.save(tensors, tmp_path / "checkpoint.pth")
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True)
    architecture, _ = read_backbone(tmp_path / "checkpoint.safetensors", size(name))
    assert architecture.family == name[:6]
