"""A manifest of what to train on and one of what to validate on, with a folder that their paths start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gasdet.data import load_csv_pair, load_data
from gasdet.errors import DataError, UsageError
from gasdet.types import MediaType, Modality

Tree = Callable[..., Path]


@pytest.fixture
def media(tree: Tree) -> Path:
    return tree("real/a.jpg", "real/b.jpg", "fake/c.jpg", "fake/d.jpg", "real/n.wav")


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_paths_start_from_the_data_root(media: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    train = write(lists, "train.csv", "filename,target\nreal/a.jpg,0\nfake/c.jpg,1\n")
    val = write(lists, "second.csv", "filename,target\nreal/b.jpg,0\nfake/d.jpg,1\n")
    one, other = load_csv_pair(train, val, data_root=media)
    assert other is not None
    assert [(s.member, s.media_type, s.split) for s in one.samples] == [
        ("real/a.jpg", MediaType.REAL, "train"),
        ("fake/c.jpg", MediaType.SYNTHETIC, "train"),
    ]
    assert [(s.member, s.split) for s in other.samples] == [("real/b.jpg", "val"), ("fake/d.jpg", "val")]
    assert {s.locator.path for s in one.samples} == {str(media / "real/a.jpg"), str(media / "fake/c.jpg")}
    assert {s.dataset for s in (*one.samples, *other.samples)} == {"photos"}
    assert one.description == str(train)


def test_a_file_has_the_same_id_in_both_and_the_first_may_stand_alone(media: Path) -> None:
    train = write(media, "faces_train.csv", "path,label\nreal/a.jpg,0\n")
    val = write(media, "faces_val.csv", "path,label\nreal/a.jpg,0\n")
    one, other = load_csv_pair(train, val)
    assert other is not None
    assert one.samples[0].sample_id == other.samples[0].sample_id
    assert one.samples[0].sample_id != load_data(train).samples[0].sample_id
    assert load_csv_pair(train) == (one, None)


def test_what_a_file_is_called_does_not_decide_what_it_is_for(media: Path) -> None:
    train = write(media, "test_old.csv", "path,label\nreal/a.jpg,0\n")
    val = write(media, "train.csv", "path,label,split\nreal/b.jpg,0,\nfake/c.jpg,1,test\n")
    one, other = load_csv_pair(train, val)
    assert other is not None
    assert [s.split for s in one.samples] == ["train"]
    assert [s.split for s in other.samples] == ["val", "test"]


def test_modalities_and_limits(media: Path) -> None:
    text = "path,label\nreal/a.jpg,0\nreal/b.jpg,0\nfake/c.jpg,1\nfake/d.jpg,1\nreal/n.wav,0\n"
    one, _ = load_csv_pair(write(media, "x.csv", text), modalities=(Modality.IMAGE,), limit=2)
    assert sorted(s.label or 0 for s in one.samples) == [0, 1]
    assert one.notes == ("1 audio sample left out: no chosen detector takes them",)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        load_csv_pair(media / "x.csv", limit=0)


@pytest.mark.parametrize(
    ("text", "root", "message"),
    [
        ("path,label\nreal/a.jpg,0\n", "gone", "there is no folder .*gone, which is to be the data root"),
        ("path,label\na.jpg,0\n", ".", "none of the 1 files that .* lists exists"),
        ("path\nreal/a.jpg\n", ".", "has no label column .*; training needs one"),
        ("path,label\n", ".", "nothing is left of"),
    ],
)
def test_what_cannot_be_used(media: Path, text: str, root: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_csv_pair(write(media, "x.csv", text), data_root=media / root)
