"""The full-size architecture once, with RANDOM weights: that it runs, in what time and memory. Not how well it detects."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
import torch

from gasdet_gend.model import GenD, load_tensors


@pytest.mark.slow
def test_one_real_clip_with_random_weights(shared_media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gasdet import Modality, Preprocessing
    from gasdet.media import decode
    from gasdet_gend.plugin import GEND

    preprocessing = Preprocessing.from_mapping(Modality.VIDEO, GEND.preprocessing)
    clip = decode(shared_media / "video" / "real" / "interactive-examples__flower.mp4", preprocessing).array
    assert clip.shape == (16, 3, 224, 224)
    model = GenD("clip")
    generator = torch.Generator().manual_seed(0)
    numbers = {n: 0.02 * torch.randn(t.shape, generator=generator) for n, t in model.encoder.state_dict().items()}
    load_tensors(model.encoder, numbers, "random numbers")
    model.requires_grad_(False).eval()
    start = time.perf_counter()
    with torch.inference_mode():
        logits, details = model.forward_with_details(torch.from_numpy(clip)[None])
    seconds = time.perf_counter() - start
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits.softmax(-1)[0, 1], details["frame_p"].mean(), atol=1e-6, rtol=0)
    assert details["frames_used"].tolist() == [16]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert peak < 6 * 1024
    with capsys.disabled():
        print(f"\nGenD CLIP-L, random weights, 16 frames: {seconds:.1f} s, process peak {peak:.0f} MiB")  # noqa: T201
