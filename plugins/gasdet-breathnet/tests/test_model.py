"""The network as a whole: its frames, inputs, outputs, layer sum, crop, precision and gradients. Weights are RANDOM."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gasdet_breathnet.model import BreathNet, RunningNorm, frame_count, normalised, random_crop

Make = Callable[..., BreathNet]
Speech = Callable[..., torch.Tensor]


@pytest.mark.parametrize(
    ("samples", "frames"), [(64_600, 201), (64_000, 199), (96_000, 299), (16_000, 49), (400, 1), (719, 1), (720, 2)]
)
@pytest.mark.parametrize("frequency", ["stft", "lfcc", "sinc"])
def test_both_branches_have_the_published_number_of_frames(
    samples: int, frames: int, frequency: str, tiny: Make, speech: Speech
) -> None:
    model = tiny(frequency=frequency)
    x = normalised(speech(samples, batch=1))
    assert frame_count(samples) == frames
    assert model.temporal_features(x).shape == (1, frames, 16)
    assert model.frequency(x, torch.float32).shape == (1, frames, 6)
    assert model(x).shape == (1, 2)


def test_the_waveform_is_normalised_by_clip(tiny: Make, speech: Speech) -> None:
    x = speech()
    found = normalised(x * 0.5 + 0.3)
    torch.testing.assert_close(found, nn.functional.layer_norm(x, x.shape[1:], eps=1e-7), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.mean(-1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.var(-1, correction=0), torch.ones(2), atol=1e-2, rtol=0)
    model, raw = tiny(), tiny(normalize=False)
    louder = 4.0 * x + 0.1
    torch.testing.assert_close(model(louder), model(x), rtol=1e-3, atol=1e-3)
    assert (raw(louder) - raw(x)).abs().max() > 1e-3
    torch.testing.assert_close(raw(normalised(x)), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_layer_sum_with_all_weight_on_one_layer_is_that_layer(layer: int, tiny: Make, speech: Speech) -> None:
    model = tiny()
    x = normalised(speech())
    with torch.no_grad():
        model.layer_weights.copy_(torch.full((2,), -40.0)).index_fill_(0, torch.tensor([layer]), 40.0)
        layers, _ = model.backbone.extract_features(x)
        expected = model.backbone.encoder.transformer.layer_norm(layers[layer])
        torch.testing.assert_close(model.temporal_features(x), expected)


def test_the_layer_sum_is_softmax_weighted(tiny: Make, speech: Speech) -> None:
    model = tiny()
    x = normalised(speech())
    first, second = model.backbone.extract_features(x)[0]
    a, b = model.layer_weights.exp() / model.layer_weights.exp().sum()
    expected = model.backbone.encoder.transformer.layer_norm(a * first + b * second)
    torch.testing.assert_close(model.temporal_features(x), expected)


def test_a_recording_does_not_depend_on_its_batch(tiny: Make, speech: Speech) -> None:
    model, x = tiny(), speech(batch=4)
    torch.testing.assert_close(model(x), torch.cat([model(row[None]) for row in x]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frequency", ["stft", "lfcc", "sinc"])
@pytest.mark.parametrize("samples", [400, 16_000])
def test_silence_and_constants_have_finite_logits(frequency: str, samples: int, tiny: Make) -> None:
    model = tiny(frequency=frequency).train()
    x = torch.stack([torch.zeros(samples), torch.full((samples,), 0.7), torch.eye(1, samples)[0], -torch.ones(samples)])
    outputs = model.forward_with_outputs(x)
    assert all(torch.isfinite(tensor).all() for tensor in outputs.values())
    outputs["logits"].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("shape", [(1, 399), (1, 0), (16_000,), (1, 2, 16_000)])
def test_other_shapes_are_refused_in_one_sentence(shape: tuple[int, ...], tiny: Make) -> None:
    with pytest.raises(ValueError, match=r"takes mono recordings \[B, N\] of at least 400 samples"):
        tiny()(torch.zeros(shape))


def test_embeddings_have_length_one_and_outputs_agree(tiny: Make, speech: Speech) -> None:
    model, x = tiny(), speech()
    outputs = model.forward_with_outputs(x)
    logits, embeddings = model.forward_with_embeddings(x)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    assert torch.equal(outputs["logits"], logits)
    assert torch.equal(model(x), logits)
    assert (outputs["breath_targets"] == -1).all()


def test_details_are_breath_over_time(tiny: Make, speech: Speech) -> None:
    model, x = tiny(), speech(96_000)
    logits, details = model.forward_with_details(x)
    assert torch.equal(logits, model(x))
    assert details.keys() == {"breath", "breath_seconds"}
    torch.testing.assert_close(details["breath"], model.forward_with_outputs(x)["breath_logits"].sigmoid())
    seconds = details["breath_seconds"]
    assert seconds.shape == details["breath"].shape == (2, 299)
    # the first frame hears 0 to 25 ms, each next one 20 ms later, the last one ends within the recording
    assert seconds[0, :2].tolist() == pytest.approx([0.0125, 0.0325])
    assert 5.97 < seconds[0, -1].item() + 0.0125 <= 6.0


# --- Crop -------------------------------------------------------------------------------------------------------------


def test_the_crop_takes_waveform_and_targets_from_one_place() -> None:
    """Samples and targets that name their own position come out with the same one."""
    x = torch.arange(96_000.0).repeat(64, 1)
    targets = torch.arange(299.0).repeat(64, 1)
    torch.manual_seed(0)
    cropped, of_crop = random_crop(x, targets, 64_600)
    assert cropped.shape == (64, 64_600)
    assert of_crop.shape == (64, 201)
    assert torch.equal(cropped[:, 0], of_crop[:, 0] * 320)
    assert torch.equal(cropped, cropped[:, :1] + torch.arange(64_600))
    starts = set(of_crop[:, 0].long().tolist())
    assert len(starts) > 20
    assert 0 <= min(starts) < 15 < 80 < max(starts) <= (96_000 - 64_600) // 320


def test_training_crops_and_scoring_does_not(tiny: Make, speech: Speech) -> None:
    model, x = tiny(window=6_400), speech(16_000)
    targets = torch.zeros(2, 49)
    assert model.forward_with_outputs(x)["breath_logits"].shape == (2, 49)
    model.train()
    outputs = model.forward_with_outputs(x, targets)
    assert outputs["breath_logits"].shape == outputs["breath_targets"].shape == (2, 19)
    assert model.forward_with_outputs(x[:, :6_400])["breath_logits"].shape == (2, 19)


def test_targets_of_another_length_are_refused(tiny: Make, speech: Speech) -> None:
    with pytest.raises(ValueError, match=r"targets must be \[2, 49\]"):
        tiny().forward_with_outputs(speech(), torch.zeros(2, 50))


# --- Precision and gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", ["stft", "lfcc", "sinc"])
def test_runs_in_half_precision(frequency: str, tiny: Make, speech: Speech) -> None:
    model, x = tiny(frequency=frequency), speech()
    expected = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = model(x)
    torch.testing.assert_close(autocast, expected, rtol=0.05, atol=0.05)
    half = model.bfloat16()
    assert half.head.classifier.weight.dtype == torch.float32
    assert half.frequency.blocks[0][0].weight.dtype == torch.bfloat16
    found = half(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_every_parameter_gets_a_gradient(tiny: Make, speech: Speech) -> None:
    model = tiny().train()
    outputs = model.forward_with_outputs(speech(), torch.ones(2, 49))
    loss = (
        nn.functional.cross_entropy(outputs["logits"], torch.tensor([0, 1])) + outputs["breath_logits"].square().mean()
    )
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"frequency": "cqt"},
        {"n_fft": 256},
        {"n_fft": 401},
        {"window": 399},
        {"num_heads": 3},
        {"pos_groups": 5},
        {"channels": ()},
        {"fused_dim": 0},
        {"bands": 0},
    ],
)
def test_unusable_arguments(wrong: dict[str, object], tiny: Make) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}|size"):
        tiny(**wrong)


# --- The running standardisation --------------------------------------------------------------------------------------


def test_pooled_channels_are_standardised_by_running_averages() -> None:
    """At first plain means over all batches so far; then each new batch has a share of 5 %; nothing changes in eval mode."""
    norm = RunningNorm(3).train()
    batches = [2.0 * torch.randn(8, 3, generator=torch.Generator().manual_seed(k)) + 5.0 for k in range(40)]
    for batch in batches[:10]:
        norm(batch)
    torch.testing.assert_close(norm.mean, torch.cat(batches[:10]).mean(0))
    before = norm.mean.clone()
    for batch in batches[10:20]:
        norm(batch)
    for number, batch in enumerate(batches[20:], start=20):
        before = norm.mean.clone()
        norm(batch)
        torch.testing.assert_close(norm.mean, 0.95 * before + 0.05 * batch.mean(0))
        assert int(norm.seen) == number + 1
    assert ((norm.var.sqrt() - 2.0).abs() < 0.5).all()
    norm.eval()
    state = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    found = norm(batches[0])
    torch.testing.assert_close(found, (batches[0] - state["mean"]) / (state["var"] + 1e-4).sqrt())
    assert all(torch.equal(tensor, state[name]) for name, tensor in norm.state_dict().items())


def test_a_batch_of_one_can_be_trained_on(tiny: Make, speech: Speech) -> None:
    model = tiny().train()
    loss = model(speech(batch=1))[:, 0].sum()
    loss.backward()
    assert torch.isfinite(loss)
