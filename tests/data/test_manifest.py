from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gasdet.data import Dataset, load_data, read_source
from gasdet.errors import DataError, MediaError
from gasdet.types import MediaType, Modality, Reason

from .conftest import JPEG, PNG

Tree = Callable[..., Path]
REAL, SYNTHETIC, SEMI = MediaType.REAL, MediaType.SYNTHETIC, MediaType.SEMISYNTHETIC


@pytest.fixture
def manifest(tree: Tree) -> Callable[..., Dataset]:
    """Writes a manifest beside a few files and loads it."""

    def load(text: str, name: str = "list.csv", encoding: str = "utf-8", **options: object) -> Dataset:
        root = tree("a.jpg", "sub/b.png", "c.wav", contents={"noext": PNG, "junk": b"neither"})
        (root / name).write_bytes(text.encode(encoding, "surrogateescape"))
        return load_data(root / name, **options)  # type: ignore[arg-type]

    return load


def test_all_columns(manifest: Callable[..., Dataset]) -> None:
    found = manifest(
        "path,label,modality,generator,split,group,dataset,weight,pair_id,release_date\n"
        "a.jpg,real,image,nikon,train,g1,d1,2.5,p1,\n"
        "sub/b.png,semisynthetic,,sdxl,validation,,,,p1,2023-07\n"
    ).samples
    first, second = found
    assert [(s.pair, s.released) for s in found] == [("p1", ""), ("p1", "2023-07")]
    assert (first.dataset, first.media_type, first.generator, first.split, first.group, first.weight) == (
        ("d1", REAL, "nikon", "train", "g1", 2.5)
    )
    assert (second.dataset, second.media_type, second.modality, second.split, second.weight) == (
        ("list", SEMI, Modality.IMAGE, "val", 1.0)
    )
    assert second.group == second.sample_id
    assert Path(read_source(second.locator)).name == "b.png"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cell", "released"),
    [
        ("2024-08-31 00:00:00", "2024-08-31"),
        ("2024-08-31T12:30:00.5Z", "2024-08-31"),
        ("2023.0", "2023"),
        (" 2024-08 ", "2024-08"),
        ("August", "August"),  # a split by date refuses it; an evaluation has no use for it
        ("", ""),
    ],
)
def test_release_dates_as_table_tools_write_them(manifest: Callable[..., Dataset], cell: str, released: str) -> None:
    (only,) = manifest(f"path,label,released\na.jpg,fake,{cell}\n").samples
    assert only.released == released


@pytest.mark.parametrize("path_column", ["path", "filename", "file_name", "image_path", "File_Name"])
@pytest.mark.parametrize("label_column", ["label", "target", "class", "LABEL"])
def test_column_names(manifest: Callable[..., Dataset], path_column: str, label_column: str) -> None:
    found = manifest(f"id,{label_column},{path_column}\n7,1,a.jpg\n8,0,c.wav\n").samples
    assert [(s.member, s.media_type, s.modality) for s in found] == [
        ("a.jpg", SYNTHETIC, Modality.IMAGE),
        ("c.wav", REAL, Modality.AUDIO),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.tsv", "path\tlabel\na.jpg\treal\n"),
        ("x.csv", "path;label\na.jpg;real\n"),
        ("x.csv", "\ufeffpath,label\r\na.jpg,real\r\n"),
        ("x.csv", '"path","label"\n\n"a.jpg",real\n'),
    ],
)
def test_dialects(manifest: Callable[..., Dataset], name: str, text: str) -> None:
    assert [(s.member, s.media_type) for s in manifest(text, name).samples] == [("a.jpg", REAL)]


def test_rows_that_cannot_be_used_have_defined_results(manifest: Callable[..., Dataset]) -> None:
    dataset = manifest(
        "path,label\n"
        "a.jpg,real\n"
        "sub/b.png,maybe\n"
        "c.wav\n"
        "absent.jpg,fake\n"
        ",real\n"
        "junk,real\n"
        "noext,real\n"
        "https://example.org/x.jpg,real\n"
    )
    found = {s.member: s for s in dataset.samples}
    assert {m: s.skip for m, s in found.items() if s.skip} == {
        "sub/b.png": Reason.LABEL_UNREADABLE,
        "c.wav": Reason.LABEL_UNREADABLE,
        "(line 6)": Reason.FILE_MISSING,
        "junk": Reason.UNKNOWN_MODALITY,
    }
    assert "'maybe' in line 3 of" in found["sub/b.png"].skip_message
    assert found["noext"].modality is Modality.IMAGE
    assert dataset.notes == (f"2 files listed in {dataset.description} are missing",)
    with pytest.raises(MediaError) as caught:
        read_source(found["absent.jpg"].locator)
    assert caught.value.reason is Reason.FILE_MISSING


def test_a_file_listed_twice(manifest: Callable[..., Dataset]) -> None:
    dataset = manifest("path,label\na.jpg,real\n./a.jpg,0\nc.wav,real\nc.wav,fake\n")
    assert [(s.member, s.media_type, s.skip) for s in dataset.samples] == [
        ("a.jpg", REAL, None),
        ("c.wav", None, Reason.LABEL_UNREADABLE),
    ]
    assert dataset.notes == ("2 rows left out that list a file again",)


@pytest.mark.parametrize("text", ["path\na.jpg\nc.wav\n", "path,label\na.jpg,\nc.wav,\n"])
def test_without_labels_everything_is_scored(manifest: Callable[..., Dataset], text: str) -> None:
    assert [(s.media_type, s.skip) for s in manifest(text).samples] == [(None, None)] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a manifest's first line"),
        ("a.jpg,0\nc.wav,1\n", "has no column with paths"),
        ("path,label\na.jpg,cat\nc.wav,dog\n", r"none of the labels in column label .* \(they read 'cat', 'dog'\)"),
        ("path,label\nx.jpg,0\ny.jpg,1\n", "none of the 2 files that .* lists exists"),
        ("path,label,weight\na.jpg,0,heavy\n", "the weight 'heavy' in line 2 of"),
        ("path,label,weight\na.jpg,0,-1\n", "the weight '-1' in line 2 of"),
        ("path,label,weight\na.jpg,0,nan\n", "the weight 'nan' in line 2 of"),
        ("path,label\n", "nothing is left of"),
    ],
)
def test_tables_that_cannot_be_used(manifest: Callable[..., Dataset], text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        manifest(text)


def test_paths_in_any_form(tree: Tree, tmp_path: Path) -> None:
    root = tree("lists/x.csv", "sp ace.jpg", "ü.jpg", "new\nline.jpg", "other/q.jpg")
    with open(os.fsencode(root) + b"/caf\xe9.jpg", "wb") as file:
        file.write(JPEG)
    absolute = tree("z.jpg", folder="elsewhere") / "z.jpg"
    (root / "list.csv").write_bytes(
        f'path,label\nsp ace.jpg,0\nü.jpg,0\n"new\nline.jpg",0\n./other/../other/q.jpg,0\n{absolute},0\n'.encode()
        + b"caf\xe9.jpg,1\n"
    )
    found = load_data(root / "list.csv").samples
    assert [s.member for s in found] == [
        "sp ace.jpg",
        "ü.jpg",
        "new\nline.jpg",
        "other/q.jpg",
        str(absolute),
        "caf\\xe9.jpg",
    ]
    assert all(os.path.exists(read_source(s.locator)) for s in found)


def test_a_manifest_names_its_data_set_and_split(tree: Tree) -> None:
    root = tree("a.jpg", "b.jpg", folder="cats")
    (root / "train.csv").write_text("path,label\na.jpg,0\n")
    (root / "test.csv").write_text("path,label\nb.jpg,1\n")
    both = load_data([root / "train.csv", root / "test.csv"])
    assert [(s.dataset, s.split) for s in both.samples] == [("cats", "train"), ("cats", "test")]
    assert [s.member for s in load_data(root / "test.csv", split="test").samples] == ["b.jpg"]
    with pytest.raises(DataError, match="cats has no split 'val': it has test"):
        load_data(root / "test.csv", split="val")


def test_a_folder_with_a_manifest_and_no_label_folders(tree: Tree) -> None:
    root = tree("files/a.jpg", "files/b.jpg")
    (root / "metadata.csv").write_text("file_name,label\nfiles/a.jpg,fake\n")
    assert [(s.dataset, s.member, s.media_type) for s in load_data(root).samples] == [
        ("photos", "files/a.jpg", SYNTHETIC)
    ]
    (root / "real").mkdir()
    (root / "real" / "c.jpg").write_bytes(JPEG)
    labelled = load_data(root)
    assert len(labelled.samples) == 3
    assert "metadata.csv not used" in labelled.notes[0]


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
@pytest.mark.parametrize("top", ["", "inside/"])
def test_an_archive_with_a_manifest(tree: Tree, tmp_path: Path, form: str, top: str) -> None:
    root = tree("m/a.jpg", "m/b.jpg", contents={"manifest.csv": b"path,label\nm/a.jpg,real\nm/x.jpg,fake\n"})
    path = tmp_path / f"data.{form}"
    names = ["manifest.csv", "m/a.jpg", "m/b.jpg"]
    if form == "zip":
        with zipfile.ZipFile(path, "w") as made:
            for name in names:
                made.write(root / name, top + name)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name in names:
                tar.add(root / name, top + name)
    found = load_data(path).samples
    assert [(s.member, s.media_type, s.locator.kind) for s in found] == [
        (f"{top}m/a.jpg", REAL, form[:3]),
        (f"{top}m/x.jpg", SYNTHETIC, form[:3]),
    ]
    assert read_source(found[0].locator) == (root / "m" / "a.jpg").read_bytes()
    with pytest.raises(MediaError) as caught:
        read_source(found[1].locator)
    assert caught.value.reason is Reason.FILE_MISSING


def test_archives_called_by_their_split_make_one_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "cats"
    folder.mkdir()
    for split in ("train", "test"):
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as made:
            made.writestr("manifest.csv", "path,label\na.jpg,real\n")
            made.writestr("a.jpg", JPEG)
    expected = [("cats", "train/a.jpg", "train"), ("cats", "test/a.jpg", "test")]
    found = load_data([folder / "train.zip", folder / "test.zip"]).samples
    assert [(s.dataset, s.member, s.split) for s in found] == expected
