from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gasdet.errors import MediaError
from gasdet.media import Decoded, decode, decoder_versions
from gasdet.types import Modality, Preprocessing, Reason

from .conftest import encoded, image_keys, make_clip, make_encoded_recording, make_recording, picture, reason_of

TONE = (0.5 * np.sin(np.arange(8000) / 20)).astype(np.float32)
SEEDS = {
    "png": lambda: encoded(picture(), "PNG"),
    "jpeg": lambda: encoded(picture(), "JPEG"),
    "gif": lambda: encoded(picture(), "GIF"),
    "tiff": lambda: encoded(picture(), "TIFF", compression="tiff_lzw"),
    "webp": lambda: encoded(picture(), "WEBP"),
    "avif": lambda: encoded(picture(), "AVIF"),
    "mp4": lambda: make_clip(with_audio=True),
    "webm": lambda: make_clip(codec="libvpx", container="webm"),
    "avi": lambda: make_clip(codec="mpeg4", container="avi"),
    "wav": lambda: make_recording(TONE, 16000),
    "flac": lambda: make_recording(TONE, 16000, "FLAC"),
    "ogg": lambda: make_recording(TONE, 16000, "OGG"),
    "m4a": lambda: make_encoded_recording("aac", "ipod"),
}
BROKEN = {
    "truncated_40pct.jpg": Reason.TRUNCATED,
    "zero_byte.jpg": Reason.FILE_EMPTY,
    "zero_byte.wav": Reason.FILE_EMPTY,
    "text_renamed.png": Reason.UNKNOWN_FORMAT,
    "png_bomb_30000x30000.png": Reason.TOO_LARGE,
    "torchcodec_corrupt.jpg": Reason.CORRUPT,
    "torchcodec_sigsegv.png": Reason.TRUNCATED,
    "truncated_30pct.mp4": Reason.TRUNCATED,
    "no_moov.mp4": Reason.CORRUPT,
    "zip_named.mp4": Reason.UNKNOWN_FORMAT,
    "zero_frames.mp4": Reason.NO_FRAMES,
    "audio_only.mp4": Reason.NO_VIDEO_STREAM,
    "nan_samples.wav": Reason.NONFINITE_SAMPLES,
    "zero_sample_rate.wav": Reason.CORRUPT,
}


def keys_for(modality: Modality) -> Preprocessing:
    return Preprocessing(modality, resize=(32, 32), num_frames=4)


def outcome(source: Path | bytes, modality: Modality) -> Decoded | Reason:
    """What decoding gives; any exception but a MediaError with a foreseen reason fails the test."""
    try:
        decoded = decode(source, keys_for(modality))
    except MediaError as error:
        if error.reason is Reason.DECODE_FAILED:
            raise
        return error.reason
    assert decoded.array.flags.c_contiguous
    return decoded


def test_every_entry_of_the_broken_files_has_the_stated_outcome(shared_broken: Path, shared_media: Path) -> None:
    from gasdet.media import modality_of_name

    seen = set()
    with zipfile.ZipFile(shared_media / "broken.zip") as archive:
        for name in archive.namelist():
            modality = modality_of_name(name)
            assert modality is not None
            from_bytes = outcome(archive.read(name), modality)
            from_path = outcome(shared_broken / name, modality)
            if isinstance(from_bytes, Decoded):
                assert isinstance(from_path, Decoded)
                assert np.array_equal(from_bytes.array, from_path.array)
            else:
                assert from_bytes is from_path is BROKEN[name], name
                seen.add(name)
    assert seen == set(BROKEN)


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_bytes_never_raise_anything_but_a_media_error(seed: str) -> None:
    whole = SEEDS[seed]()
    random = np.random.default_rng(len(whole))
    failures = 0
    for round_number in range(12):
        data = bytearray(whole)
        for _ in range(2 ** (round_number % 6)):
            # mostly in the headers, where decoders are weakest
            reach = len(data) if round_number % 2 else min(len(data), 400)
            data[random.integers(0, reach)] = random.integers(0, 256)
        for modality in Modality:
            failures += isinstance(outcome(bytes(data), modality), Reason)
    assert failures >= 12  # at least where the modality is another


def test_random_bytes_never_raise_anything_but_a_media_error() -> None:
    random = np.random.default_rng(0)
    for magic in (
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"OggS",
        b"\x1a\x45\xdf\xa3",
        b"ID3",
    ):
        data = magic + random.integers(0, 256, 3000, dtype=np.uint8).tobytes()
        for modality in Modality:
            assert isinstance(outcome(data, modality), Reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("two\nlines"), Reason.DECODE_FAILED), (MemoryError(), Reason.DECODER_OUT_OF_MEMORY)],
)
def test_an_unforeseen_failure_becomes_a_reason(
    error: Exception, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.media import image

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(image, "fit_region", fail)
    assert reason_of(encoded(picture(), "PNG"), image_keys()) is reason


def test_no_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "holdout-secret.bin"
    messages = []
    for make in SEEDS.values():
        data = make()
        for content in (data[: len(data) // 2], data[:40], b"text only"):
            path.write_bytes(content)
            for modality in Modality:
                try:
                    decode(path, keys_for(modality))
                except MediaError as error:
                    messages.append(str(error))
    assert len(messages) > len(SEEDS)
    assert not [message for message in messages if "secret" in message or str(tmp_path) in message]


def test_results_and_errors_cross_processes() -> None:
    decoded = decode(encoded(picture(), "PNG"), image_keys())
    copy = pickle.loads(pickle.dumps(decoded))
    assert np.array_equal(copy.array, decoded.array)
    assert copy.decoder == decoded.decoder


def test_versions_are_those_of_the_libraries() -> None:
    import PIL
    import soundfile

    versions = decoder_versions()
    assert versions["pillow"] == PIL.__version__
    assert versions["soundfile"] == soundfile.__version__
    assert set(versions) >= {"opencv", "pyav", "soxr", "numpy"}


def run(code: str, *args: str) -> dict:
    """Run code in a process of its own; it prints one JSON line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_naming_the_package_imports_no_decoder() -> None:
    loaded = run("""
        import json, sys
        from gasdet.media import decode, sniff, modality_of_name, decoder_versions, MediaLimits
        decoder_versions()
        print(json.dumps([n for n in ("torch", "cv2", "av", "decord", "PIL", "soundfile", "soxr") if n in sys.modules]))
    """)
    assert loaded == []


def test_decoding_imports_no_torch_and_starts_no_lasting_threads(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(), "PNG"))
    (tmp_path / "a.avif").write_bytes(encoded(picture(640, 480), "AVIF"))
    (tmp_path / "a.mp4").write_bytes(make_clip(size=(640, 480)))
    (tmp_path / "a.webm").write_bytes(make_clip(size=(640, 480), codec="libsvtav1", container="webm"))
    (tmp_path / "a.wav").write_bytes(make_recording(TONE, 44100))
    result = run(
        """
        import json, os, sys
        from pathlib import Path
        from gasdet.media import decode, limit_threads, modality_of_name
        from gasdet.types import Preprocessing
        limit_threads()
        before = len(os.listdir("/proc/self/task"))
        for name in ("a.png", "a.avif", "a.mp4", "a.webm", "a.wav"):
            decode(Path(sys.argv[1], name), Preprocessing(modality_of_name(name)))
        import cv2
        after = len(os.listdir("/proc/self/task"))
        print(json.dumps({"torch": "torch" in sys.modules, "more": after - before, "opencv": cv2.getNumThreads()}))
        """,
        str(tmp_path),
    )
    assert result == {"torch": False, "more": 0, "opencv": 1}


# The peaks are VmHWM and not ru_maxrss, which a process takes over from the one that started it.


def test_memory_does_not_grow_with_a_clips_length(tmp_path: Path) -> None:
    for name, frames in (("short", 30), ("long", 1200)):
        (tmp_path / name).write_bytes(make_clip(frames=frames, size=(640, 360), options={"preset": "ultrafast"}))
    peaks = [
        run(
            """
            import json, re, sys
            from pathlib import Path
            from gasdet.media import decode
            from gasdet.types import Modality, Preprocessing
            for sampling in ("start", "uniform", "window"):
                keys = Preprocessing(Modality.VIDEO, sampling=sampling, frame_rate=2.0)
                assert decode(Path(sys.argv[1]), keys).array.shape == (16, 3, 224, 224)
            print(json.dumps(int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])))
            """,
            str(tmp_path / name),
        )
        for name in ("short", "long")
    ]
    # KiB; all frames of the long one would be 791 MiB. What FFmpeg's threads keep differs by up to 50 MiB on a busy machine.
    assert peaks[1] - peaks[0] < 100 * 1024


def test_all_real_and_broken_files_stay_under_the_memory_bound(shared_media: Path, shared_broken: Path) -> None:
    peak = run(
        """
        import json, re, sys
        from pathlib import Path
        from gasdet.errors import MediaError
        from gasdet.media import decode, modality_of_name
        from gasdet.types import Preprocessing
        for root in sys.argv[1:]:
            for path in sorted(p for p in Path(root).rglob("*") if p.is_file() and modality_of_name(p.name)):
                try:
                    decode(path, Preprocessing(modality_of_name(path.name)))
                except MediaError:
                    pass
        print(json.dumps(int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])))
        """,
        str(shared_media),
        str(shared_broken),
    )
    assert peak < 1.5 * 1024**2  # KiB
