"""Folders of frames as clips: found on disk and in archives, read in order, with every fault an error."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from gasdet.data import frames as frames_module
from gasdet.data import load_data, read_source
from gasdet.data.reading import read_head
from gasdet.errors import DataError, MediaError
from gasdet.media import FrameSequence, decode
from gasdet.types import Locator, MediaType, Modality, Preprocessing, Reason

FRAMES = (1, 2, 10, 11)
"""Numbers in the names: as text, 10 would come before 2."""


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 24), (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


def files(*clips: str) -> dict[str, bytes]:
    """Clips' frames by path; a frame's grey is its number."""
    return {f"{clip}/frame{number}.png": png(number) for clip in clips for number in FRAMES}


CLIPS = ("real/camera/a", "real/camera/b", "synthetic/gen1/c")


def write_tree(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, content: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def catalogue(folder: Path, path: Path, extra: str = "") -> Path:
    made = folder / "clips.yaml"
    made.write_text(
        f"datasets:\n  - name: clips\n    path: {path}\n    modality: video\n    source_format: frames\n{extra}",
        encoding="utf-8",
    )
    return made


def greys(source: object) -> list[int]:
    assert isinstance(source, FrameSequence)
    keys = {"num_frames": len(source.frames), "resize": [8, 8]}
    array = decode(source, Preprocessing.from_mapping(Modality.VIDEO, keys)).array
    return [int(frame.flat[0]) for frame in array]


@pytest.fixture(params=["folder", "zip", "tar.gz", "tar"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    content = {**files(*CLIPS), "real/README.txt": b"about", "real/camera/a/.DS_Store": b"x"}
    if request.param == "folder":
        return write_tree(tmp_path / "clips", content)
    if request.param == "zip":
        return write_zip(tmp_path / "clips.zip", content)
    return write_tar(tmp_path / f"clips.{request.param}", content, "w:gz" if request.param == "tar.gz" else "w")


def test_each_folder_of_images_is_one_clip(place: Path, tmp_path: Path) -> None:
    data = load_data(catalogue(tmp_path, place))
    assert [(s.member, s.media_type, s.generator) for s in data.samples] == [
        ("real/camera/a", MediaType.REAL, "camera"),
        ("real/camera/b", MediaType.REAL, "camera"),
        ("synthetic/gen1/c", MediaType.SYNTHETIC, "gen1"),
    ]
    for sample in data.samples:
        assert sample.modality is Modality.VIDEO
        assert sample.skip is None
        assert sample.locator.kind == "frames"
        assert greys(read_source(sample.locator)) == list(FRAMES)
        assert read_head(sample.locator, 8) == b"\x89PNG\r\n\x1a\n"


def test_ids_do_not_depend_on_where_the_frames_lie(tmp_path: Path) -> None:
    content = files(*CLIPS)
    places = [write_tree(tmp_path / "clips", content), write_zip(tmp_path / "clips.zip", content)]
    first, second = ([s.sample_id for s in load_data(catalogue(tmp_path, p)).samples] for p in places)
    assert first == second


def test_an_archive_of_one_clip_and_a_folder_of_archives(tmp_path: Path) -> None:
    alone = write_tree(tmp_path / "one", {f"{n}.jpg": png(n) for n in FRAMES})
    data = load_data(catalogue(tmp_path, alone, "    media_type: real\n"))
    assert [s.member for s in data.samples] == ["one"]
    assert greys(read_source(data.samples[0].locator)) == list(FRAMES)
    folder = tmp_path / "several"
    folder.mkdir()
    write_zip(folder / "real.zip", files("x"))
    write_tar(folder / "synthetic.tar.gz", files("y"))
    samples = load_data(catalogue(tmp_path, folder)).samples
    assert [(s.member, s.media_type) for s in samples] == [
        ("real.zip/x", MediaType.REAL),
        ("synthetic.tar.gz/y", MediaType.SYNTHETIC),
    ]
    assert all(greys(read_source(s.locator)) == list(FRAMES) for s in samples)


def test_gaps_and_other_files_are_told(tmp_path: Path) -> None:
    content = {f"real/a/{n:03d}.png": png(n) for n in (0, 5, 10, 15)}
    content |= {f"real/b/{n}.png": png(n) for n in (1, 2, 4)} | {"real/b/sound.wav": b"x"}
    notes = load_data(catalogue(tmp_path, write_tree(tmp_path / "t", content))).notes
    assert any("1 clip with gaps" in note for note in notes), notes
    assert any("1 file beside the frames" in note for note in notes), notes


def test_the_fingerprint_sees_another_frame(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "t", files(*CLIPS))
    before = load_data(catalogue(tmp_path, root)).fingerprint
    assert load_data(catalogue(tmp_path, root)).fingerprint == before
    (root / CLIPS[0] / "frame12.png").write_bytes(png(12))
    assert load_data(catalogue(tmp_path, root)).fingerprint != before


def reason(locator: Locator) -> tuple[Reason, str]:
    with pytest.raises(MediaError) as caught:
        decode(read_source(locator), Preprocessing.from_mapping(Modality.VIDEO, {"num_frames": 4}))
    return caught.value.reason, str(caught.value)


def test_faults_of_frames_are_errors_without_names(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "secret", files("a", "b", "c"))
    (root / "a" / "frame2.png").unlink()
    (root / "a" / "frame2.png").symlink_to("nowhere-secret.png")
    (root / "b" / "frame10.png").write_bytes(b"")
    (root / "c" / "frame1.png").write_bytes(b"secret, no image")
    found = [reason(Locator("frames", str(root / name))) for name in "abc"]
    assert [code for code, _ in found] == [Reason.FILE_MISSING, Reason.FILE_EMPTY, Reason.UNKNOWN_FORMAT]
    assert [message[:12] for _, message in found] == ["Frame 2 of 4", "Frame 3 of 4", "Frame 1 of 4"]
    found += [reason(Locator("frames", str(root / "gone")))]
    assert found[-1][0] is Reason.FILE_MISSING
    (root / "empty").mkdir()
    found += [reason(Locator("frames", str(root / "empty")))]
    assert found[-1][0] is Reason.NO_FRAMES
    found += [reason(Locator("frames", str(write_tree(tmp_path, {"x.bin": b"1"}) / "x.bin")))]
    assert found[-1][0] is Reason.UNSUPPORTED
    assert not any("secret" in message or str(tmp_path) in message for _, message in found)


def test_faults_in_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "c.zip", files("a", "b"))
    content = bytearray(path.read_bytes())
    at = content.find(b"a/frame2.png") + len("a/frame2.png")
    content[at + 20] ^= 0xFF  # the stored content of frame 2: its checksum is wrong now
    path.write_bytes(bytes(content))
    code, message = reason(Locator("frames", str(path), member="a"))
    assert code is Reason.ARCHIVE_DAMAGED
    assert "frame 2 of 4" in message
    assert "frame2" not in message
    assert greys(read_source(Locator("frames", str(path), member="b"))) == list(FRAMES)
    assert reason(Locator("frames", str(path), member="z"))[0] is Reason.NO_FRAMES
    monkeypatch.setattr(frames_module, "MAX_MEMBER_BYTES", 100)
    assert reason(Locator("frames", str(path), member="b"))[0] is Reason.TOO_LARGE
    monkeypatch.setattr(frames_module, "MAX_FRAMES", 3)
    assert reason(Locator("frames", str(path), member="b"))[0] is Reason.TOO_LARGE


def test_two_frames_of_one_name_make_a_clip_a_skipped_sample(tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files("real/a", "real/b").items():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("real/a/frame1.png", png(99))
    samples = {s.member: s for s in load_data(catalogue(tmp_path, path)).samples}
    assert samples["real/a"].skip is Reason.ARCHIVE_DAMAGED
    assert samples["real/b"].skip is None


def test_wrong_use_is_told(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "t", {"real/a.mp4": b"x"})
    with pytest.raises(DataError, match="no folders of images"):
        load_data(catalogue(tmp_path, root))
    made = catalogue(tmp_path, write_tree(tmp_path / "u", files(*CLIPS)))
    made.write_text(made.read_text().replace("modality: video", "modality: audio"), encoding="utf-8")
    with pytest.raises(DataError, match="is for clips"):
        load_data(made)
