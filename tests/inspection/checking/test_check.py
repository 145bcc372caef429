"""What a check reports of data with planted faults: each of them, and nothing else."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

SUPPORT = Path(__file__).resolve().parent.parent / "support"
sys.path.insert(0, str(SUPPORT))

from checked_data import Manifest, names  # noqa: E402
from made_media import remux, scene, write_clip, write_picture  # noqa: E402

from gasdet.api.checking import check  # noqa: E402
from gasdet.data import load_data  # noqa: E402
from gasdet.errors import UsageError  # noqa: E402
from gasdet.inspection.checking import KINDS, SERIOUS, check_data  # noqa: E402
from gasdet.types import Provenance  # noqa: E402


def test_data_without_faults_give_no_finding(manifest: Manifest) -> None:
    for seed in range(6):
        manifest.picture(
            f"{seed}.jpg", seed, "real" if seed % 2 else "fake", "train" if seed < 4 else "test", f"g{seed // 4}"
        )
    report = check(manifest.write())
    assert report.findings == ()
    assert report.ok
    assert (report.samples, report.decoded, report.failed, report.skipped) == (6, 6, 0, 0)
    assert report.modalities == {"image": 6}


def test_copies_with_nothing_in_them_are_no_leak(manifest: Manifest) -> None:
    """Any two white pictures of a size are equal, and any two silences of a length: that tells no origin."""
    for name, label, split in (("a", "real", "train"), ("b", "fake", "test")):
        write_picture(manifest.add(f"{name}.png", label, split), scene(1) * 0 + 255)
        soundfile.write(manifest.add(f"{name}.wav", label, split), np.zeros(16_000), 16_000)
        clip = manifest.add(f"{name}.avi", label, split)
        write_clip(clip, 1, seconds=1.0, codec="ffv1", first=scene(1) * 0 + 200)
    report = check(manifest.write())
    assert names(report) == {"flat_duplicates": [("a.png", "b.png"), ("a.wav", "b.wav"), ("a.avi", "b.avi")]}
    assert report.ok


def test_a_copy_that_differs_in_transparency_is_told_as_such(manifest: Manifest) -> None:
    pixels = scene(1)
    opaque, half = (np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)]) for alpha in (255, 128))
    write_picture(manifest.add("a.png"), opaque)
    write_picture(manifest.add("b.png"), half)
    (found,) = check(manifest.write()).of_kind("duplicates")
    assert found.message == "different files with equal pixels, transparency not compared"


def test_clips_that_share_all_frames_are_told_so(manifest: Manifest) -> None:
    write_clip(manifest.add("a.mp4"), 1, crf=18)
    write_clip(manifest.add("b.mp4"), 1, crf=19)
    (found,) = check(manifest.write()).findings
    assert (found.kind, found.distances) == ("near_duplicates", (0.0, 0.0))
    assert found.message == "nearly equal clips, all frames shared"


def test_exact_duplicates_by_bytes_and_by_pixels(manifest: Manifest) -> None:
    first = manifest.picture("a.png", 1, "real", "train")
    manifest.add("same-bytes.png", "real", "train").write_bytes(first.read_bytes())
    manifest.picture("same-pixels.bmp", 1, "real", "train")
    manifest.picture("b.png", 2, "fake", "train")
    manifest.picture("b-again.tiff", 2, "fake", "test")
    manifest.picture("c.png", 3, "real", "test")
    manifest.picture("c-again.webp", 3, "semisynthetic", "test", lossless=True)
    manifest.picture("alone.png", 4, "real", "train")
    report = check(manifest.write(), near_distance=None)
    assert names(report) == {
        "duplicates": [
            ("a.png", "same-bytes.png", "same-pixels.bmp"),
            ("b.png", "b-again.tiff"),
            ("c.png", "c-again.webp"),
        ],
        "duplicates_across_splits": [("b.png", "b-again.tiff")],
        "duplicates_across_classes": [("c.png", "c-again.webp")],
    }
    kinds = report.to_mapping()["kinds"]
    assert kinds["duplicates"] == {
        "findings": 3, "samples": 7, "serious": False, "pairs": 3 + 1 + 1,
        "by_class": {"real": 1, "synthetic": 1, "real+synthetic": 1}, "by_split": {"train": 1, "test+train": 1, "test": 1},
    }  # fmt: skip
    assert kinds["duplicates_across_splits"]["pairs"] == 1
    assert report.near_distance is None


def test_files_with_equal_bytes_are_told_from_files_with_equal_pixels(manifest: Manifest) -> None:
    first = manifest.picture("a.png", 1)
    manifest.add("b.png").write_bytes(first.read_bytes())
    manifest.picture("c.png", 2)
    manifest.picture("d.bmp", 2)
    first, second = check(manifest.write()).of_kind("duplicates")
    assert first.message == "equal files"
    assert second.message == "different files with equal pixels, transparency not compared"


def test_equal_files_count_even_where_they_cannot_be_decoded_but_empty_ones_do_not(manifest: Manifest) -> None:
    for name in ("a.png", "b.png"):
        manifest.add(name).write_text("the same text, which is no picture")
    for name in ("c.png", "d.png"):
        manifest.add(name).touch()
    assert names(check(manifest.write()))["duplicates"] == [("a.png", "b.png")]


def test_pairs_across_are_those_of_two_splits_only(manifest: Manifest) -> None:
    for name, split in (("a.png", "train"), ("b.png", "train"), ("c.png", "test"), ("d.png", "")):
        manifest.picture(name, 1, "real", split)
    report = check(manifest.write())
    (whole,), (leak,) = report.of_kind("duplicates"), report.of_kind("duplicates_across_splits")
    assert (whole.pairs, leak.pairs) == (6, 2)
    assert leak.message == "equal files, in test and train"


def test_near_duplicates_of_all_modalities(manifest: Manifest, shared_media: Path) -> None:
    manifest.picture("a.png", 1, "real", "train")
    manifest.picture("a.jpg", 1, "real", "test", quality=40)
    manifest.picture("a-copy.bmp", 1, "fake", "train")
    manifest.picture("other.png", 2, "real", "train")
    clip = write_clip(manifest.add("b.mp4", "real", "train"), 5)
    remux(clip, manifest.add("b.mkv", "real", "train"))
    write_clip(manifest.add("b-small.mp4", "fake", "test"), 5, size=(96, 72))
    write_clip(manifest.add("other.mp4", "fake", "test"), 6)
    speech = shared_media / "audio" / "real" / "speechbrain__LJ050-0131.wav"
    samples, rate = soundfile.read(speech)
    soundfile.write(manifest.add("c.flac", "real", "train"), samples, rate)
    soundfile.write(manifest.add("c.wav", "real", "train"), samples, rate)
    soundfile.write(manifest.add("c.mp3", "fake", "train"), samples[rate // 3 :], rate)
    soundfile.write(manifest.add("other.wav"), samples[::-1], rate)
    report = check(manifest.write())
    assert names(report) == {
        "duplicates": [("a.png", "a-copy.bmp"), ("b.mp4", "b.mkv"), ("c.flac", "c.wav")],
        "duplicates_across_classes": [("a.png", "a-copy.bmp")],
        "near_duplicates": [("a.png", "a.jpg", "a-copy.bmp"), ("b.mp4", "b.mkv", "b-small.mp4"), ("c.flac", "c.wav", "c.mp3")],
        "near_duplicates_across_splits": [("a.png", "a.jpg", "a-copy.bmp"), ("b.mp4", "b.mkv", "b-small.mp4")],
        "near_duplicates_across_classes": [
            ("a.png", "a.jpg", "a-copy.bmp"), ("b.mp4", "b.mkv", "b-small.mp4"), ("c.flac", "c.wav", "c.mp3"),
        ],
    }  # fmt: skip
    image, video, audio = report.of_kind("near_duplicates")
    assert [distance > 0 for distance in image.distances] == [False, True, False]
    assert [distance > 0 for distance in audio.distances] == [False, False, True]
    assert all(0 <= distance <= 0.5 for distance in video.distances)
    assert "of 256 bits" in image.message
    assert "frames" in video.message
    assert "fingerprint" in audio.message


def test_a_recording_that_gasbench_has_decoded_is_the_same_recording(manifest: Manifest) -> None:
    import torch

    samples = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    samples = (samples * 32768).round().clip(-32768, 32767) / 32768
    soundfile.write(manifest.add("a.wav"), samples, 16_000, subtype="PCM_16")
    waveform = torch.from_numpy(samples.astype(np.float32))
    torch.save({"waveform": waveform, "label": 0, "metadata": {}}, manifest.add("b.pt"))
    assert names(check(manifest.write()))["duplicates"] == [("a.wav", "b.pt")]


def test_folders_of_frames_are_clips(tmp_path: Path) -> None:
    for folder, seed in (("one", 1), ("same", 1), ("other", 2), ("cut", 3)):
        for number in range(12):
            write_picture(tmp_path / "frames" / folder / f"{number}.png", scene(seed, shift=number / 90))
    broken = tmp_path / "frames" / "cut" / "7.png"
    broken.write_bytes(broken.read_bytes()[:500])
    catalogue = tmp_path / "sets.yaml"
    catalogue.write_text(
        "datasets:\n  - {name: d, path: frames, modality: video, media_type: real, source_format: frames}\n"
    )
    report = check(catalogue)
    assert report.modalities == {"video": 4}
    found = {finding.kind: [sample.member for sample in finding.samples] for finding in report.findings}
    assert {kind: [Path(member).name for member in members] for kind, members in found.items()} == {
        "truncated": ["cut"],
        "duplicates": ["one", "same"],
    }


def test_near_duplicates_whose_common_origin_is_stated_are_told_so(manifest: Manifest) -> None:
    for seed, (group, pair) in enumerate((("g", ""), ("", "p"), ("", ""))):
        manifest.picture(f"{seed}.png", seed, "real", "", group, pair)
        manifest.picture(f"{seed}.jpg", seed, "fake", "", group, pair, quality=40)
    messages = [finding.message for finding in check(manifest.write()).of_kind("near_duplicates")]
    assert ["of one origin" in message for message in messages] == [True, True, False]


def test_exact_copies_alone_are_no_near_duplicates(manifest: Manifest) -> None:
    manifest.picture("a.png", 1)
    manifest.picture("b.bmp", 1)
    assert set(names(check(manifest.write()))) == {"duplicates"}


def test_the_limit_of_near_is_the_users(manifest: Manifest) -> None:
    manifest.picture("a.png", 1)
    manifest.picture("b.jpg", 1, quality=10)
    path = manifest.write()
    (found,) = check(path).of_kind("near_duplicates")
    distance = int(found.distances[0])
    assert 0 < distance <= 31
    assert len(check(path, near_distance=distance).of_kind("near_duplicates")) == 1
    assert check(path, near_distance=distance - 1).findings == ()
    with pytest.raises(UsageError, match="0 to 47, not 48"):
        check(path, near_distance=48)


def test_what_cannot_be_compared_is_counted(manifest: Manifest) -> None:
    for number, colour in enumerate((10, 120)):
        write_picture(manifest.add(f"flat{number}.png"), scene(1) * 0 + colour)
    soundfile.write(manifest.add("short.wav"), [0.1, -0.1] * 2000, 16000)
    manifest.add("broken.png").write_text("text")
    report = check(manifest.write())
    assert report.not_compared == {"image": 2, "audio": 1}
    assert set(names(report)) == {"unreadable"}


def test_groups_and_pairs_that_straddle_splits(manifest: Manifest) -> None:
    manifest.picture("1.png", 1, "real", "train", "g1", "p1")
    manifest.picture("2.png", 2, "fake", "test", "g2", "p1")
    manifest.picture("3.png", 3, "fake", "test", "g1", "p2")
    manifest.picture("4.png", 4, "real", "train", "g3", "p3")
    manifest.picture("5.png", 5, "real", "train", "g3", "p3")
    manifest.picture("6.png", 6, "real", "", "g2")
    manifest.picture("7.png", 7, "real", "test")
    report = check(manifest.write())
    assert names(report) == {"groups_across_splits": [("1.png", "3.png")], "pairs_across_splits": [("1.png", "2.png")]}
    assert [finding.message for finding in report.findings] == ["group g1", "pair p1"]


def test_what_fails_the_check_is_the_users_choice(manifest: Manifest) -> None:
    manifest.picture("a.png", 1, "real", "train")
    manifest.picture("b.bmp", 1, "real", "test")
    path = manifest.write()
    assert not check(path).ok
    assert check(path).fail_on == SERIOUS
    assert check(path, fail_on=["none"]).ok
    assert check(path, fail_on=["missing", "truncated"]).ok
    assert not check(path, fail_on=["duplicates"]).ok
    assert not check(path, fail_on=["any"]).ok
    with pytest.raises(UsageError, match="no kind of finding; there are missing, "):
        check(path, fail_on=["duplicate"])
    with pytest.raises(UsageError, match="stand alone"):
        check(path, fail_on=["none", "missing"])


def test_holdouts_are_refused(manifest: Manifest) -> None:
    import dataclasses

    manifest.picture("a.png", 1)
    data = load_data(manifest.write())
    held = dataclasses.replace(
        data, samples=tuple(dataclasses.replace(s, provenance=Provenance.HOLDOUT) for s in data.samples)
    )
    with pytest.raises(UsageError, match="takes no holdouts"):
        check_data(held, fail_on=SERIOUS)


def test_the_csv_has_a_row_for_each_sample_of_each_finding(manifest: Manifest, tmp_path: Path) -> None:
    manifest.picture("a.png", 1, "real", "train")
    manifest.picture('odd "name", with a comma.bmp', 1, "fake", "test")
    manifest.picture("near.jpg", 1, "fake", "test", quality=40)
    manifest.add("gone.png")
    target = tmp_path / "found.csv"
    report = check(manifest.write(), csv=target)
    with open(target, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(finding.samples) for finding in report.findings)
    assert Counter(row["kind"] for row in rows) == Counter(f.kind for f in report.findings for _ in f.samples)
    assert rows[0]["kind"] == "missing"
    assert (rows[0]["member"], rows[0]["reason"], rows[0]["serious"], rows[0]["split"]) == (
        "gone.png",
        "file_missing",
        "yes",
        "",
    )
    near = [row for row in rows if row["kind"] == "near_duplicates"]
    assert [row["member"] for row in near] == ["a.png", 'odd "name", with a comma.bmp', "near.jpg"]
    assert len({row["finding"] for row in near}) == 1
    assert near[0]["distance"] == "0.0"
    assert float(near[2]["distance"]) > 0
    assert {row["sample_id"] for row in near} == {s.sample_id for s in report.of_kind("near_duplicates")[0].samples}


def test_the_report_is_the_same_for_any_number_of_processes(manifest: Manifest, in_processes: None) -> None:
    for seed in range(40):
        manifest.picture(f"{seed}.png", seed % 25, "real", "train" if seed % 3 else "test")
    path = manifest.write()
    one, several = (json.dumps(check(path, workers=workers).to_mapping()) for workers in (1, 3))
    assert one == several


def test_every_kind_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "checking.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}` "))
        assert ("| yes |" in line) == kind.serious


@pytest.fixture
def cifake_with_every_copy(shared_cifake: Path, tmp_path: Path) -> Path:
    """CIFAKE with all of its pictures whose files occur twice, by the files' bytes, and every tenth of the others."""
    tables = {name: pq.read_table(shared_cifake / f"{name}.parquet") for name in ("train", "test")}
    contents = {name: [cell["bytes"] for cell in table["image"].to_pylist()] for name, table in tables.items()}
    times = Counter(itertools.chain.from_iterable(contents.values()))
    for name, table in tables.items():
        kept = [n for n, content in enumerate(contents[name]) if times[content] > 1 or n % 10 == 0]
        pq.write_table(table.take(kept), tmp_path / f"{name}.parquet", row_group_size=2000)
    return tmp_path


@pytest.mark.slow
def test_cifakes_duplicates_are_found(shared_cifake: Path, cifake_with_every_copy: Path, in_processes: None) -> None:
    report = check(cifake_with_every_copy)
    assert report.samples == report.decoded > 12_000
    assert (report.failed, report.skipped) == (0, 0)
    kinds = report.to_mapping()["kinds"]
    assert kinds["duplicates"]["pairs"] == 1336
    assert kinds["duplicates"]["by_class"] == {"synthetic": 1336}
    assert kinds["duplicates_across_splits"]["pairs"] == 378
    listed = (shared_cifake / "test_duplicates_of_train.txt").read_text().split("\n")
    leaks = report.of_kind("duplicates_across_splits")
    found = [s.member.removeprefix("test.parquet/") for finding in leaks for s in finding.samples if s.split == "test"]
    assert sorted(found) == sorted(line for line in listed if line)
    assert not report.of_kind("duplicates_across_classes")
    assert not report.ok
