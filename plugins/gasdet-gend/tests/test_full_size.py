"""The full-size architecture once, with RANDOM weights: that it runs, in what time and memory. Not how well it detects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the peak is this model's alone, and the memory goes back to the other tests.
SCRIPT = """
import json, re, sys, time
from pathlib import Path

import torch

from gasdet import Modality, Preprocessing
from gasdet.media import decode
from gasdet_gend.model import GenD, load_tensors
from gasdet_gend.plugin import GEND

clip = decode(Path(sys.argv[1]), Preprocessing.from_mapping(Modality.VIDEO, GEND.preprocessing)).array
model = GenD("clip")
drawn = 0.02 * torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))  # drawing 300 million takes seconds
state = model.encoder.state_dict()
numbers = {n: drawn.repeat(1 + t.numel() // len(drawn))[: t.numel()].view(t.shape) for n, t in state.items()}
load_tensors(model.encoder, numbers, "random numbers")
model.requires_grad_(False).eval()
start = time.perf_counter()
with torch.inference_mode():
    logits, details = model.forward_with_details(torch.from_numpy(clip[::4])[None])  # of 16: each takes seconds
print(json.dumps({
    "shape": list(clip.shape),
    "seconds": time.perf_counter() - start,
    "p": logits.softmax(-1)[0, 1].item(),
    "frame_p": details["frame_p"].mean().item(),
    "frames_used": details["frames_used"].tolist(),
    "peak_kib": int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1]),
}))
"""


@pytest.mark.slow
def test_one_real_clip_with_random_weights(shared_media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = shared_media / "video" / "real" / "interactive-examples__flower.mp4"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(clip)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["shape"] == [16, 3, 224, 224]
    assert told["frames_used"] == [4]
    assert told["p"] == pytest.approx(told["frame_p"], abs=1e-6)  # W_o is zero: the frames' mean
    assert told["peak_kib"] < 4 * 1024**2
    with capsys.disabled():
        print(f"\nGenD CLIP-L, random weights, 4 frames: {told['seconds']:.1f} s, peak {told['peak_kib'] >> 10} MiB")  # noqa: T201
