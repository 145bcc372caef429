"""``gasdet info``: everything known of one name."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Gasdet = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_detector_with_everything(gasdet: Gasdet, plugin_site: Path) -> None:
    done = gasdet("info", "edges")
    assert done.returncode == 0, done.stderr
    facts = {line[:16].strip(): line[16:] for line in done.stdout.splitlines() if len(line) > 16}
    assert done.stdout.startswith("edges: Logistic regression on the strength of edges; for tests.\n")
    assert facts["paper"] == "Nobody et al., Edges, Journal of Tests 2026"
    assert facts["preprocessing"] == (
        "resize: [32, 32], resize_mode: crop, interpolation: bilinear, antialias: False, exif_orientation: False"
    )
    assert facts["input"] == "RGB image, 32 x 32 pixels"
    assert facts["parameters"] == "6"
    assert facts["code licence"] == "MIT"
    assert facts["plugin"] == "testimage, from gasdet-testimage 1.2.0"
    file = plugin_site / "gasdet_testimage" / "release.safetensors"
    block = done.stdout.split("weights   v1 (release, default)\n")[1].split("\n\n")[0]
    assert f"yes: {file}" in block
    assert hashlib.sha256(file.read_bytes()).hexdigest() in block
    assert "weights   demo\n" in done.stdout
    assert "backbone  none\n" in done.stdout
    assert "https://example.org/edges" in done.stdout


def test_a_component(gasdet: Gasdet) -> None:
    done = gasdet("info", "share_above_half")
    assert "gasdet_testimage.metric:share_above_half" in done.stdout
    assert "testimage, from gasdet-testimage 1.2.0" in done.stdout
    documents = json.loads(gasdet("info", "combined_score", "--json").stdout)
    assert [d["kind"] for d in documents] == ["loss", "metric"]
    document = documents[1]
    assert document["plugin"]["distribution"] == "gasdet"
    assert document["higher_is_better"] is True


def test_json_holds_the_defaults_and_where_weights_are(gasdet: Gasdet, plugin_site: Path) -> None:
    document = json.loads(gasdet("info", "testaudio/loudness", "--json").stdout)
    assert document["preprocessing"] == {
        "sample_rate": 8000, "duration_seconds": 2.0, "audio_pad": "zeros", "audio_crop": "center",
    }  # fmt: skip
    (demo,) = document["weights"]
    assert demo["available"] is True
    assert Path(demo["where"]) == plugin_site / "gasdet_testaudio" / "demo.safetensors"


def test_unknown_and_broken_names(gasdet: Gasdet) -> None:
    unknown = gasdet("info", "combined_scor")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no detector or component is called 'combined_scor' (did you mean 'combined_score'?)" in unknown.stderr
    broken = gasdet("info", "halfway")
    assert broken.returncode == 1
    assert "RuntimeError: the table of weights is missing" in broken.stderr
    assert len(broken.stderr.replace("this line must not reach the output of --json\n", "").splitlines()) == 1
