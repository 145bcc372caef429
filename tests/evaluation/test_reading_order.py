"""Holdouts stand in the order of their keyed names, and are read in the order in which they lie."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gasdet.data.holdouts import HoldoutKey, Holdouts, load_holdouts
from gasdet.evaluation.job import DecodeResult
from gasdet.evaluation.scoring import as_read, blocks_of, score_blocks
from gasdet.types import Locator, Modality, Preprocessing, Reason, Sample

COUNT = 40
NAMES = [f"{(7 * n) % COUNT:02d}.jpg" for n in range(COUNT)]
"""As they lie in the archive, which is not their alphabet's order."""


def holdouts(folder: Path) -> Holdouts:
    (folder / "real").mkdir()
    with tarfile.open(folder / "real" / "a.tar.gz", "w:gz") as tar:
        for name in NAMES:
            info = tarfile.TarInfo(f"x/{name}")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    rows = [{"bytes": b"abc", "path": name} for name in NAMES]
    pq.write_table(pa.table({"image": rows, "label": [0] * COUNT}), folder / "b.parquet")
    catalogue = folder / "sets.yaml"
    catalogue.write_text(
        "datasets:\n"
        "  - {name: packed, path: real/a.tar.gz, modality: image, media_type: real}\n"
        "  - {name: table, path: b.parquet, modality: image}\n"
    )
    return load_holdouts(catalogue, HoldoutKey(b"0123456789abcdef0123456789abcdef"))


def lying(samples: Sequence[Sample]) -> list[tuple[str, str, int]]:
    return [(s.locator.path, s.locator.member, s.locator.row) for s in samples]


def test_holdouts_are_read_container_by_container_and_forwards(tmp_path: Path) -> None:
    samples = holdouts(tmp_path).samples
    rows = as_read(samples, range(2 * COUNT))
    assert sorted(rows) == list(range(2 * COUNT))
    assert rows != sorted(rows)
    tar, parquet = str(tmp_path / "real" / "a.tar.gz"), str(tmp_path / "b.parquet")
    packed = [(tar, f"x/{name}", place) for place, name in enumerate(NAMES)]
    assert lying([samples[row] for row in rows]) == [(parquet, "", row) for row in range(COUNT)] + packed
    part = range(20, 50)
    assert as_read(samples, part) == [row for row in rows if row in part]


def test_public_samples_keep_their_order_and_come_first(tmp_path: Path) -> None:
    own = holdouts(tmp_path).samples
    places = {"c": "/3", "a": "/2", "b": "/1"}
    public = [Sample(name, "d", name, Locator("file", at), Modality.IMAGE, None) for name, at in places.items()]
    assert as_read([*public, *own], range(3)) == [0, 1, 2]
    assert as_read([own[0], *public], range(4)) == [1, 2, 3, 0]


class _Pool:
    """Decodes nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Sample] = []

    def run(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> Iterator[DecodeResult]:
        self.asked += samples
        for index, sample in enumerate(samples):
            yield DecodeResult(index, None, Reason.DECODE_FAILED, sample.sample_id, 1.0)


class _Scorer:
    class detector:
        name = "none"


def test_records_have_the_plans_order_whatever_the_order_of_reading(tmp_path: Path) -> None:
    samples = holdouts(tmp_path).samples
    pool: Any = _Pool()
    scorer: Any = _Scorer()
    blocks = blocks_of(range(2 * COUNT), 32)
    found = list(score_blocks([scorer], Preprocessing(Modality.IMAGE), samples, blocks, pool, batch_size=4))
    assert [len(records) for records in found] == [32, 32, 16]
    records = [record for block in found for record in block]
    assert [record["sample_id"] for record in records] == [sample.sample_id for sample in samples]
    assert [record["message"] for record in records] == [sample.sample_id for sample in samples]
    places = [(path, row) for path, _, row in lying(pool.asked)]
    back = sum(later < earlier for earlier, later in itertools.pairwise(places))
    assert back <= 2, "one step back for each further block"
