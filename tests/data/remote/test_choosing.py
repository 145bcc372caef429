"""Which files of a remote data set are fetched, and which of them a reading then sees."""

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
from gasdet.data.catalogue import CatalogueEntry, read_catalogue
from gasdet.data.remote import local_copies
from gasdet.data.remote.choosing import choose, wanted_in
from gasdet.data.sampling import MODE_CAPS
from gasdet.errors import DataError

Catalogue = Callable[..., Path]
Zipped = Callable[[int, int], bytes]
ENTRY = {"name": "faces", "path": "someone/faces", "source": "huggingface", "modality": "image"}


def entry_of(catalogue: Catalogue, **keys: object) -> CatalogueEntry:
    return read_catalogue(catalogue({**ENTRY, **keys}))[0]


def names_at(copy_path: Path) -> set[str]:
    return {p.relative_to(copy_path).as_posix() for p in copy_path.rglob("*") if not p.is_dir()}


def table(values: list[tuple[str, int, bytes]]) -> bytes:
    """A Parquet file with columns kind, label, image."""
    buffer = io.BytesIO()
    images = [{"bytes": content, "path": f"{i}.png"} for i, (_, _, content) in enumerate(values)]
    columns = {"kind": [v[0] for v in values], "label": [v[1] for v in values], "image": images}
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


NAMES = [
    "a.zip",
    "b/c.tar.gz",
    "d.parquet",
    "e.jpg",
    "f/g.jpeg",
    "h.png",
    "i.mp4",
    "README.md",
    "list.csv",
    ".x",
    ".git/y.jpg",
]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("zip", {"a.zip"}),
        ("tar", {"b/c.tar.gz"}),
        ("tar.gz", {"b/c.tar.gz"}),
        (".parquet", {"d.parquet"}),
        ("jpg", {"e.jpg", "f/g.jpeg", "list.csv"}),
        ("png", {"h.png", "list.csv"}),
        ("mp4", {"i.mp4", "list.csv"}),
        ("folder", set(NAMES) - {".x", ".git/y.jpg"}),
        ("", set(NAMES) - {".x", ".git/y.jpg"}),
    ],
)
def test_the_format_says_which_files(catalogue: Catalogue, form: str, expected: set[str]) -> None:
    keys = {"source_format": form} if form else {}
    choice = choose(NAMES, entry_of(catalogue, **keys), None)
    assert {*choice.fixed, *choice.one_by_one} == set(expected)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"include_paths": ["train"]}, ["train/1.zip", "train/2.zip"]),
        ({"exclude_paths": ["2"]}, ["train/1.zip", "test/1.zip"]),
        ({"include_paths": ["1.zip"], "exclude_paths": ["test"]}, ["train/1.zip"]),
        (
            {"include_paths": ["fake/"]},
            ["train/1.zip", "train/2.zip", "test/1.zip", "test/2.zip"],
        ),  # of what is in them
        ({"split": "test"}, ["test/1.zip", "test/2.zip"]),
    ],
    ids=str,
)
def test_patterns_and_splits(catalogue: Catalogue, keys: dict[str, object], expected: list[str]) -> None:
    names = ["train/1.zip", "train/2.zip", "test/1.zip", "test/2.zip"]
    choice = choose(names, entry_of(catalogue, **keys), None)
    assert {*choice.fixed, *choice.one_by_one} == set(expected)


def test_nothing_left_is_a_sentence(catalogue: Catalogue) -> None:
    with pytest.raises(DataError, match=r"faces \(line 2 .*\) has 2 files, and none in the format parquet is left"):
        choose(["a.zip", "b.jpg"], entry_of(catalogue, source_format="parquet"), None)


def test_single_media_are_chosen_by_hash_half_of_each_label(catalogue: Catalogue) -> None:
    names = [f"real/{i}.png" for i in range(600)] + [f"fake/{i}.png" for i in range(150)]
    small = choose(names, entry_of(catalogue), wanted_in("small")).fixed
    assert Counter(name.partition("/")[0] for name in small) == {"real": 100, "fake": 100}
    assert choose(reversed(names), entry_of(catalogue), wanted_in("small")).fixed == small
    assert set(choose(names, entry_of(catalogue, sampling=50), wanted_in("small")).fixed) < set(small)
    counted = choose(names, entry_of(catalogue, archives_per_dataset=3, media_per_archive=10), None).fixed
    assert len(counted) == 30


def test_a_small_run_of_single_media_is_what_it_would_be_of_all(
    hub: Hub, catalogue: Catalogue, png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODE_CAPS, "small", 40)
    files = {f"{label}/{i}.png": png(i + 1000 * (label == "fake")) for label in ("real", "fake") for i in range(30)}
    hub.push("someone/faces", files)
    path = catalogue(ENTRY)
    small = load_data(path, mode="small")
    fetched = sum(request.method == "GET" and "/resolve/" in request.path for request in hub.server.log)
    assert fetched == 40
    everything = load_data(path, mode="full")
    assert len(everything.samples) == 60
    again = load_data(path, mode="small")
    assert [s.sample_id for s in again.samples] == [s.sample_id for s in small.samples]
    assert Counter(s.label for s in small.samples) == {0: 20, 1: 20}
    debug = {s.sample_id for s in load_data(path, mode="debug").samples}
    assert len(debug) == 20
    assert debug < {s.sample_id for s in small.samples}


def test_archives_are_fetched_until_they_hold_enough(hub: Hub, catalogue: Catalogue, zipped: Zipped) -> None:
    hub.push("someone/faces", {f"part-{i}.zip": zipped(i, 40) for i in range(8)})  # 80 samples each
    path = catalogue({**ENTRY, "source_format": "zip"})
    [small] = local_copies(read_catalogue(path), mode="small")
    assert len(names_at(small.path)) == 3
    assert len(hub.storage.log) == 3
    [debug] = local_copies(read_catalogue(path), mode="debug")
    assert names_at(debug.path) == names_at(small.path)
    [full] = local_copies(read_catalogue(path))
    assert len(names_at(full.path)) == 8
    assert len(hub.storage.log) == 8  # the three were not fetched again
    assert local_copies(read_catalogue(path), mode="small", offline=True) == [small]


def test_the_same_archives_are_taken_offline_of_a_full_download(
    hub: Hub, catalogue: Catalogue, zipped: Zipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push("someone/faces", {f"part-{i}.zip": zipped(i, 40) for i in range(8)})
    path = catalogue({**ENTRY, "source_format": "zip"})
    [small] = local_copies(read_catalogue(path), mode="small")
    monkeypatch.setenv("GASDET_DATA", str(tmp_path / "another"))
    local_copies(read_catalogue(path))
    [other] = local_copies(read_catalogue(path), mode="small", offline=True)
    assert names_at(other.path) == names_at(small.path)


def test_counts_of_the_catalogue_hold_in_every_mode(hub: Hub, catalogue: Catalogue, zipped: Zipped) -> None:
    hub.push("someone/faces", {f"part-{i}.zip": zipped(i, 5) for i in range(6)})
    for mode in ("debug", "full"):
        entry = entry_of(catalogue, source_format="zip", archives_per_dataset=2, media_per_archive=-1)
        [copy] = local_copies([entry], mode=mode)
        assert len(names_at(copy.path)) == 2


def test_a_row_filter_stops_once_enough_rows_are_found(
    hub: Hub, catalogue: Catalogue, png: Callable[[int], bytes]
) -> None:
    shards = {}
    for shard in range(12):
        rows = [("rare" if i < 5 else "common", i % 2, png(shard * 100 + i)) for i in range(20)]
        shards[f"data/train-{shard:05d}-of-00012.parquet"] = table(rows)
    hub.push("someone/faces", shards)
    keys = {"source_format": "parquet", "filter_column": "kind", "filter_value": "rare"}
    entry = entry_of(catalogue, **keys, sampling=12, media_type="synthetic")
    [copy] = local_copies([entry])
    assert len(names_at(copy.path)) == 3  # 5 rows each
    assert len(hub.storage.log) == 3
    counted = entry_of(catalogue, **keys, archives_per_dataset=2, media_per_archive=10, media_type="synthetic")
    [copy] = local_copies([counted])
    assert len(names_at(copy.path)) == 4  # 20 rows are wanted, so the count of archives does not stop it
    never = entry_of(catalogue, **{**keys, "filter_value": "none"}, sampling=12, media_type="synthetic")
    [copy] = local_copies([never])
    assert len(names_at(copy.path)) == 12


def test_one_label_a_shard_is_no_trap(hub: Hub, catalogue: Catalogue, png: Callable[[int], bytes]) -> None:
    shards = {
        f"train-{shard}.parquet": table([("x", int(shard >= 5), png(shard * 1000 + i)) for i in range(210)])
        for shard in range(10)
    }
    hub.push("someone/faces", shards)
    dataset = load_data(catalogue({**ENTRY, "source_format": "parquet"}), mode="small")
    assert Counter(s.label for s in dataset.samples) == {0: 100, 1: 100}
    assert len(hub.storage.log) < 10


def test_an_archive_that_cannot_be_read_is_an_error_and_not_a_reason_to_fetch_all(
    hub: Hub, catalogue: Catalogue, noise: Callable[[int, int], bytes]
) -> None:
    hub.push("someone/faces", {f"part-{i}.zip": noise(i, 5000) for i in range(8)})
    with pytest.raises(DataError):
        local_copies([entry_of(catalogue, source_format="zip")], mode="small")
    assert len(hub.storage.log) == 1
