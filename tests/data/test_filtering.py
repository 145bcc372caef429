"""Rows by a column's value: texts as they stand, numbers as numbers, truth values by the words for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gasdet.data import load_data
from gasdet.data.filtering import RowFilter
from gasdet.errors import DataError

from .conftest import JPEG

Tree = Callable[..., Path]


@pytest.mark.parametrize(
    ("asked", "cell", "taken"),
    [
        ("yes", "yes", True),
        ("yes", "True", False),
        ("true", "True", True),
        ("false", "False", True),
        ("false", "True", False),
        ("0012", "0012", True),
        ("0012", "10", False),
        ("0012", "12", False),
        ("1", "1.0", False),
        ("yes", True, True),
        ("TRUE", True, True),
        ("1", True, True),
        ("no", True, False),
        ("no", False, True),
        ("off", False, True),
        ("0", False, True),
        ("1", 1, True),
        ("01", 1, True),
        ("1.0", 1, True),
        ("1", 1.0, True),
        ("1e3", 1000, True),
        ("2", 1.0, False),
        ("0.1", 0.1, True),
        ("0.1", 0.10000000149011612, True),
        ("9007199254740993", 9007199254740993, True),
        ("9007199254740993", 9007199254740992, False),
        ("yes", 1, False),
        ("nan", float("nan"), True),
        ("", None, True),
        ("x", None, False),
        ("1e400", 5.0, False),
    ],
)
def test_a_cell_by_its_type(asked: str, cell: object, taken: bool) -> None:
    assert RowFilter("column", [asked]).takes(cell) is taken


def test_what_a_number_stands_for_and_the_number_itself_both_count() -> None:
    assert RowFilter("label", ["fake"]).takes(1, shown="fake")
    assert RowFilter("label", ["1"]).takes(1, shown="fake")
    assert not RowFilter("label", ["0"]).takes(1, shown="fake")


def test_what_is_left_out_is_counted() -> None:
    rows = RowFilter("kind", ["a"])
    assert [rows.takes(cell) for cell in "abcb"] == [True, False, False, False]
    assert rows.notes() == ["3 rows left out by filter_column kind"]
    assert RowFilter("kind", ["a"]).notes() == []
    assert RowFilter("", []).takes("anything")


COLUMNS = {
    "text": pa.array(["yes", "0012", "b"]),
    "truth": pa.array([True, False, False]),
    "single": pa.array([1.0, 0.1, 2.0], pa.float32()),
    "whole": pa.array([12, 10, 3], pa.int8()),
}


@pytest.mark.parametrize(
    ("form", "column", "value", "row"),
    [
        ("parquet", "text", "yes", 0),
        ("parquet", "text", "0012", 1),
        ("parquet", "truth", "yes", 0),
        ("parquet", "single", "1", 0),
        ("parquet", "single", "0.1", 1),
        ("parquet", "whole", "0012", 0),
        ("parquet", "whole", "10", 1),
        ("csv", "text", "yes", 0),
        ("csv", "text", "0012", 1),
        ("csv", "whole", "10", 1),
    ],
)
def test_a_catalogue_s_filter(tmp_path: Path, tree: Tree, form: str, column: str, value: str, row: int) -> None:
    tree("0.jpg", "1.jpg", "2.jpg", folder="set")
    if form == "csv":
        cells = {
            "path": [f"{i}.jpg" for i in range(3)],
            **{n: [str(v) for v in c.to_pylist()] for n, c in COLUMNS.items()},
        }
        rows = [",".join(row) for row in zip(*cells.values(), strict=True)]
        (tmp_path / "set" / "x.csv").write_text("\n".join([",".join(cells), *rows]))
    else:
        pq.write_table(pa.table({**COLUMNS, "image": pa.array([JPEG] * 3)}), tmp_path / "set" / "x.parquet")
    (tmp_path / "c.yaml").write_text(
        f"datasets:\n  - {{name: x, path: set/x.{form}, media_type: real, modality: image, filter_column: {column}, "
        f"filter_value: {value}}}\n"
    )
    dataset = load_data(tmp_path / "c.yaml")
    (sample,) = dataset.samples
    assert (sample.locator.row if form == "parquet" else int(Path(sample.locator.path).stem)) == row
    assert dataset.notes == (f"2 rows left out by filter_column {column}",)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_filter_that_nothing_passes_is_said_with_what_there_is(tmp_path: Path, tree: Tree, form: str) -> None:
    tree("0.jpg", "1.jpg", "2.jpg", folder="set")
    pq.write_table(pa.table({"kind": ["b", "b", "c"], "image": pa.array([JPEG] * 3)}), tmp_path / "set" / "x.parquet")
    (tmp_path / "set" / "x.csv").write_text("path,kind\n0.jpg,b\n1.jpg,b\n2.jpg,c\n")
    (tmp_path / "c.yaml").write_text(
        f"datasets:\n  - {{name: x, path: set/x.{form}, media_type: real, filter_column: kind, filter_value: B}}\n"
    )
    with pytest.raises(
        DataError,
        match=r"nothing is left .*3 rows left out by filter_column kind, whose cells read 'b', 'c' and never 'B'",
    ):
        load_data(tmp_path / "c.yaml")
