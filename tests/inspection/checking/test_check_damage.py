"""What a check reports of samples that are damaged, cut off, or not looked into."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

SUPPORT = Path(__file__).resolve().parent.parent / "support"
sys.path.insert(0, str(SUPPORT))

from checked_data import Manifest, names  # noqa: E402
from made_media import remux, scene, write_clip, write_picture  # noqa: E402

from gasdet.api.checking import check  # noqa: E402


def test_damage_and_wrong_extensions(manifest: Manifest, in_processes: None) -> None:
    whole = manifest.picture("whole.jpg", 1).read_bytes()
    manifest.add("cut.jpg").write_bytes(whole[: len(whole) // 2])
    manifest.add("text.png").write_text("no picture at all, but a text of some length")
    manifest.add("empty.webp").touch()
    manifest.add("gone.jpg")
    manifest.add("loop.jpg").symlink_to("loop.jpg")
    manifest.picture("jpeg.png", 2, format="JPEG")
    manifest.picture("picture.mp4", 3, format="PNG")
    manifest.picture("unlabelled.png", 4, "perhaps")
    report = check(manifest.write())
    assert names(report) == {
        "missing": [("gone.jpg",), ("loop.jpg",)],
        "unreadable": [("text.png",), ("empty.webp",), ("picture.mp4",)],
        "truncated": [("cut.jpg",)],
        "mislabelled": [("jpeg.png",), ("picture.mp4",)],
        "skipped": [("unlabelled.png",)],
    }
    reasons = {
        finding.samples[0].member: finding.reason for finding in report.findings if finding.kind != "mislabelled"
    }
    assert reasons == {
        "cut.jpg": "truncated", "text.png": "unknown_format", "empty.webp": "file_empty", "gone.jpg": "file_missing",
        "loop.jpg": "symlink_loop", "picture.mp4": "no_video_stream", "unlabelled.png": "label_unreadable",
    }  # fmt: skip
    assert (report.samples, report.decoded, report.failed, report.skipped) == (9, 2, 6, 1)
    assert not report.ok


def test_pictures_cut_at_their_end_and_damaged_in_the_middle(manifest: Manifest) -> None:
    """What a decoder shows without a word: neither may pass as whole, nor the cut one as a copy of the whole one."""
    whole = manifest.picture("whole.png", 1).read_bytes()
    manifest.add("cut.png").write_bytes(whole[:-20])
    scan = manifest.picture("whole.jpg", 2, quality=90).read_bytes()
    middle = len(scan) // 2
    manifest.add("smeared.jpg").write_bytes(scan[:middle] + bytes(1000) + scan[middle + 1000 :])
    at = whole.index(b"IEND") - 5
    manifest.add("checksum.png").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    report = check(manifest.write(), near_distance=None)
    assert names(report) == {
        "truncated": [("cut.png",)],
        "damaged": [("smeared.jpg",), ("checksum.png",)],
        "duplicates": [("whole.png", "checksum.png")],
    }
    assert (report.decoded, report.failed) == (4, 1)
    smeared, checksum = report.of_kind("damaged")
    assert "libjpeg warns" in smeared.message
    assert "IDAT" in checksum.message


def test_an_archive_among_the_media_is_serious(tmp_path: Path) -> None:
    write_picture(tmp_path / "data" / "real" / "a.png", scene(1))
    write_picture(tmp_path / "data" / "fake" / "b.png", scene(2))
    (tmp_path / "data" / "fake" / "more.zip").write_bytes(b"a broken one")
    (tmp_path / "data" / "fake" / "notes.xyz").write_bytes(b"neither")
    report = check(tmp_path / "data")
    assert names(report) == {"archives_inside": [("fake/more.zip",)], "skipped": [("fake/notes.xyz",)]}
    assert (report.samples, report.decoded, report.skipped) == (4, 2, 2)
    assert not report.ok
    assert any(note.startswith("1 archive among the media not looked into") for note in report.notes)


def test_a_clip_that_is_damaged_at_its_end_is_found(manifest: Manifest) -> None:
    """No detector that takes frames from a clip's start would meet this damage."""
    for name, codec, start, stop in (("stops.mp4", "libx264", 0.7, 0.9), ("goes-on.avi", "mpeg4", 0.5, 0.52)):
        path = write_clip(manifest.add(name), 1, codec=codec)
        content = bytearray(path.read_bytes())
        first, last = int(start * len(content)), int(stop * len(content))
        content[first:last] = np.random.default_rng(0).integers(0, 256, last - first, dtype=np.uint8).tobytes()
        path.write_bytes(content)
    write_clip(manifest.add("whole.mp4"), 1)
    report = check(manifest.write(), near_distance=None)
    assert names(report) == {"unreadable": [("stops.mp4",)], "damaged": [("goes-on.avi",)]}
    assert report.of_kind("unreadable")[0].reason == "corrupt"
    assert "frame" in report.of_kind("damaged")[0].message
    assert (report.decoded, report.failed) == (2, 1)


def test_a_clip_shorter_than_it_promises_is_truncated(manifest: Manifest, tmp_path: Path) -> None:
    whole = remux(write_clip(tmp_path / "clip.mp4", 1), tmp_path / "clip.mkv").read_bytes()
    manifest.add("a.mkv").write_bytes(whole[: len(whole) // 2])
    (found,) = check(manifest.write()).findings
    assert (found.kind, found.reason) == ("truncated", "truncated")


def test_a_very_long_clip_is_decoded_in_part_and_that_is_said(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.inspection.checking import probe
    from gasdet.media import MediaLimits
    from gasdet.types import Locator, Modality, Preprocessing

    path = write_clip(manifest.add("a.mp4"), 1)
    monkeypatch.setattr(probe, "MAX_CLIP_PIXELS", 192 * 144 * 12)
    facts = probe.probe_sample(Locator("file", str(path)), Preprocessing(Modality.VIDEO), MediaLimits()).facts
    assert facts["partly"] == 12
    assert "content" not in facts  # its end is not known, and so not what equals it
    assert len(facts["hashes"]) >= 2 * 32
