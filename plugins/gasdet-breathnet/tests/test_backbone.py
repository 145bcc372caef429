"""Published weights under three sets of names, against transformers' own model; files that do not fit. RANDOM weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from safetensors.torch import save_file

from gasdet_breathnet.backbone import build, read_backbone
from gasdet_breathnet.model import BreathNet, normalised

Speech = Callable[..., torch.Tensor]
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def published() -> Any:
    """transformers' model of XLS-R's kind (layer-norm feature extractor, stable layer norm), tiny, with RANDOM weights."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8,) * 7,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
        num_codevectors_per_group=4,
        codevector_dim=8,
        proj_codevector_dim=8,
    )
    torch.manual_seed(0)
    model = transformers.Wav2Vec2ForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture(scope="module")
def hub(published: Any) -> Tensors:
    """As the hub's file: names of before torch 2, with everything that only the pretraining uses."""
    renamed = {"original0": "weight_g", "original1": "weight_v"}
    found = {}
    for name, tensor in published.state_dict().items():
        for new, old in renamed.items():
            name = name.replace(f"parametrizations.weight.{new}", old)
        found[name] = tensor.clone().contiguous()
    return found


def to_fairseq(hub: Tensors) -> Tensors:
    """The same under fairseq's names, by plain replacements from transformers' side."""
    found = {}
    for name, tensor in hub.items():
        name = name.removeprefix("wav2vec2.")
        if name.startswith(("quantizer", "project_")):
            continue
        if name.startswith("feature_extractor"):
            name = name.replace(".conv.", ".0.").replace(".layer_norm.", ".2.1.")
        for new, old in (
            ("feature_projection.projection.", "post_extract_proj."),
            ("feature_projection.layer_norm.", "layer_norm."),
            ("encoder.pos_conv_embed.conv.", "encoder.pos_conv.0."),
            (".attention.", ".self_attn."),
            (".feed_forward.intermediate_dense.", ".fc1."),
            (".feed_forward.output_dense.", ".fc2."),
            ("masked_spec_embed", "mask_emb"),
        ):
            name = name.replace(new, old)
        parts = name.split(".")
        if parts[:2] == ["encoder", "layers"] and parts[3] == "layer_norm":
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        found[name] = tensor
    extra = {
        "quantizer.vars": torch.zeros(1, 8, 4),
        "project_q.weight": torch.zeros(8, 8),
        "final_proj.bias": torch.zeros(8),
    }
    return {**found, **extra}


def to_torchaudio(published: Any) -> Tensors:
    """The same through torchaudio's own importer, which knows neither this plugin nor its names."""
    model = torchaudio.models.wav2vec2.utils.import_huggingface_model(published.wav2vec2)
    return {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}


def written(folder: Path, tensors: Tensors, name: str = "xlsr.safetensors") -> Path:
    save_file(tensors, str(folder / name))
    return folder / name


STYLES = ("hub", "hub, torch 2", "hub, no prefix", "fairseq", "fairseq, prefix", "torchaudio", "torchaudio, old")
"""Each way in which the same encoder is published."""


def styled(style: str, hub: Tensors, published: Any) -> Tensors:
    own = {k: v for k, v in hub.items() if k.startswith("wav2vec2.")}
    made: dict[str, Callable[[], Tensors]] = {
        "hub": lambda: hub,
        "hub, torch 2": lambda: {k: v.clone().contiguous() for k, v in published.state_dict().items()},
        "hub, no prefix": lambda: {k.removeprefix("wav2vec2."): v for k, v in own.items()},
        "fairseq": lambda: to_fairseq(hub),
        "fairseq, prefix": lambda: {f"w2v_model.{k}": v for k, v in to_fairseq(hub).items()},
        "torchaudio": lambda: to_torchaudio(published),
        "torchaudio, old": lambda: {
            k.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): v
            for k, v in to_torchaudio(published).items()
        },
    }
    return made[style]()


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_what_transformers_gives(
    style: str, hub: Tensors, published: Any, tmp_path: Path, speech: Speech, sizes: dict[str, Any]
) -> None:
    model = build(written(tmp_path, styled(style, hub, published)), **sizes).eval()
    assert isinstance(model, BreathNet)
    x = normalised(speech())
    with torch.no_grad():
        expected = published.wav2vec2(x, output_hidden_states=True)
        # all weight on the last layer: the encoder's published output
        model.layer_weights.copy_(torch.tensor([-40.0, 40.0]))
        torch.testing.assert_close(model.temporal_features(x), expected.last_hidden_state, rtol=1e-4, atol=1e-5)
        first = model.backbone.extract_features(x)[0][0]
        torch.testing.assert_close(first, expected.hidden_states[1], rtol=1e-4, atol=1e-5)


def test_the_normalisation_is_the_published_feature_extractors(speech: Speech) -> None:
    transformers = pytest.importorskip("transformers")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=16_000)
    x = speech() * 0.001
    expected = extractor(list(x.numpy()), sampling_rate=16_000, return_tensors="pt").input_values
    torch.testing.assert_close(normalised(x), expected, rtol=1e-3, atol=1e-4)


CHANGES: dict[str, tuple[Callable[[Tensors, str], object], str]] = {
    "missing": (lambda tensors, name: tensors.pop(name), "1 missing: encoder.transformer.layers.1."),
    "extra": (lambda tensors, name: tensors.update({"lm_head.weight": torch.zeros(3)}), "1 unexpected: lm_head.weight"),
    "misshapen": (
        lambda tensors, name: tensors.update({name: torch.zeros(7)}),
        r"1 misshapen: .* \[7\] instead of \[16",
    ),
    "no position": (
        lambda tensors, name: tensors.pop(next(k for k in tensors if k.endswith(("weight_g", "original0")))),
        "1 missing: encoder.transformer.pos_conv_embed.conv.weight; 1 unexpected: encoder.transformer.pos_conv_embed",
    ),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_does_not_fit(
    style: str,
    change: str,
    hub: Tensors,
    published: Any,
    tmp_path: Path,
    sizes: dict[str, Any],
) -> None:
    tensors = dict(styled(style, hub, published))
    name = next(k for k in tensors if ".layers.1." in k and "k_proj.weight" in k)
    make, message = CHANGES[change]
    make(tensors, name)
    with pytest.raises(ValueError, match=message):
        build(written(tmp_path, tensors), **sizes)


def test_another_size_than_the_files_is_refused(hub: Tensors, tmp_path: Path, sizes: dict[str, Any]) -> None:
    path = written(tmp_path, hub)
    for other in ({"ffn_dim": 32}, {"num_layers": 3}, {"conv_dim": 4}):
        with pytest.raises(ValueError, match="does not fit the model"):
            build(path, **{**sizes, **other})


def test_half_precision_files_load_as_float32(hub: Tensors, tmp_path: Path) -> None:
    path = written(tmp_path, {name: tensor.half() for name, tensor in hub.items()})
    assert {tensor.dtype for tensor in read_backbone(path).values()} == {torch.float32}


@pytest.mark.parametrize("bad", [torch.ones(16, dtype=torch.int8), torch.full((16,), torch.nan)], ids=["int8", "nan"])
def test_what_weights_cannot_be_is_refused(
    bad: torch.Tensor, hub: Tensors, tmp_path: Path, sizes: dict[str, Any]
) -> None:
    name = next(k for k, t in hub.items() if "projection.bias" in k)
    with pytest.raises(ValueError, match=r"whole numbers, NaN or infinities where weights belong: .*projection\.bias"):
        build(written(tmp_path, {**hub, name: bad}), **sizes)


def test_other_files_are_told_apart(tmp_path: Path, hub: Tensors, sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no wav2vec 2\.0 encoder.*it begins with weight"):
        build(written(tmp_path, {"weight": torch.zeros(2)}), **sizes)
    with pytest.raises(ValueError, match=r"no wav2vec 2\.0 encoder .* no tensor"):
        build(written(tmp_path, {}), **sizes)
    twice = {**hub, "feature_projection.projection.bias": torch.zeros(16)}
    with pytest.raises(ValueError, match="two sets of tensors"):
        build(written(tmp_path, twice), **sizes)
    torch.save({"w": torch.zeros(1)}, tmp_path / "xlsr2_300m.pt")
    with pytest.raises(ValueError, match=r"is a pickle.*convert it once, outside of gasdet"):
        build(tmp_path / "xlsr2_300m.pt", **sizes)
    (tmp_path / "page.safetensors").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="no safetensors file"):
        build(tmp_path / "page.safetensors", **sizes)


def test_the_published_size_is_never_silently_random(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs its weights file"):
        build(None)
    assert isinstance(build(None, **sizes), BreathNet)


@pytest.mark.slow
def test_the_readmes_conversion_of_a_pickle(hub: Tensors, tmp_path: Path, sizes: dict[str, Any]) -> None:
    """Its lines, on files as fairseq (nested) and torchaudio (plain) publish them."""
    import re
    import subprocess
    import sys

    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    (snippet,) = (text for text in re.findall(r"```python\n(.*?)```", readme, re.S) if "xlsr2_300m.pt" in text)
    torch.save({"args": None, "cfg": {"seed": 1}, "model": to_fairseq(hub)}, tmp_path / "xlsr2_300m.pt")
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True)
    build(tmp_path / "xls-r-300m.safetensors", **sizes)
