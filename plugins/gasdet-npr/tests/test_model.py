"""The network: its residual, its published layout, its inputs and its outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gasdet_npr.model import NPR, residual

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def published_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of NPR.pth, written down by hand from ResNet-50's: 64 channels, 3 and 4 bottlenecks, 512 to 1."""

    def norm(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
        vectors = {f"{prefix}.{n}": (width,) for n in ("weight", "bias", "running_mean", "running_var")}
        return {**vectors, f"{prefix}.num_batches_tracked": ()}

    layout: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 3, 3), **norm("bn1", 64)}
    channels = 64
    for stage, (width, count) in enumerate(((64, 3), (128, 4)), 1):
        for block in range(count):
            at = f"layer{stage}.{block}"
            layout[f"{at}.conv1.weight"] = (width, channels, 1, 1)
            layout[f"{at}.conv2.weight"] = (width, width, 3, 3)
            layout[f"{at}.conv3.weight"] = (4 * width, width, 1, 1)
            layout |= norm(f"{at}.bn1", width) | norm(f"{at}.bn2", width) | norm(f"{at}.bn3", 4 * width)
            if block == 0:
                layout[f"{at}.downsample.0.weight"] = (4 * width, channels, 1, 1)
                layout |= norm(f"{at}.downsample.1", 4 * width)
            channels = 4 * width
    return {**layout, "fc1.weight": (1, 512), "fc1.bias": (1,)}


def test_names_and_shapes_are_those_of_the_published_checkpoint() -> None:
    found = {name: tuple(tensor.shape) for name, tensor in NPR().state_dict().items()}
    assert found == published_layout()


def test_parameters_are_the_stated_1_44_million() -> None:
    from gasdet_npr.plugin import NPR as SPEC

    weights_only = {k: s for k, s in published_layout().items() if "running" not in k and "num_batches" not in k}
    by_hand = sum(int(np.prod(shape)) for shape in weights_only.values())
    assert sum(p.numel() for p in NPR().parameters()) == by_hand == SPEC.parameters == 1_437_761


def test_residual_by_hand() -> None:
    pixels = torch.tensor([[10.0, 13.0, 7.0, 7.0], [9.0, 20.0, 5.0, 8.0]]).view(1, 1, 2, 4)
    expected = torch.tensor([[0.0, 3.0, 0.0, 0.0], [-1.0, 10.0, -2.0, 1.0]]).view(1, 1, 2, 4)
    assert torch.equal(residual(pixels), expected)


def test_residual_is_what_nearest_neighbour_resampling_leaves() -> None:
    pixels = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    small = nn.functional.interpolate(pixels, scale_factor=0.5, mode="nearest", recompute_scale_factor=True)
    assert torch.equal(residual(pixels), pixels - nn.functional.interpolate(small, scale_factor=2.0, mode="nearest"))


def test_a_doubled_picture_has_no_residual() -> None:
    pixels = torch.rand(1, 3, 8, 8).repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert not residual(pixels).any()


def test_the_network_sees_two_thirds_of_the_normalised_residual() -> None:
    x = torch.randint(0, 256, (2, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    normalised = (x / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    expected = residual(normalised) * 2 / 3
    torch.testing.assert_close(NPR().network_input(x), expected, rtol=1e-5, atol=1e-6)
    both = NPR(input="both").network_input(x)
    torch.testing.assert_close(both, torch.cat([expected, normalised], 1), rtol=1e-5, atol=1e-6)


@pytest.fixture
def small() -> NPR:
    torch.manual_seed(0)
    return NPR(blocks=(1, 2), width=8).eval()


def test_bytes_and_floats_give_the_same(small: NPR) -> None:
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(small(x), small(x.float()))


def test_odd_sizes_lose_their_last_row_and_column(small: NPR) -> None:
    x = torch.randint(0, 256, (1, 3, 33, 47), dtype=torch.uint8)
    assert torch.equal(small(x), small(x[..., :32, :46]))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 1, 32), (1, 2, 3, 32, 32)])
def test_other_shapes_are_refused(small: NPR, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        small(torch.zeros(shape))


def test_logits_are_zero_and_z(small: NPR) -> None:
    logits, embeddings = small.forward_with_embeddings(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    z = embeddings @ small.fc1.weight.T + small.fc1.bias
    assert logits.dtype == torch.float32
    assert not logits[:, 0].any()
    torch.testing.assert_close(logits[:, 1:], z)
    torch.testing.assert_close(logits.softmax(-1)[:, 1:], z.sigmoid())
    labels = torch.tensor([0, 1, 1])
    binary = nn.functional.binary_cross_entropy_with_logits(z[:, 0], labels.float())
    torch.testing.assert_close(nn.functional.cross_entropy(logits, labels), binary)


@pytest.mark.parametrize(("stride", "pool", "side"), [(2, True, 4), (2, False, 8), (1, True, 8), (1, False, 16)])
def test_the_stem_decides_the_resolution(stride: int, pool: bool, side: int) -> None:
    model = NPR(stem_stride=stride, stem_pool=pool, blocks=(1, 1), width=4).eval()
    sizes: list[torch.Size] = []
    model.layer2.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape))
    model(torch.zeros(1, 3, 32, 32))
    assert sizes == [torch.Size([1, 32, side, side])]


def test_three_stages() -> None:
    model = NPR(blocks=(1, 1, 1), width=4).eval()
    assert model.fc1.in_features == 4 * 4 * 4
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize(
    "wrong", [{"input": "pixels"}, {"stem_stride": 3}, {"width": 0}, {"blocks": []}, {"blocks": [2, 0]}]
)
def test_unusable_arguments(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NPR(**wrong)  # type: ignore[arg-type]


def test_runs_in_half_precision_and_channels_last(small: NPR) -> None:
    x = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected = small(x)
    torch.testing.assert_close(small.to(memory_format=torch.channels_last)(x), expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = small(x)
    assert autocast.dtype == torch.float32
    torch.testing.assert_close(autocast, expected, rtol=0.05, atol=0.05)
    half = small.to(torch.bfloat16)(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=0.05, atol=0.05)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = NPR(blocks=(1, 1), width=4, stem_pool=False, input="both").train()
    x = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 0, 1])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
