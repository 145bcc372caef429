"""``archives_per_dataset`` and ``media_per_archive``: a copy on this machine gives what a download gives."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback import Hub

from gasdet.data import load_data

Catalogue = Callable[..., Path]
Zipped = Callable[[int, int], bytes]
Png = Callable[[int], bytes]
SET = {"name": "faces", "modality": "image"}


def both(hub: Hub, catalogue: Catalogue, tmp_path: Path, files: dict[str, bytes], **keys: object) -> list[list[str]]:
    """The members that are read of a data set of the hub, and of a folder with the same files."""
    hub.push("someone/faces", files)
    for name, content in files.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    away = catalogue({**SET, **keys, "path": "someone/faces", "source": "huggingface"}, name="away.yaml")
    here = catalogue({**SET, **keys, "path": "copy", "source": "local"}, name="here.yaml")
    return [[sample.member for sample in load_data(path).samples] for path in (away, here)]


@pytest.mark.parametrize("each", [3, -1])
def test_archives(hub: Hub, catalogue: Catalogue, tmp_path: Path, zipped: Zipped, each: int) -> None:
    files = {f"{'ab'[i % 2]}/part-{i}.zip": zipped(i, 4) for i in range(6)}
    away, here = both(hub, catalogue, tmp_path, files, archives_per_dataset=2, media_per_archive=each)
    assert here == away
    assert Counter(member.partition(".zip")[0] for member in here) == Counter(
        dict.fromkeys({member.partition(".zip")[0] for member in away}, 3 if each == 3 else 8)
    )
    assert len({member.partition(".zip")[0] for member in here}) == 2


def test_tables_with_a_filter_are_counted_in_rows(hub: Hub, catalogue: Catalogue, tmp_path: Path, png: Png) -> None:
    def table(seed: int) -> bytes:
        buffer = io.BytesIO()
        kinds = ["rare" if row < 5 else "common" for row in range(12)]
        pq.write_table(pa.table({"kind": kinds, "image": [png(seed * 100 + row) for row in range(12)]}), buffer)
        return buffer.getvalue()

    keys = {"filter_column": "kind", "filter_value": "rare", "media_type": "real"}
    files = {f"{i}.parquet": table(i) for i in range(8)}
    away, here = both(hub, catalogue, tmp_path, files, **keys, archives_per_dataset=2, media_per_archive=10)
    assert here == away
    assert len(here) == 20  # four tables with 5 such rows each, not two


def test_single_media(hub: Hub, catalogue: Catalogue, tmp_path: Path, png: Png) -> None:
    files = {f"{label}/{i}.png": png(i + 50 * (label == "fake")) for label in ("real", "fake") for i in range(12)}
    away, here = both(hub, catalogue, tmp_path, files, archives_per_dataset=2, media_per_archive=5)
    assert here == away
    assert Counter(member.partition("/")[0] for member in here) == {"real": 5, "fake": 5}


def test_what_is_left_out_is_said(catalogue: Catalogue, tmp_path: Path, zipped: Zipped) -> None:
    (tmp_path / "copy").mkdir()
    for i in range(3):
        (tmp_path / "copy" / f"{i}.zip").write_bytes(zipped(i, 2))
    data = load_data(catalogue({**SET, "path": "copy", "archives_per_dataset": 1, "media_per_archive": 3}))
    assert data.notes == (
        "8 samples beyond archives_per_dataset (1) left out",
        "1 sample beyond media_per_archive (3) left out",
    )
    one = load_data(catalogue({**SET, "path": "copy/0.zip", "archives_per_dataset": 1, "media_per_archive": 3}))
    assert len(one.samples) == 3
