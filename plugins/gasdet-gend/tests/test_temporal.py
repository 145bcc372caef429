"""The transformer over time: it starts at the frames' mean, sees order, and never what repeats the last frame."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from gasdet_gend.model import CONTROLS, FRAME_SECONDS, GenD, TemporalTransformer, padded_tail, time_code

Clips = Callable[..., torch.Tensor]
Detectors = Callable[..., GenD]


def awake(model: GenD) -> GenD:
    """The model with an output of the transformer that is not zero."""
    assert model.temporal is not None
    torch.nn.init.normal_(model.temporal.out.weight, generator=torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize("frames", [8, 16, 24, 32, 64])
def test_it_starts_at_the_frames_mean_for_every_number_of_frames(
    frames: int, random_detector: Detectors, moving_clip: Clips
) -> None:
    model, x = random_detector(), 3 * moving_clip(frames, batch=2)
    each = torch.stack([model.head(model.features(frame)).softmax(-1) for frame in x]).mean(1)
    torch.testing.assert_close(model(x).softmax(-1), each, atol=1e-6, rtol=0)
    assert not torch.allclose(awake(model)(x).softmax(-1), each, atol=1e-3)


def test_the_published_frame_average(random_detector: Detectors, moving_clip: Clips) -> None:
    model, x = random_detector(temporal=False), moving_clip(9)
    frames = torch.cat([model(x[:, t]) for t in range(9)]).softmax(-1)
    torch.testing.assert_close(model(x).softmax(-1)[0], frames.mean(0), atol=1e-6, rtol=0)


def test_frames_that_repeat_the_last_one_have_no_influence(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = awake(random_detector()), moving_clip(10, batch=2)
    padded = torch.cat([clip, clip[:, -1:].expand(-1, 6, -1, -1, -1)], dim=1)
    assert padded_tail(padded).tolist() == [[True] * 10 + [False] * 6] * 2
    torch.testing.assert_close(model(padded), model(clip), atol=1e-5, rtol=0)  # the encoder's rounding is in it
    # whatever stands in their place, the features of such frames are not looked at
    vectors = model.features(padded).view(2, 16, -1)
    expected = model.classify(vectors[:, :10].flatten(1))
    for value in (0.0, 100.0):
        vectors[:, 10:, :-1] = value
        torch.testing.assert_close(model.classify(vectors.flatten(1)), expected, atol=2e-6, rtol=0)


def test_repetitions_before_the_end_count(moving_clip: Clips) -> None:
    clip = moving_clip(6)
    clip[:, 3] = clip[:, 2]
    assert padded_tail(clip).all()
    assert padded_tail(clip[:, :1].expand(-1, 6, -1, -1, -1)).tolist() == [[True, False, False, False, False, False]]
    other = clip[:, 5:].clone()
    other[0, 0, 1, 2, 3] ^= 1
    assert padded_tail(torch.cat([clip, other], 1)).all()


def test_order_counts_once_the_output_is_not_zero(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = random_detector(), moving_clip(12)
    order = torch.tensor([3, 0, 7, 1, 10, 4, 2, 11, 6, 5, 9, 8])
    torch.testing.assert_close(model(clip[:, order]), model(clip), atol=1e-6, rtol=0)
    awake(model)
    assert (model(clip[:, order]) - model(clip)).abs().max() > 1e-2


def test_time_is_in_seconds(random_detector: Detectors, moving_clip: Clips) -> None:
    clip = moving_clip(12)
    fast, slow = (awake(random_detector(frame_seconds=gap)) for gap in (0.05, 0.5))
    assert (fast(clip) - slow(clip)).abs().max() > 1e-3
    assert random_detector().temporal.frame_seconds.item() == pytest.approx(2 / 15) == pytest.approx(FRAME_SECONDS)  # type: ignore[union-attr]


def test_time_code_by_hand() -> None:
    code = time_code(5, torch.tensor(0.25), 6).numpy()
    t = 0.25 * np.arange(5)[:, None]
    angle = 2 * math.pi * np.array([4.0, 0.2, 0.01]) * t
    np.testing.assert_allclose(code, np.concatenate([np.sin(angle), np.cos(angle)], 1), atol=1e-5)


def test_a_frames_token_by_hand() -> None:
    torch.manual_seed(0)
    part = TemporalTransformer(features=5, dim=8, layers=1, frame_seconds=0.1).eval()
    u = torch.nn.functional.normalize(torch.randn(1, 4, 5), dim=-1)
    found = part.tokens(u)[0].detach().double().numpy()
    w, b = part.embed.weight.detach().double().numpy(), part.embed.bias.detach().double().numpy()
    tw, tb = part.time.weight.detach().double().numpy(), part.time.bias.detach().double().numpy()
    v = u[0].double().numpy()

    def normed(x: np.ndarray) -> np.ndarray:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5)

    steps = np.concatenate([np.zeros((1, 5)), np.diff(v, axis=0)])
    for t in range(4):
        length = np.linalg.norm(steps[t])
        cosine = 0.0
        if t >= 2:
            cosine = steps[t] @ steps[t - 1] / (length * np.linalg.norm(steps[t - 1]))
        x = np.concatenate([normed(v[t]), normed(steps[t]), [np.log(length + 1e-4), cosine]])
        code = time_code(4, torch.tensor(0.1), 8)[t].double().numpy()
        np.testing.assert_allclose(found[t], w @ x + b + tw @ code + tb, atol=1e-4)


def test_size() -> None:
    part = TemporalTransformer(features=1024, dim=384, layers=3, frame_seconds=FRAME_SECONDS)
    assert part.embed.weight.shape == (384, 2050)
    assert [block.heads for block in part.blocks] == [6, 6, 6]  # type: ignore[union-attr]
    assert part.blocks[0].mlp[0].out_features == 1536  # type: ignore[index,union-attr]
    own = sum(p.numel() for p in part.parameters())
    by_hand = (2050 + 1) * 384 + 4 * 1024 + 385 * 384 + 384  # embedding, two LayerNorms, time, class token
    by_hand += 3 * (4 * 385 * 384 + 385 * 1536 + 1537 * 384 + 4 * 384) + 2 * 384 + 385 * 2
    assert own == by_hand == 6_264_834
    assert round((own + 2050) / 1e6, 2) == 6.27  # with the linear head on the frames


def test_dropout_and_drop_path_in_training_only(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = awake(random_detector()), moving_clip(8)
    assert torch.equal(model(clip), model(clip))
    model.train()
    torch.manual_seed(0)
    assert len({model(clip)[0, 0].item() for _ in range(4)}) == 4
    part = model.temporal.blocks[0].drop_path  # type: ignore[union-attr,index]
    kept = torch.stack([part(torch.ones(2000, 3)) for _ in range(2)]).flatten(0, 1)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert torch.equal(kept.amin(1), kept.amax(1))
    assert (kept[:, 0] == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)


# --- Controls ---------------------------------------------------------------------------------------------------------


def test_controls(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = awake(random_detector()), moving_clip(12)
    found = {}
    for control in CONTROLS:
        model.control = control
        found[control] = model(clip)
        assert torch.equal(model(clip), found[control])  # the shuffle too
    model.control = "none"
    assert len({tuple(logits[0].tolist()) for logits in found.values()}) == len(CONTROLS)
    without = random_detector(temporal=False)
    torch.testing.assert_close(found["frame_average"], without(clip))
    # a shuffle leaves the frames' mean alone: only the transformer sees it
    model.control = "shuffle"
    outputs = model.forward_with_outputs(clip)
    torch.testing.assert_close(outputs["frame_log_probabilities"], found["frame_average"], atol=1e-6, rtol=0)
    model.control = "repeat"
    frame = model.forward_with_outputs(clip)["frame_log_probabilities"]
    torch.testing.assert_close(frame.exp(), model(clip[:, 5]).softmax(-1), atol=1e-6, rtol=0)


def test_shuffle_is_a_shuffle_of_the_frames(random_detector: Detectors, moving_clip: Clips) -> None:
    model, clip = awake(random_detector()), moving_clip(10)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(10))
    assert order.tolist() != list(range(10))
    expected = model(clip[:, order])
    model.control = "shuffle"
    torch.testing.assert_close(model(clip), expected, atol=1e-5, rtol=0)
    padded = torch.cat([clip, clip[:, -1:].expand(-1, 4, -1, -1, -1)], dim=1)
    torch.testing.assert_close(model(padded), expected, atol=1e-5, rtol=0)


def test_zero_differences_leaves_order_in_the_time_code_alone(random_detector: Detectors, moving_clip: Clips) -> None:
    model = awake(random_detector())
    units = torch.nn.functional.normalize(torch.randn(1, 6, 64), dim=-1)
    assert model.temporal is not None
    still = model.temporal.tokens(units[:, :1].expand(-1, 6, -1))
    torch.testing.assert_close(model.temporal.tokens(units, no_differences=True)[:, 0], still[:, 0])
    one, other = model.temporal.tokens(units), model.temporal.tokens(units, no_differences=True)
    torch.testing.assert_close(one[:, 0], other[:, 0])
    assert (one[:, 1:] - other[:, 1:]).abs().amax((0, 2)).min() > 1e-2


# --- It can learn order ------------------------------------------------------------------------------------------------


def test_it_learns_what_the_frames_mean_cannot_know() -> None:
    """Walks on the sphere against the same points in another order: each frame's statistics are alike."""
    torch.manual_seed(0)
    model = GenD(embed_dim=64, depth=1, patch_size=8, img_size=16, temporal_dim=64, temporal_layers=1, scratch=True)

    def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        start, steps = torch.randn(count, 1, 64), torch.randn(count, 8, 64)
        walks = start + 0.4 * steps.cumsum(1)
        labels = torch.arange(count) % 2
        for clip in torch.where(labels == 1)[0]:
            walks[clip] = walks[clip][torch.randperm(8)]
        return torch.cat([walks, torch.ones(count, 8, 1)], -1).flatten(1), labels

    optimiser = torch.optim.AdamW(model.temporal.parameters(), lr=2e-3)  # type: ignore[union-attr]
    model.train()
    for _ in range(60):
        features, labels = batch(64)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model.classify(features), labels).backward()
        optimiser.step()
    model.eval()
    features, labels = batch(400)
    accuracy = {}
    for control in ("none", "frame_average", "shuffle"):
        model.control = control
        accuracy[control] = (model.classify(features).argmax(-1) == labels).float().mean().item()
    assert accuracy["none"] > 0.7
    assert 0.4 < accuracy["frame_average"] < 0.6
    assert accuracy["shuffle"] < 0.62
