from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gasdet.data import load_data, read_source
from gasdet.data.tree import folder_facts
from gasdet.errors import DataError, MediaError
from gasdet.types import Locator, MediaType, Modality, Reason, Sample, sample_id

from .conftest import JPEG, PNG, WAV

Tree = Callable[..., Path]
REAL, SYNTHETIC, SEMI = MediaType.REAL, MediaType.SYNTHETIC, MediaType.SEMISYNTHETIC


UNLABELLED = (
    "no labels (no folder is called real, synthetic or the like): samples are scored and take no part in the metrics"
)


def by_member(source: object) -> dict[str, Sample]:
    return {s.member: s for s in load_data(source).samples}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "media_type", "generator", "split"),
    [
        ("real", REAL, "", ""),
        ("synthetic/sdxl", SYNTHETIC, "sdxl", ""),
        ("real/nikon/2024", REAL, "nikon", ""),
        ("0_real", REAL, "", ""),
        ("1_fake/progan", SYNTHETIC, "progan", ""),
        ("progan/1_fake", SYNTHETIC, "progan", ""),
        ("progan/airplane/1_fake", SYNTHETIC, "progan", ""),
        ("progan/0_real", REAL, "", ""),
        ("sdv14/train/ai", SYNTHETIC, "sdv14", "train"),
        ("sdv14/val/nature", REAL, "", "val"),
        ("test/video/fake/gen", SYNTHETIC, "gen", "test"),
        ("synthetic/images/gen", SYNTHETIC, "gen", ""),
        ("real/validation", REAL, "", "val"),
        ("semisynthetic/inpaint", SEMI, "inpaint", ""),
        ("fake/real", REAL, "", ""),
        ("real/fake/x", SYNTHETIC, "x", ""),
        ("holiday/beach", None, "", ""),
    ],
)
def test_folder_facts(path: str, media_type: MediaType | None, generator: str, split: str) -> None:
    facts = folder_facts(tuple(path.split("/")))
    assert (facts.media_type, facts.generator, facts.split) == (media_type, generator, split)


def test_a_labelled_tree(tree: Tree) -> None:
    root = tree("real/a.jpg", "real/cam/b.png", "synthetic/gan/c.wav", "semisynthetic/d.mp4", "real/a.b.c.JPG")
    samples = by_member(root)
    assert {m: (s.media_type, s.modality, s.generator) for m, s in samples.items()} == {
        "real/a.b.c.JPG": (REAL, Modality.IMAGE, ""),
        "real/a.jpg": (REAL, Modality.IMAGE, ""),
        "real/cam/b.png": (REAL, Modality.IMAGE, "cam"),
        "semisynthetic/d.mp4": (SEMI, Modality.VIDEO, ""),
        "synthetic/gan/c.wav": (SYNTHETIC, Modality.AUDIO, "gan"),
    }
    for member, sample in samples.items():
        assert sample.dataset == "photos"
        assert sample.sample_id == sample_id("photos", member) == sample.group
        assert sample.skip is None
        assert read_source(sample.locator) == root / member
        assert sample.locator.size == (root / member).stat().st_size


def test_what_is_no_media_is_defined(tree: Tree) -> None:
    root = tree(
        "real/a.jpg",
        contents={
            "real/noext": PNG,
            "real/odd.ext": WAV,
            "real/notes.xyz": b"neither",
            "real/array.npy": b"\x93NUMPY",
            "synthetic/empty.jpg": b"",
            "synthetic/text.png": b"a text",
            "README": b"x",
            "LICENSE.md": b"x",
            "real/caption.txt": b"x",
            "real/.DS_Store": b"x",
            "stray.jpg": JPEG,
            "stray.bin": b"x",
        },
    )
    dataset = load_data(root)
    samples = {s.member: s for s in dataset.samples}
    assert {m: s.skip for m, s in samples.items() if s.skip} == {
        "real/notes.xyz": Reason.UNKNOWN_MODALITY,
        "real/array.npy": Reason.UNKNOWN_MODALITY,
        "stray.bin": Reason.UNKNOWN_MODALITY,
        "stray.jpg": Reason.LABEL_UNREADABLE,
    }
    assert all(s.skip_message for s in samples.values() if s.skip)
    assert samples["real/noext"].modality is Modality.IMAGE
    assert samples["real/odd.ext"].modality is Modality.AUDIO
    assert samples["synthetic/text.png"].modality is Modality.IMAGE
    assert len(samples) == 9
    assert dataset.notes == (
        "1 hidden or system file left out",
        "3 text or table files beside the media left out (1 .md, 1 .txt, 1 README)",
    )
    with pytest.raises(MediaError) as caught:
        read_source(samples["synthetic/empty.jpg"].locator)
    assert caught.value.reason is Reason.FILE_EMPTY


def test_an_archive_among_media_is_told(tree: Tree) -> None:
    seven_zip = b"7z\xbc\xaf\x27\x1c" + bytes(300)
    tar = bytes(257) + b"ustar" + bytes(250)
    root = tree(
        "real/a.jpg",
        contents={
            "real/whole.zip": b"PK\x05\x06" + bytes(18),
            "real/broken.zip": b"no zip at all",
            "synthetic/more.tar.gz": b"",
            "synthetic/packed.7z": b"",
            "synthetic/unnamed": seven_zip,
            "synthetic/part.001": tar,
            "real/zipped": b"PK\x03\x04" + bytes(300),
            "real/weights.npz": b"PK\x03\x04" + bytes(300),
            "real/other.xyz": b"neither",
        },
    )
    dataset = load_data(root)
    told = {s.member for s in dataset.samples if "is an archive among the media" in s.skip_message}
    assert told == {
        "real/whole.zip", "real/broken.zip", "real/zipped",
        "synthetic/more.tar.gz", "synthetic/packed.7z", "synthetic/unnamed", "synthetic/part.001",
    }  # fmt: skip
    assert {s.skip for s in dataset.samples if s.member != "real/a.jpg"} == {Reason.UNKNOWN_MODALITY}
    assert dataset.notes == ("7 archives among the media not looked into; unpack them, or give their own paths",)


def test_an_unlabelled_tree_is_all_scored(tree: Tree) -> None:
    dataset = load_data(tree("a.jpg", "sub/b.jpg"))
    assert [(s.member, s.media_type, s.skip) for s in dataset.samples] == [
        ("a.jpg", None, None),
        ("sub/b.jpg", None, None),
    ]
    assert dataset.notes == (UNLABELLED,)


def test_a_folder_called_real_is_the_same_alone_or_in_its_tree(tree: Tree) -> None:
    root = tree("real/a.jpg", "synthetic/gan/a.jpg")
    whole = load_data(root)
    apart = load_data([root / "real", root / "synthetic"])
    assert apart.samples == whole.samples
    assert apart.fingerprint == whole.fingerprint
    one = load_data(root / "real")
    assert [(s.dataset, s.member, s.media_type) for s in one.samples] == [("photos", "real/a.jpg", REAL)]


def test_a_label_can_be_stated_for_a_folder(tree: Tree) -> None:
    mine = tree("a.jpg", "fake/b.jpg", folder="mine")
    made = tree("a.jpg", folder="made")
    samples = load_data([f"real:{mine}", f"synthetic:{made}"]).samples
    assert [(s.dataset, s.member, s.media_type) for s in samples] == [
        ("mine", "a.jpg", REAL),
        ("mine", "fake/b.jpg", REAL),
        ("made", "a.jpg", SYNTHETIC),
    ]


def test_an_archive_is_like_the_tree_it_holds(tree: Tree, tmp_path: Path) -> None:
    root = tree("real/cam/a.jpg", "synthetic/gan/b.png", "README.md", ".hidden")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as made:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                made.write(path, path.relative_to(root))
    on_disk, packed = load_data(root), load_data(tmp_path / "photos.zip")
    anywhere = Locator("file", "")
    assert [replace(s, locator=anywhere) for s in packed.samples] == [
        replace(s, locator=anywhere) for s in on_disk.samples
    ]
    assert [s.locator.size for s in packed.samples] == [s.locator.size for s in on_disk.samples]
    assert [s.sample_id for s in packed.samples] == [s.sample_id for s in on_disk.samples]
    assert packed.notes == on_disk.notes
    assert [read_source(s.locator) for s in packed.samples] == [
        Path(read_source(s.locator)).read_bytes()  # type: ignore[arg-type]
        for s in on_disk.samples
    ]


def test_a_folder_of_archives_is_one_data_set(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    for name in ("real.zip", "fake.zip"):
        with zipfile.ZipFile(folder / name, "w") as made:
            made.writestr("a.jpg", JPEG)
    samples = load_data(folder).samples
    assert [(s.dataset, s.member, s.media_type) for s in samples] == [
        ("packed", "fake.zip/a.jpg", SYNTHETIC),
        ("packed", "real.zip/a.jpg", REAL),
    ]


def test_odd_names_work_to_the_end(tree: Tree) -> None:
    names = ["real/sp ace.jpg", "real/ünï_写真_🦎.jpg", "fake/new\nline.jpg", "fake/a.b.c.jpg"]
    root = tree(*names)
    os.rename(root / "fake" / "a.b.c.jpg", os.fsencode(root) + b"/fake/caf\xe9.jpg")
    samples = by_member(root)
    assert set(samples) == {*names[:3], "fake/caf\\xe9.jpg"}
    for member, sample in samples.items():
        assert os.path.exists(read_source(sample.locator))
        assert sample.sample_id == sample_id("photos", member)


def test_same_names_from_two_places_are_refused(tree: Tree) -> None:
    one = tree("x.jpg", folder="one/photos")
    two = tree("x.jpg", folder="two/photos")
    with pytest.raises(DataError, match=r"both give x\.jpg of the data set photos"):
        load_data([one, two])
    with pytest.raises(DataError, match="given twice"):
        load_data([one, one])


def test_broken_media_as_a_zip_and_unpacked(shared_media: Path, tmp_path: Path) -> None:
    archive = shared_media / "broken.zip"
    with zipfile.ZipFile(archive) as packed:
        names = {i.filename for i in packed.infolist() if not i.is_dir()}
        packed.extractall(tmp_path / "broken")
    zipped = by_member(archive)
    assert set(zipped) == names
    assert len(names) == 27
    assert not [s for s in zipped.values() if s.skip or s.media_type]
    assert zipped["text_renamed.png"].modality is Modality.IMAGE

    # The archive cannot hold the links that manifest.csv lists under broken/symlink_loop.
    loop = tmp_path / "broken" / "symlink_loop"
    (loop / "inner").mkdir()
    for link, target in {
        "self": ".",
        "inner/up": "..",
        "loop_a": "loop_b",
        "loop_b": "loop_a",
        "dangling.jpg": "nowhere.jpg",
        "link_to_photo.jpg": "photo.jpg",
    }.items():
        (loop / link).symlink_to(target)
    dataset = load_data(tmp_path / "broken")
    found = {s.member: s for s in dataset.samples}
    assert set(found) == names | {f"symlink_loop/{n}" for n in ("loop_a", "loop_b", "dangling.jpg")}
    assert dataset.notes == ("3 symbolic links point to what is already counted", UNLABELLED)
    assert {m: s.skip for m, s in found.items() if s.skip} == {
        "symlink_loop/loop_a": Reason.SYMLINK_LOOP,
        "symlink_loop/loop_b": Reason.SYMLINK_LOOP,
    }
    reasons = {}
    for member in ("dangling.jpg", "loop_a"):
        with pytest.raises(MediaError) as caught:
            read_source(found[f"symlink_loop/{member}"].locator)
        reasons[member] = caught.value.reason
    assert reasons == {"dangling.jpg": Reason.FILE_MISSING, "loop_a": Reason.SYMLINK_LOOP}
    for name in names:
        unpacked = (tmp_path / "broken" / name).read_bytes()
        if unpacked:
            assert read_source(zipped[name].locator) == unpacked
        else:
            with pytest.raises(MediaError) as caught:
                read_source(zipped[name].locator)
            assert caught.value.reason is Reason.FILE_EMPTY


def test_a_loop_with_a_media_name_is_planned_and_fails_when_read(tree: Tree) -> None:
    root = tree("real/a.jpg")
    (root / "real" / "loop.jpg").symlink_to("loop.jpg")
    sample = by_member(root)["real/loop.jpg"]
    assert (sample.skip, sample.modality) == (None, Modality.IMAGE)
    with pytest.raises(MediaError) as caught:
        read_source(sample.locator)
    assert caught.value.reason is Reason.SYMLINK_LOOP
