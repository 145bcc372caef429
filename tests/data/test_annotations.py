"""Columns of a manifest that a training asks for, as the samples' annotations."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gasdet.data import load_csv_pair, load_data

from .conftest import WAV

Tree = Callable[..., Path]
ASKED = ("breath_mask", "speaker")
CELLS = [" 0.05-0.34 2.16-2.42", "", "1.0-1.5 "]
WANTED = ["0.05-0.34 2.16-2.42", "", "1.0-1.5"]
TEXT = "path,label,Breath_Mask,notes\n" + "".join(
    f"{name}.wav,{label},{cell},x\n" for name, label, cell in zip("abc", [0, 1, 0], CELLS, strict=True)
)


@pytest.fixture
def folder(tree: Tree) -> Path:
    root = tree("a.wav", "b.wav", "c.wav", folder="sounds")
    (root / "manifest.csv").write_text(TEXT)
    return root


def archived(folder: Path, kind: str) -> Path:
    path = folder.parent / f"sounds.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            for member in sorted(folder.iterdir()):
                file.write(member, f"inside/{member.name}")
    else:
        with tarfile.open(path, "w") as file:
            file.add(folder, "inside")
    return path


def tabled(folder: Path, kind: str) -> Path:
    if kind == "tsv":
        (folder / "list.tsv").write_text(TEXT.replace(",", "\t"))
        return folder / "list.tsv"
    columns = {"label": [0, 1, 0], "breath_mask": [CELLS[0], None, CELLS[2]]}
    if kind == "manifest.parquet":
        columns |= {"path": ["a.wav", "b.wav", "c.wav"]}
    else:
        columns |= {"audio": pa.array([WAV + bytes([i]) for i in range(3)], pa.binary())}
    pq.write_table(pa.table(columns), folder / kind)
    return folder / kind


def catalogued(folder: Path) -> Path:
    path = folder.parent / "catalogue.yaml"
    path.write_text("datasets:\n  - {name: mine, path: sounds/manifest.csv}\n")
    return path


SOURCES: dict[str, Callable[[Path], Path]] = {
    "csv": lambda folder: folder / "manifest.csv",
    "tsv": lambda folder: tabled(folder, "tsv"),
    "folder": lambda folder: folder,
    "zip": lambda folder: archived(folder, "zip"),
    "tar": lambda folder: archived(folder, "tar"),
    "manifest.parquet": lambda folder: tabled(folder, "manifest.parquet"),
    "media.parquet": lambda folder: tabled(folder, "media.parquet"),
    "catalogue": catalogued,
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_table_gives_what_is_asked_for(folder: Path, source: str) -> None:
    path = SOURCES[source](folder)
    dataset = load_data(path, annotations=ASKED)
    assert [sample.annotations for sample in dataset.samples] == [{"breath_mask": cell} for cell in WANTED]
    assert not dataset.notes, "the training says who has which annotation"
    unasked = load_data(path)
    assert all(not sample.annotations for sample in unasked.samples)
    assert unasked.fingerprint == dataset.fingerprint, "the data are the same"


def test_a_pair_of_tables_and_several_sources_keep_them(folder: Path) -> None:
    train, val = load_csv_pair(folder / "manifest.csv", folder / "manifest.csv", annotations=ASKED)
    assert val is not None
    assert [s.annotations.get("breath_mask") for s in (*train.samples, *val.samples)] == WANTED * 2
    other = folder / "other.csv"
    other.write_text("path,label,group\na.wav,0,1\n")
    both = load_data([folder / "manifest.csv", other], annotations=ASKED).samples
    assert [dict(s.annotations) for s in both] == [*({"breath_mask": cell} for cell in WANTED), {}]


def test_other_annotations_of_a_file_that_is_listed_again_are_told(folder: Path) -> None:
    lines = ["path,label,breath_mask", "a.wav,0,1-2", "a.wav,0,1-2", "a.wav,0,1-3", "b.wav,1,", "b.wav,1,4-5"]
    (folder / "twice.csv").write_text("\n".join(lines) + "\n")
    dataset = load_data(folder / "twice.csv", annotations=ASKED)
    assert [dict(sample.annotations) for sample in dataset.samples] == [{"breath_mask": "1-2"}, {"breath_mask": ""}]
    assert dataset.notes == (
        "3 rows left out that list a file again",
        "2 of these with other annotations than the file's first row, which counts",
    )
    assert load_data(folder / "twice.csv").notes == dataset.notes[:1]


def test_samples_that_differ_in_annotations_alone_are_equal_in_hash(folder: Path) -> None:
    plain, annotated = load_data(folder).samples[0], load_data(folder, annotations=ASKED).samples[0]
    assert hash(plain) == hash(annotated)
    assert plain != annotated
