from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gasdet.data import load_data, read_head, read_source
from gasdet.errors import DataError, MediaError
from gasdet.types import Locator, MediaType, Modality, Reason

from .conftest import JPEG, WAV

REAL, SYNTHETIC = MediaType.REAL, MediaType.SYNTHETIC
MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, columns: dict[str, Any], *, features: object = None, rows: int | None = None) -> Path:
    table = pa.table(columns)
    if features is not None:
        described = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": described})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


def images(count: int, paths: list[str | None] | None = None) -> pa.Array:
    names = paths or [f"{i}.jpg" for i in range(count)]
    return pa.array([{"bytes": JPEG + str(i).encode(), "path": names[i]} for i in range(count)], MEDIA)


def test_the_hugging_face_layout(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.parquet",
        {"image": images(4), "label": [0, 1, 0, 1], "generator": [None, "sdxl", None, "flux"], "caption": list("abcd")},
        rows=3,
    )
    dataset = load_data(path)
    assert [(s.member, s.media_type, s.modality, s.generator, s.dataset) for s in dataset.samples] == [
        ("set.parquet/0.jpg", REAL, Modality.IMAGE, "", "set"),
        ("set.parquet/1.jpg", SYNTHETIC, Modality.IMAGE, "sdxl", "set"),
        ("set.parquet/2.jpg", REAL, Modality.IMAGE, "", "set"),
        ("set.parquet/3.jpg", SYNTHETIC, Modality.IMAGE, "flux", "set"),
    ]
    assert [s.locator for s in dataset.samples] == [
        Locator("parquet", str(path), row=i, column="image.bytes") for i in range(4)
    ]
    for order in ([0, 1, 2, 3], [3, 0, 2, 1, 1]):
        assert [read_source(dataset.samples[i].locator) for i in order] == [JPEG + str(i).encode() for i in order]
    assert read_head(dataset.samples[0].locator, 3) == JPEG[:3]


def test_pairs_and_release_dates(tmp_path: Path) -> None:
    days = pa.array([None, datetime.date(2024, 8, 31)], pa.date32())
    media = write(tmp_path / "set.parquet", {"image": images(2), "label": [0, 1], "pair_id": [7, 7], "released": days})
    (tmp_path / "0.jpg").write_bytes(JPEG)
    moments = pa.array([None, datetime.datetime(2024, 8, 31)], pa.timestamp("us"))
    listed = {"path": ["0.jpg", "1.jpg"], "label": [0, 1], "pair": ["a", None], "release_date": moments}
    assert [(s.pair, s.released) for s in load_data(media).samples] == [("7", ""), ("7", "2024-08-31")]
    table = load_data(write(tmp_path / "list.parquet", listed)).samples
    assert [(s.pair, s.released) for s in table] == [("a", ""), ("", "2024-08-31")]


def test_plain_bytes_and_words(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.parquet",
        {"audio": pa.array([WAV, WAV], pa.large_binary()), "label": ["bonafide", "spoof"], "speaker": ["s1", "s2"]},
    )
    found = load_data(path).samples
    assert [(s.member, s.media_type, s.modality) for s in found] == [
        ("set.parquet/000000", REAL, Modality.AUDIO),
        ("set.parquet/000001", SYNTHETIC, Modality.AUDIO),
    ]
    assert read_source(found[1].locator) == WAV


def test_class_names_turn_the_numbers_around(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["fake", "real"]}}
    path = write(tmp_path / "set.parquet", {"image": images(2), "label": [0, 1]}, features=features)
    dataset = load_data(path)
    assert [s.media_type for s in dataset.samples] == [SYNTHETIC, REAL]
    assert dataset.notes == (f"labels of {path} read by the names it gives them (0 = fake, 1 = real)",)


def test_modality_of_a_column_that_says_nothing_is_found_in_its_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", {"content": pa.array([WAV, WAV]), "label": [0, 1]})
    assert [s.modality for s in load_data(path).samples] == [Modality.AUDIO] * 2
    path = write(tmp_path / "odd.parquet", {"content": pa.array([b"neither"]), "label": [0]})
    assert [s.skip for s in load_data(path).samples] == [Reason.UNKNOWN_MODALITY]


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    column = pa.array(
        [{"bytes": JPEG, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None, {"bytes": b"", "path": "a.jpg"}],
        MEDIA,
    )
    path = write(tmp_path / "set.parquet", {"image": column, "label": ["real", "fake", "fake", "dunno"]})
    found = load_data(path).samples
    assert [(s.member, s.skip) for s in found] == [
        ("set.parquet/a.jpg", None),
        ("set.parquet/b.jpg", None),
        ("set.parquet/000002", None),
        ("set.parquet/a.jpg#3", Reason.LABEL_UNREADABLE),
    ]
    reasons = []
    for sample in found[1:]:
        with pytest.raises(MediaError) as caught:
            read_source(sample.locator)
        reasons.append(caught.value.reason)
    assert reasons == [Reason.FILE_EMPTY] * 3
    with pytest.raises(MediaError) as caught:
        read_source(Locator("parquet", str(path), row=4, column="image.bytes"))
    assert caught.value.reason is Reason.FILE_MISSING
    with pytest.raises(MediaError) as caught:
        read_source(Locator("parquet", str(path), row=0, column="nothing"))
    assert caught.value.reason is Reason.UNSUPPORTED


def test_rows_whose_bytes_lie_outside(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    column = pa.array([{"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}], MEDIA)
    path = write(tmp_path / "set.parquet", {"image": column, "label": [0, 1]})
    found = load_data(path).samples
    assert read_source(found[0].locator) == tmp_path / "a.jpg"
    with pytest.raises(MediaError) as caught:
        read_source(found[1].locator)
    assert caught.value.reason is Reason.FILE_MISSING


def test_a_folder_of_files_gives_splits_by_their_names(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root / "data" / "test-00000-of-00001.parquet", {"image": images(2), "label": [0, 1]})
    write(root / "data" / "train-00000-of-00001.parquet", {"image": images(3), "label": [0, 1, 1]})
    write(root / "validation" / "0000.parquet", {"image": images(1), "label": [0]})
    (root / "README.md").write_text("about")
    found = load_data(root).samples
    assert Counter(s.split for s in found) == {"train": 3, "test": 2, "val": 1}
    assert {s.dataset for s in found} == {"set"}
    assert len({s.sample_id for s in found}) == 6
    assert [s.member for s in load_data(root, split="validation").samples] == ["validation/0000.parquet/0.jpg"]


def test_one_file_and_its_folder_give_the_same_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "set" / "test.parquet", {"image": images(2), "label": [0, 1]})
    assert load_data(path).samples == load_data(path.parent).samples


def test_a_parquet_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    path = write(
        tmp_path / "list.parquet", {"file_name": ["a.jpg", "b.jpg"], "label": ["real", "fake"], "weight": [1.5, None]}
    )
    found = load_data(path).samples
    assert [(s.member, s.media_type, s.weight, s.locator.kind) for s in found] == [
        ("a.jpg", REAL, 1.5, "file"),
        ("b.jpg", SYNTHETIC, 1.0, "file"),
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": pa.array([JPEG]), "b": pa.array([JPEG])}, r"several columns with bytes \(a, b\)"),
        ({"image": pa.array([JPEG]), "label": ["cat"]}, "none of the labels in column label"),
        ({"image": pa.array([JPEG]), "label": [0], "weight": [-1.0]}, r"the weight -1.0 in row 0"),
        ({"label": [0]}, "has no column with paths"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(write(tmp_path / "set.parquet", columns))


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "set.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_data(tmp_path / "set.parquet")
    with pytest.raises(MediaError) as caught:
        read_source(Locator("parquet", str(tmp_path / "set.parquet"), row=0, column="image.bytes"))
    assert caught.value.reason is Reason.ARCHIVE_DAMAGED


def test_damage_in_the_middle_costs_the_rows_there(tmp_path: Path) -> None:
    column = pa.array([{"bytes": JPEG * 400, "path": f"{i}.jpg"} for i in range(6)], MEDIA)
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"image": column, "label": [0, 1] * 3}), path, row_group_size=2, use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    outcomes = []
    for row in range(6):
        try:
            outcomes.append(len(read_source(Locator("parquet", str(path), row=row, column="image.bytes"))))  # type: ignore[arg-type]
        except MediaError as error:
            outcomes.append(error.reason)
    assert outcomes == [len(JPEG) * 400] * 2 + [Reason.ARCHIVE_DAMAGED] * 2 + [len(JPEG) * 400] * 2


def test_cifake_is_planned_quickly_and_by_split(shared_cifake: Path) -> None:
    begin = time.process_time()
    dataset = load_data(shared_cifake / "test.parquet")
    seconds = time.process_time() - begin
    assert Counter((s.media_type, s.split, s.modality) for s in dataset.samples) == {
        (REAL, "test", Modality.IMAGE): 10_000,
        (SYNTHETIC, "test", Modality.IMAGE): 10_000,
    }
    assert seconds < 3, "20,000 rows take 0.4 s on an idle core"
    chosen = load_data(shared_cifake, split="test", limit=100)
    assert Counter(s.media_type for s in chosen.samples) == {REAL: 50, SYNTHETIC: 50}
    assert {s.sample_id for s in chosen.samples} <= {s.sample_id for s in dataset.samples}
    assert all(read_head(s.locator, 3) == b"\xff\xd8\xff" for s in chosen.samples)


READ_IN_ORDER = """
import sys
from gasdet.data import read_source
from gasdet.types import Locator

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024

read_source(Locator("parquet", sys.argv[1], row=0, column="image.bytes"))
before = peak()
total = sum(len(read_source(Locator("parquet", sys.argv[1], row=i, column="image.bytes"))) for i in range(120))
assert total == 120_000_000, total
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_large_row_group_streams(tmp_path: Path) -> None:
    import numpy as np

    noise = np.random.default_rng(0).bytes(1_000_000)
    column = pa.array([{"bytes": noise, "path": f"{i}.jpg"} for i in range(120)], MEDIA)
    path = tmp_path / "big.parquet"
    pq.write_table(
        pa.table({"image": column}),
        path,
        row_group_size=120,
        use_dictionary=False,
        write_batch_size=1,
        compression="none",
    )
    result = subprocess.run(
        [sys.executable, "-c", READ_IN_ORDER, str(path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 60, f"120 MB in one row group took {result.stdout.strip()} MB more than its first row"
