from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from gasdet.data import archives, read_head, read_source
from gasdet.data.archives import list_archive
from gasdet.data.listing import head_where_name_says_nothing
from gasdet.errors import DataError, MediaError
from gasdet.types import Locator, Reason

from .conftest import JPEG, PNG


def listed(path: Path) -> dict[str, Reason | None]:
    entries = list_archive(str(path), needs_head=head_where_name_says_nothing).entries
    return {e.member: e.problem[0] if e.problem else None for e in entries}


def reason_of(kind: str, path: Path, member: str) -> Reason:
    with pytest.raises(MediaError) as caught:
        read_source(Locator(kind, str(path), member=member))  # type: ignore[arg-type]
    return caught.value.reason


def tar_with(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def tar_info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.fixture(params=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"data.{request.param}"
    files = {"./real/b c.jpg": JPEG + b"b", "real/ä\n.jpg": JPEG + b"a", "fake/noext": PNG, "real/.DS_Store": b"x"}
    if request.param == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("real/", b"")
            for name, content in files.items():
                made.writestr(name, content)
    else:
        mode = "w" if request.param == "tar" else f"w:{request.param[4:]}"
        tar_with(
            path,
            [(tar_info("real", tarfile.DIRTYPE), b"")] + [(tar_info(n), c) for n, c in files.items()],
            mode,
        )
    return path


def test_every_format_lists_and_reads_the_same(archive: Path) -> None:
    listing = list_archive(str(archive), needs_head=head_where_name_says_nothing)
    assert {e.member for e in listing.entries} == {"real/b c.jpg", "real/ä\n.jpg", "fake/noext"}
    assert listing.notes == ["1 hidden or system file left out"]
    content = {e.member: read_source(e.locator) for e in listing.entries}
    assert content == {"real/b c.jpg": JPEG + b"b", "real/ä\n.jpg": JPEG + b"a", "fake/noext": PNG}
    assert {e.member: e.locator.size for e in listing.entries} == {m: len(c) for m, c in content.items()}
    assert {e.member: e.head for e in listing.entries}["fake/noext"] == PNG
    backwards = {e.member: read_source(e.locator) for e in reversed(listing.entries)}
    assert backwards == content
    assert read_head(listing.entries[0].locator, 5) == content[listing.entries[0].member][:5]


def test_a_tar_keeps_its_own_order_and_a_zip_is_sorted(tmp_path: Path) -> None:
    tar = tar_with(tmp_path / "x.tar", [(tar_info(n), JPEG) for n in ("b.jpg", "a.jpg", "c.jpg")])
    assert list(listed(tar)) == ["b.jpg", "a.jpg", "c.jpg"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        for name in ("b.jpg", "a.jpg", "c.jpg"):
            made.writestr(name, JPEG)
    assert list(listed(tmp_path / "x.zip")) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_compressed_tar_is_decompressed_once_for_reading_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i:03d}.jpg" for i in range(50)]
    path = tar_with(tmp_path / "x.tar.gz", [(tar_info(n), os.urandom(20_000)) for n in names], "w:gz")
    rewinds = []
    rewind = gzip._GzipReader._rewind  # type: ignore[attr-defined]

    def counting(reader: object) -> None:
        rewinds.append(1)
        rewind(reader)

    monkeypatch.setattr(gzip._GzipReader, "_rewind", counting)  # type: ignore[attr-defined]
    for name in names:
        read_source(Locator("tar", str(path), member=name))
    assert not rewinds
    read_source(Locator("tar", str(path), member=names[0]))
    assert rewinds


def test_unsafe_zip_members_are_errors_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("../escape.jpg", "/etc/absolute.jpg", "C:\\windows.jpg", "a/../../b.jpg", "good.jpg"):
            made.writestr(name, JPEG)
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "good.jpg")
    found = listed(path)
    assert found.pop("good.jpg") is None
    assert len(found) == 5
    assert set(found.values()) == {Reason.UNSUPPORTED}
    for member in ("../escape.jpg", "/etc/absolute.jpg", "a/../../b.jpg", "link.jpg"):
        assert reason_of("zip", path, member) is Reason.UNSUPPORTED
    assert read_source(Locator("zip", str(path), member="good.jpg")) == JPEG
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.zip"]


def test_unsafe_tar_members_are_errors_of_their_own(tmp_path: Path) -> None:
    members = [
        (tar_info("../escape.jpg"), JPEG),
        (tar_info("/etc/absolute.jpg"), JPEG),
        (tar_info("sym.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (tar_info("hard.jpg", tarfile.LNKTYPE, "good.jpg"), b""),
        (tar_info("device.jpg", tarfile.CHRTYPE), b""),
        (tar_info("pipe.jpg", tarfile.FIFOTYPE), b""),
        (tar_info("good.jpg"), JPEG),
    ]
    path = tar_with(tmp_path / "x.tar", members)
    found = listed(path)
    assert found.pop("good.jpg") is None
    assert len(found) == 6
    assert set(found.values()) == {Reason.UNSUPPORTED}
    for member in found:
        assert reason_of("tar", path, member) is Reason.UNSUPPORTED
    assert read_source(Locator("tar", str(path), member="good.jpg")) == JPEG


def test_encrypted_members_are_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("secret.jpg", JPEG)
    content = bytearray(path.read_bytes())
    for magic, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(magic) + flags_at
        content[at] |= 1
    path.write_bytes(content)
    assert listed(path) == {"secret.jpg": Reason.UNSUPPORTED}
    assert reason_of("zip", path, "secret.jpg") is Reason.UNSUPPORTED


def test_bombs_are_refused_before_they_expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RATIO_FLOOR_BYTES", 100_000)
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 5_000_000)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("bomb.bmp", bytes(1_000_000))  # shrinks about a thousandfold
        made.writestr("silence.wav", bytes(90_000))  # as much, but small
        made.writestr("noise.wav", os.urandom(1_000_000))
        made.writestr("huge.bmp", os.urandom(1000) * 5001)
    assert listed(path) == {
        "bomb.bmp": Reason.TOO_LARGE,
        "huge.bmp": Reason.TOO_LARGE,
        "noise.wav": None,
        "silence.wav": None,
    }
    assert reason_of("zip", path, "bomb.bmp") is Reason.TOO_LARGE
    assert reason_of("zip", path, "huge.bmp") is Reason.TOO_LARGE
    assert len(read_source(Locator("zip", str(path), member="silence.wav"))) == 90_000  # type: ignore[arg-type]


def test_a_zip_that_lies_about_a_size_yields_no_more_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("liar.jpg", bytes(3_000_000))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    assert reason_of("zip", path, "liar.jpg") is Reason.ARCHIVE_DAMAGED


def test_a_gzip_bomb_is_refused_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RATIO_FLOOR_BYTES", 100_000)
    path = tar_with(tmp_path / "x.tar.gz", [(tar_info(f"{i}.bmp"), bytes(1_000_000)) for i in range(3)], "w:gz")
    with pytest.raises(DataError, match="expands to more than 200 times"):
        listed(path)


def test_a_zip_whose_members_share_their_bytes_is_refused_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No member is too large by itself; every entry of the directory points to one and the same content."""
    monkeypatch.setattr(archives, "RATIO_FLOOR_BYTES", 10_000)
    monkeypatch.setattr(archives, "MAX_RATIO", 50)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("0.bmp", bytes(9_000) + os.urandom(50))
        first = made.infolist()[0]
        for i in range(1, 500):
            twin = zipfile.ZipInfo(f"{i}.bmp")
            twin.compress_type, twin.header_offset, twin.CRC = first.compress_type, first.header_offset, first.CRC
            twin.file_size, twin.compress_size = first.file_size, first.compress_size
            made.filelist.append(twin)
            made.NameToInfo[twin.filename] = twin
    assert path.stat().st_size < 40_000
    with pytest.raises(DataError, match="expands to more than 50 times"):
        listed(path)


def test_archives_of_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        for i in range(30):
            made.writestr(f"{i}.jpg", JPEG)
    tar_with(tmp_path / "x.tar", [(tar_info(f"{i}.jpg"), JPEG) for i in range(30)])
    assert len(listed(tmp_path / "x.zip")) == len(listed(tmp_path / "x.tar")) == 30
    monkeypatch.setattr(archives, "MAX_MEMBERS", 29)
    for name in ("x.zip", "x.tar"):
        with pytest.raises(DataError, match="more than 29 members"):
            listed(tmp_path / name)
    assert reason_of("zip", tmp_path / "x.zip", "0.jpg") is Reason.TOO_LARGE
    monkeypatch.undo()
    opened: list[str] = []
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 1000)
    monkeypatch.setattr(archives.zipfile, "ZipFile", opened.append)
    with pytest.raises(DataError, match="directory has"):
        listed(tmp_path / "x.zip")
    assert not opened, "the directory was read before it was measured"


def test_a_damaged_member_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("bad.jpg", JPEG + b"target-bytes")
        made.writestr("good.jpg", JPEG)
    path.write_bytes(path.read_bytes().replace(b"target-bytes", b"Target-bytes"))
    assert reason_of("zip", path, "bad.jpg") is Reason.ARCHIVE_DAMAGED
    assert read_source(Locator("zip", str(path), member="good.jpg")) == JPEG


def test_archives_damaged_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"this is no archive")
    (tmp_path / "no.tar.gz").write_bytes(b"this is no archive")
    whole = tar_with(tmp_path / "w.tar.gz", [(tar_info(f"{i}.jpg"), os.urandom(5000)) for i in range(9)], "w:gz")
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:20_000])
    plain = tar_with(tmp_path / "w.tar", [(tar_info(f"{i}.jpg"), os.urandom(5000)) for i in range(9)])
    (tmp_path / "cut.tar").write_bytes(plain.read_bytes()[:20_000])
    for name in ("no.zip", "no.tar.gz", "cut.tar.gz", "cut.tar"):
        with pytest.raises(DataError, match=r"is damaged or no (zip|tar) archive"):
            listed(tmp_path / name)
        kind = "zip" if name.endswith("zip") else "tar"
        assert reason_of(kind, tmp_path / name, "8.jpg") is Reason.ARCHIVE_DAMAGED
    assert reason_of("zip", tmp_path / "absent.zip", "8.jpg") is Reason.FILE_MISSING
    assert reason_of("tar", whole, "absent.jpg") is Reason.FILE_MISSING


def test_a_doubled_name_is_one_entry_with_a_problem(tmp_path: Path) -> None:
    path = tar_with(tmp_path / "x.tar", [(tar_info("a.jpg"), JPEG), (tar_info("./a.jpg"), PNG)])
    assert listed(path) == {"a.jpg": Reason.ARCHIVE_DAMAGED}


def test_backslashes_are_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("real\\a.jpg", JPEG)
    entries = list_archive(str(tmp_path / "x.zip"), needs_head=lambda _: False).entries
    assert [e.member for e in entries] == ["real/a.jpg"]
    assert read_source(entries[0].locator) == JPEG


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tar_with(tmp_path / "x.tar", [(tar_info("caf\udce9.jpg"), JPEG)])
    entries = list_archive(str(path), needs_head=lambda _: False).entries
    assert [e.member for e in entries] == ["caf\\xe9.jpg"]
    assert read_source(entries[0].locator) == JPEG
