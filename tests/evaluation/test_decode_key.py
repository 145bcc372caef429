"""The key of decoded samples: another one wherever anything that decides an array is another."""

from __future__ import annotations

import io
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import gasdet
from gasdet.errors import MediaError
from gasdet.evaluation import decode_key
from gasdet.evaluation.code import reached_from
from gasdet.evaluation.decode_key import cache_key, decoding_identity
from gasdet.evaluation.decoding import decode_content
from gasdet.media import MediaLimits
from gasdet.types import Modality, Preprocessing

IMAGE = Preprocessing(Modality.IMAGE, resize=(64, 48))
FACES = replace(IMAGE, region="faces")
LIMITS = MediaLimits()


@pytest.fixture(autouse=True)
def _computed_anew() -> Iterator[None]:
    yield
    decode_key._code_sha256.cache_clear()
    decode_key._libraries_sha256.cache_clear()


def test_whatever_is_asked_for_is_in_the_key() -> None:
    keys = [
        cache_key(IMAGE, LIMITS),
        cache_key(replace(IMAGE, interpolation="bicubic"), LIMITS),
        cache_key(replace(IMAGE, equalise="standard"), LIMITS),
        cache_key(Preprocessing(Modality.VIDEO, resize=(64, 48)), LIMITS),
        cache_key(IMAGE, replace(LIMITS, max_pixels=1000)),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(replace(IMAGE), MediaLimits()) == keys[0]


def another(module: str, **changes: object) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in changes.items():
            monkeypatch.setattr(f"{module}.{name}", value)

    return patch


@pytest.mark.parametrize(
    "change",
    [
        another("gasdet.evaluation.decode_key", __version__="0.2"),
        another("gasdet.evaluation.decode_key", decoder_versions=lambda: {"pillow": "0.1"}),
        another("gasdet.evaluation.decode_key", modules_sha256=lambda _: "other"),
        another("platform", machine=lambda: "riscv64"),
        another("av", library_versions={"libavcodec": (1, 2, 3)}),
        another("cv2", __version__="4.0"),
        another("cv2", getBuildInformation=lambda: "another build"),
        another("soundfile", __libsndfile_version__="0.9"),
        another("soxr", __libsoxr_version__="0.0"),
        another("PIL.features", version=lambda name: "6.1" if name == "jpg" else "1"),
    ],
)
def test_whatever_decodes_is_in_the_key(monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]) -> None:
    """An FFmpeg that is replaced under the same PyAV, another OpenCV that lies over the one that is named, and so on."""
    before = cache_key(IMAGE, LIMITS)
    change(monkeypatch)
    decode_key._code_sha256.cache_clear()
    decode_key._libraries_sha256.cache_clear()
    assert cache_key(IMAGE, LIMITS) != before


def test_without_decord_the_key_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    before = cache_key(IMAGE, LIMITS)
    monkeypatch.setitem(sys.modules, "decord", None)
    decode_key._libraries_sha256.cache_clear()
    assert cache_key(IMAGE, LIMITS) != before


def test_what_finds_a_region_is_in_the_key(with_regions: Path, tmp_path: Path) -> None:
    assert cache_key(FACES, LIMITS) != cache_key(IMAGE, LIMITS)
    assert "region" not in decoding_identity(IMAGE)


def test_code_that_finds_a_region_is_in_the_key(with_regions: Path) -> None:
    """Its version need not change with it: a checkout's does not."""
    helper = with_regions / "gasdet_testregion" / "helper_for_this_test.py"
    before = cache_key(FACES, LIMITS), cache_key(IMAGE, LIMITS)
    helper.write_text("PIXELS = 3\n")
    try:
        assert cache_key(FACES, LIMITS) != before[0]
        assert cache_key(IMAGE, LIMITS) == before[1]
    finally:
        helper.unlink()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, 44_100), 22_050, format="WAV")
    return buffer.getvalue()


def waveform() -> bytes:
    buffer = io.BytesIO()
    torch.save({"waveform": torch.zeros(16_000)}, buffer)
    return buffer.getvalue()


def test_all_code_that_runs_when_a_sample_is_decoded_is_hashed(shared_media: Path) -> None:
    """What runs is watched, not told by the imports that the hash goes by."""
    hashed = reached_from(decode_key._ENTRANCE, stop=(decode_key._REGIONS,))
    root = Path(gasdet.__file__).parent
    ran: set[str] = set()

    def watch(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            ran.add(frame.f_code.co_filename)

    clips = sorted((shared_media / "video").rglob("*.mp4"))[:2]
    sources = [
        *((content, IMAGE) for content in (png(), sorted((shared_media / "image").rglob("*.jp*g"))[0])),
        *((clip, Preprocessing(Modality.VIDEO, num_frames=3)) for clip in clips),
        *((content, Preprocessing(Modality.AUDIO)) for content in (wav(), waveform(), b"nothing")),
    ]
    sources += [(source, replace(asked, equalise="standard")) for source, asked in sources]
    decoded = 0
    sys.setprofile(watch)
    try:
        for source, asked in sources:
            try:
                decoded += decode_content(source, asked, LIMITS).array.size > 0
            except MediaError:
                continue
    finally:
        sys.setprofile(None)
    assert decoded >= 11
    modules = {
        ".".join(Path(file).relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        for file in ran
        if file.startswith(f"{root}/")
    }
    assert len(modules) > 15
    assert {"gasdet.equalise_profiles", "gasdet.evaluation.decoding", "gasdet.evaluation.waveforms"} <= modules
    assert modules <= hashed


def test_what_cannot_decide_an_array_is_not_hashed() -> None:
    """An edit of a command or a report leaves a checkout's cache as it is."""
    hashed = reached_from(decode_key._ENTRANCE, stop=(decode_key._REGIONS,))
    others = ("gasdet.cli", "gasdet.api", "gasdet.reporting", "gasdet.training", "gasdet.registry", "gasdet.bundle")
    assert not [name for name in hashed if name.startswith(others)]


def test_what_else_is_loaded_has_no_bearing() -> None:
    """Libraries that are loaded one after the other may give each other functions of theirs, such as zlib's."""
    code = (
        "from gasdet.media import MediaLimits, limit_threads; {}; from gasdet.evaluation.decode_key import *;"
        "from gasdet.types import *; print(cache_key(Preprocessing(Modality.IMAGE), MediaLimits()))"
    )
    found = {
        subprocess.run([sys.executable, "-c", code.format(first)], capture_output=True, text=True, check=True).stdout
        for first in ("limit_threads()", "import PIL._imaging, cv2", "pass")
    }
    assert len(found) == 1


def test_the_key_needs_no_torch() -> None:
    code = (
        "import sys; from gasdet.evaluation.decode_key import *; from gasdet.types import *;"
        "cache_key(Preprocessing(Modality.IMAGE), MediaLimits()); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
