"""Records in Parquet: complete or absent, any file name, and accounts that add up."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from gasdet import atomic_files as files
from gasdet.errors import RunError
from gasdet.evaluation import records
from gasdet.evaluation.records import blank, check_accounts, merged, read_records, table_of, write_records


def rows(make_sample, detector="d", count=3, status="ok"):
    return [{**blank("run", detector, make_sample("p", n)), "status": status} for n in range(count)]


def test_records_come_back_as_they_were(make_sample, tmp_path):
    written = rows(make_sample)
    written[1].update(p_synthetic=0.1 + 0.2, label=None, decode_ms=1.5, frames=16, message="why")
    write_records(tmp_path / "part.parquet", table_of(written))
    table = read_records(tmp_path / "part.parquet")
    assert table.to_pylist() == written
    assert table.schema.equals(records.schema())


@pytest.mark.skipif(platform.system() != "Linux", reason="counts threads by /proc")
def test_reading_leaves_no_thread_that_could_abort_the_process_at_its_end(make_sample, tmp_path):
    """A thread of pyarrow's that held a Python object did: a run that had succeeded ended with exit code 134."""
    write_records(tmp_path / "part.parquet", table_of(rows(make_sample, count=50)))
    program = (
        "import os, sys, pyarrow.parquet\n"
        "from pathlib import Path\n"
        "from gasdet.evaluation.records import read_records\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "read_records(Path(sys.argv[1]))\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "part.parquet")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


def test_the_columns_are_those_of_the_format():
    columns = """
            run_id detector sample_id dataset member media_type generator provenance group split weight label p_synthetic
            p_raw logit_real logit_synthetic prediction status reason message perturbation severity decode_ms inference_ms
            batch_size width height frames duration_s decoder
    """
    assert records.schema().names == columns.split()
    assert set(blank("r", "d", _any_sample())) == set(records.schema().names)


def _any_sample():
    from gasdet.types import Locator, Sample

    return Sample("0" * 32, "d", "m", Locator("file", "p"), None, None)


def test_a_file_name_that_is_no_text_can_be_recorded(make_sample, tmp_path):
    member = os.fsdecode(b"odd\xff\n\t name.png")
    write_records(tmp_path / "part.parquet", table_of([blank("run", "d", make_sample("p", 0, member=member))]))
    assert read_records(tmp_path / "part.parquet")["member"].to_pylist() == ["odd\\xff\n\t name.png"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_file_is_noticed(make_sample, tmp_path, damage):
    path = tmp_path / "part.parquet"
    write_records(path, table_of(rows(make_sample, count=200)))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        place = content.find(rows(make_sample)[0]["sample_id"][:8].encode())
        content[place if place > 0 else 300] ^= 0xFF
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        pq.write_table(table_of(rows(make_sample)).select(["run_id"]), path)
    with pytest.raises(RunError, match=r"part\.parquet"):
        read_records(path)


def test_a_file_whose_writing_fails_is_absent(tmp_path):
    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    (tmp_path / "there").write_bytes(b"old")
    for name in ("new", "there"):
        with pytest.raises(RunError, match=f"{name}: cannot be written .disk full"):
            files.write_atomically(tmp_path / name, fail)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "there").read_bytes() == b"old"
    files.remove_pending(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"x": float("nan")})


def test_parts_are_merged_in_the_order_of_the_plan_and_then_of_the_detectors(make_sample):
    one = table_of([blank("r", d, make_sample("p", n)) for n in (0, 2) for d in ("a", "c")])
    other = table_of([blank("r", "b", make_sample("p", n)) for n in (0, 1, 2)])
    table = merged([one, other], [[(0, 0), (0, 2), (2, 0), (2, 2)], [(0, 1), (1, 1), (2, 1)]])
    found = [(m, d) for m, d in zip(table["member"].to_pylist(), table["detector"].to_pylist(), strict=True)]
    assert found == [
        ("0000-p", "a"),
        ("0000-p", "b"),
        ("0000-p", "c"),
        ("0001-p", "b"),
        ("0002-p", "a"),
        ("0002-p", "b"),
        ("0002-p", "c"),
    ]
    assert merged([], []).num_rows == 0


def test_accounts_that_add_up_pass(make_sample):
    table = table_of(rows(make_sample) + rows(make_sample, detector="e", count=2, status="skipped"))
    check_accounts(table, {"d": 3, "e": 2})


@pytest.mark.parametrize("wrong", ["missing", "twice", "no status", "stranger"])
def test_accounts_that_do_not_add_up_are_an_error(make_sample, wrong):
    found = rows(make_sample)
    if wrong == "missing":
        found = found[:-1]
    elif wrong == "twice":
        found[2] = found[1]
    elif wrong == "no status":
        found[1]["status"] = ""
    else:
        found[0]["detector"] = "x"
    with pytest.raises(RunError, match="accounts are wrong"):
        check_accounts(table_of(found), {"d": 3})
