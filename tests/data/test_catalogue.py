from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gasdet.data import Dataset, load_data
from gasdet.data.catalogue import read_catalogue
from gasdet.errors import ConfigError, DataError
from gasdet.types import MediaType, Modality, Reason

from .conftest import JPEG, content_for

Tree = Callable[..., Path]
REAL, SYNTHETIC, SEMI = MediaType.REAL, MediaType.SYNTHETIC, MediaType.SEMISYNTHETIC


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes a catalogue beside the data and loads it."""

    def write(text: str, **options: object) -> Dataset:
        path = tmp_path / "catalogue.yaml"
        path.write_text(text, encoding="utf-8")
        return load_data(path, **options)  # type: ignore[arg-type]

    return write


def test_a_real_and_a_synthetic_folder(tree: Tree, load: Callable[..., Dataset]) -> None:
    tree("a.jpg", "deep/b.jpg", "n.wav", folder="cam")
    tree("a.jpg", folder="gen")
    dataset = load(
        """
datasets:
  - {name: cameras, path: cam, modality: image, media_type: real}
  - name: made
    path: gen
    modality: image
    media_type: semisynthetic
    source: local
    source_format: folder
    generator: flux
    generator_family: mixed
    released: 2024-08
    licence: CC-BY-4.0
    notes: "anything"
    media_per_archive: 100
    archives_per_dataset: -1
    content_category: faces
"""
    )
    assert [(s.dataset, s.member, s.media_type, s.generator, s.released) for s in dataset.samples] == [
        ("cameras", "a.jpg", REAL, "", ""),
        ("cameras", "deep/b.jpg", REAL, "", ""),
        ("made", "a.jpg", SEMI, "flux", "2024-08"),
    ]
    assert dataset.notes == ("cameras: 1 file of another modality left out of a data set stated as image",)


def test_grouped_by_modality(tree: Tree, load: Callable[..., Dataset], tmp_path: Path) -> None:
    tree("a.mp4", "b.jpg", folder="clips")
    tree("a.mp4", "b.wav", folder="talks")
    dataset = load(
        """
benchmark_size: 100
video:
  - {name: clips, path: clips, media_type: real}
audio:
  - {name: talks, path: talks, modality: audio, media_type: synthetic, sampling: {max_samples: 5}}
"""
    )
    assert [(s.member, s.modality) for s in dataset.samples] == [
        ("a.mp4", Modality.VIDEO),
        ("a.mp4", Modality.AUDIO),  # a clip's sound is a recording
        ("b.wav", Modality.AUDIO),
    ]
    entry = read_catalogue(tmp_path / "catalogue.yaml")[1]
    assert (entry.name, entry.max_samples, entry.line) == ("talks", 5, 6)


def test_entries_of_one_name_are_one_data_set(tree: Tree, load: Callable[..., Dataset]) -> None:
    tree("x.jpg", folder="r")
    tree("x.jpg", folder="s")
    dataset = load(
        "datasets:\n  - {name: faces, path: r, media_type: real}\n  - {name: faces, path: s, media_type: synthetic}\n"
    )
    assert [(s.dataset, s.member) for s in dataset.samples] == [("faces", "real/x.jpg"), ("faces", "synthetic/x.jpg")]


def test_include_and_exclude_paths(tree: Tree, load: Callable[..., Dataset], tmp_path: Path) -> None:
    tree("data/real/ff++/a.jpg", "data/real/other/b.jpg", "data/real/ff++/skip_c.jpg", folder="clue")
    dataset = load(
        "datasets:\n  - {name: c, path: clue, media_type: real, include_paths: [data/real/ff++/],\n"
        "     exclude_paths: 'data/*/skip_*'}\n"
    )
    assert [s.member for s in dataset.samples] == ["data/real/ff++/a.jpg"]
    assert dataset.notes == ("2 files left out by include_paths and exclude_paths",)
    for name in ("part1.zip", "part2.zip"):
        with zipfile.ZipFile(tmp_path / "clue" / name, "w") as made:
            made.writestr("a.jpg", JPEG)
    dataset = load(
        "datasets:\n  - {name: c, path: clue, media_type: real, source_format: zip, include_paths: [part2.zip]}\n"
    )
    assert [s.member for s in dataset.samples] == ["part2.zip/a.jpg"]


def test_parquet_with_several_columns_and_a_filter(tmp_path: Path, load: Callable[..., Dataset]) -> None:
    table = pa.table(
        {
            "src_img": pa.array([JPEG] * 3),
            "tgt_img": pa.array([JPEG] * 3),
            "label": ["fake", "real", "fake"],
            "video_id": ["v1", "v2", "v1"],
        }
    )
    (tmp_path / "pairs").mkdir()
    pq.write_table(table, tmp_path / "pairs" / "x.parquet")
    dataset = load(
        """
datasets:
  - name: pairs
    path: pairs
    modality: image
    media_type: synthetic
    source_format: parquet
    data_columns: [src_img, tgt_img]
    filter_column: Label
    filter_value: fake
    group: VIDEO_ID
"""
    )
    assert [(s.member, s.locator.row, s.locator.column, s.media_type, s.group) for s in dataset.samples] == [
        (f"x.parquet/{row:06d}#{column}", row, column, SYNTHETIC, "v1")
        for row in (0, 2)
        for column in ("src_img", "tgt_img")
    ]


def test_a_filter_on_a_manifest(tree: Tree, load: Callable[..., Dataset]) -> None:
    root = tree("a.jpg", "b.jpg", "c.jpg", folder="mine")
    (root / "x.csv").write_text("path,label,Kind\na.jpg,0,face\nb.jpg,0,cat\nc.jpg,1,dog\n")
    dataset = load("datasets:\n  - {name: x, path: mine/x.csv, filter_column: kind, filter_value: [face, dog]}\n")
    assert [s.member for s in dataset.samples] == ["a.jpg", "c.jpg"]


def test_labels_from_the_data_where_none_is_stated(tree: Tree, load: Callable[..., Dataset]) -> None:
    root = tree("real/a.jpg", "fake/b.jpg")
    (root / "list.csv").write_text("path,label\nreal/a.jpg,1\nfake/b.jpg,0\n")
    by_folder = load("datasets:\n  - {name: x, path: photos}\n")
    assert [s.media_type for s in by_folder.samples] == [SYNTHETIC, REAL]
    by_table = load("datasets:\n  - {name: x, path: photos/list.csv, source_format: csv}\n")
    assert [s.media_type for s in by_table.samples] == [SYNTHETIC, REAL]
    tree("a.jpg", folder="plain")
    with pytest.raises(DataError, match=r"plain has no labels .* state its media_type"):
        load("datasets:\n  - {name: x, path: plain}\n")


def test_data_root_group_by_folder_and_split(tree: Tree, load: Callable[..., Dataset], tmp_path: Path) -> None:
    tree("clip1/1.jpg", "clip1/2.jpg", "clip2/1.jpg", folder="frames")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "x.csv").write_text("path,label\nclip1/1.jpg,0\n")
    dataset = load("datasets:\n  - {name: x, path: lists/x.csv, data_root: frames, split: test}\n")
    assert [(s.member, s.split) for s in dataset.samples] == [("clip1/1.jpg", "test")]
    dataset = load("datasets:\n  - {name: x, path: frames, media_type: real, group: folder}\n")
    assert [s.group for s in dataset.samples] == ["x/clip1", "x/clip1", "x/clip2"]
    tree("test/real/1.jpg", "train/real/2.jpg", folder="parts")
    dataset = load("datasets:\n  - {name: x, path: parts, split: test}\n")
    assert [s.member for s in dataset.samples] == ["test/real/1.jpg"]
    assert dataset.notes == ("1 sample of other splits left out (train)",)


def test_the_entry_s_name_goes_before_a_dataset_column(tree: Tree, load: Callable[..., Dataset]) -> None:
    root = tree("a.jpg", folder="mine")
    (root / "x.csv").write_text("path,label,dataset\na.jpg,0,inner\n")
    text = "datasets:\n  - {name: outer, path: mine/x.csv}\n"
    assert [s.dataset for s in load(text, datasets=["outer"]).samples] == ["outer"]
    assert [s.dataset for s in load_data(root / "x.csv").samples] == ["inner"]


def test_sampling_caps_a_data_set(tree: Tree, load: Callable[..., Dataset]) -> None:
    tree(*(f"{label}/{i}.jpg" for label in ("real", "fake") for i in range(9)), folder="many")
    counts = []
    for cap in (4, 6):
        dataset = load(f"datasets:\n  - {{name: x, path: many, sampling: {cap}}}\n", seed=3)
        assert Counter(s.media_type for s in dataset.samples) == {REAL: cap // 2, SYNTHETIC: cap // 2}
        counts.append({s.member for s in dataset.samples})
    assert counts[0] < counts[1]


def test_every_problem_is_told_at_once_with_its_line(load: Callable[..., Dataset]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            """datasets:
  - name: a
    path: x
    medai_type: real
    modality: picture
  - path: y
    filter_column: label
    released: last summer
    quux: 1
    name: b
    name: c
  - name: no path
  - just text
sets: []
"""
        )
    message = str(caught.value)
    for expected in (
        "has 9 problems",
        "line 4: unknown key 'medai_type' (did you mean 'media_type'?)",
        "line 5: modality must be one of image, video, audio, not 'picture'",
        "line 6: filter_column and filter_value go together",
        "line 8: released must be a date like",
        "line 9: unknown key 'quux';",
        "line 11: name is given twice",
        "line 12: a data set needs a path",
        "line 13: a data set must be a mapping",
        "line 14: unknown key 'sets' (did you mean 'datasets'?)",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: [\n", "is no valid YAML at line 2"),
        pytest.param("x: " + "[" * 200_000, "is nested too deeply", id="brackets"),
        pytest.param("- " * 200_000 + "x", "is nested too deeply", id="dashes"),
        ("- a\n- b\n", "must be a mapping with a list of data sets"),
        ("", "must be a mapping"),
        ("datasets: []\n", "lists no data sets"),
        ("datasets: {}\n", "line 1: datasets must be a list"),
        ("datasets:\n  - {path: x, sampling: 0}\n", "sampling must be a whole number"),
        (
            "datasets:\n  - {path: x, sampling: {max_sample: 2}}\n",
            r"1 problem: line 2: unknown key 'max_sample' \(did you mean 'max_samples'\?\)",
        ),
        ("datasets:\n  - {path: x, sampling: many}\n", "sampling must be a whole number .* or a mapping"),
        ("datasets:\n  - {path: x, sampling: {share: 0}}\n", "share must be a number from"),
        ("datasets:\n  - {path: x, sampling: {share: .nan}}\n", "share must be a number from"),
        (
            "datasets:\n  - {path: x, sampling: {min_samples: 9, max_samples: 8}}\n",
            "min_samples must be no larger than max_samples",
        ),
        ("datasets:\n  - {path: x, media_per_archive: -2}\n", "at least 1, or -1 for all"),
        ("datasets:\n  - {path: x, media_per_archive: 1.5}\n", "at least 1, or -1 for all"),
        ("datasets:\n  - {path: x, sha256: abc}\n", "sha256 must be the 64 hex digits"),
        ("datasets:\n  - {path: x, source_format: parqet}\n", r"not 'parqet' \(did you mean 'parquet'\?\)"),
        ("datasets:\n  - {path: x, source: hugingface}\n", r"not 'hugingface' \(did you mean 'huggingface'\?\)"),
        ("datasets:\n  - {path: x, media_type: synthetc}\n", r"not 'synthetc' \(did you mean 'synthetic'\?\)"),
        ("datasets:\n  - {path: x, s3_prefixes: [a]}\n", "s3_prefixes goes with source: s3"),
        ("datasets:\n  - {path: x, split: [a]}\n", "split must be a text"),
        ("datasets:\n  - {path: }\n", "line 2: a data set needs a path"),
        ("datasets:\n  - {path: x, split: , split: a}\n", "split is given twice"),
        (f"datasets:\n  - {{path: x.zip, sha256: {'0' * 64}}}\n", "sha256 is of a file that is fetched"),
        ("datasets:\n  - {path: x, revision: v5}\n", "revision is of a data set of the hub .* the source is local"),
        ("datasets:\n  - {path: 's3://b/x', revision: v5}\n", "revision is of a data set .* the source is s3"),
        ("datasets:\n  - {path: x, generator: a, generator_variant: b}\n", "say the same; give one of them"),
        ("datasets:\n  - {path: x, filter_column: a, filter_value: }\n", "filter_column and filter_value go together"),
        ("datasets:\n  - {path: x, filter_column: a, filter_value: [b, {c: d}]}\n", "filter_value must be a value or"),
        (
            'datasets:\n  - {path: "https://me:password@[bad/x.zip"}\n',
            r"1 problem: line 2: path must be a .* address\.$",
        ),
        ('datasets:\n  - {path: "a\\0b"}\n', r"1 problem: line 2: path must be a path"),
        ("datasets:\n  - {? [a, b] : c, path: x}\n", "line 2: a key must be a word"),
        (
            "sampling:\n  total: 4\n  max_samples: none\n  shares: 2\ndatasets: [{path: x}]\n",
            r"2 problems: line 3: max_samples must be a whole number .* 1; line 4: unknown key 'shares' \(did you mean 'share'",
        ),
        ("datasets: [{path: x}]\nsampling: {total: !!python/name:os.system 5}\n", "total must be a plain value"),
        ("datasets: [{path: x}]\nsampling: 5\n", "line 2: sampling must be a mapping of total"),
        ("datasets: [{path: x}]\nsampling: {total: {debg: 5}}\n", r"not 'debg' \(did you mean 'debug'\?\)"),
        ("datasets: [{path: x}]\nsampling: {total: {debug: 5}}\n", "total must be one number, or one for each of"),
        (
            "datasets: [{path: x}]\nsampling: {total: {debug: 5, small: 4, full: 9}}\n",
            "totals that do not shrink from debug to small to full",
        ),
        ("datasets: [{path: x}]\nsampling: {total: {imge: 5}}\n", "not 'imge'"),
        ("datasets: [{path: x}]\nbenchmark_size: 0\n", "line 2: benchmark_size must be a whole number"),
        (
            "datasets: [{path: x}]\nimage_benchmark_size: {debug: 1}\n",
            "line 2: image_benchmark_size must be a whole number",
        ),
        ("datasets: [{path: x}]\nbenchmark_size: 9\nsampling: {total: 9}\n", "say the same; give one of them"),
        ("datasets:\n  - {path: x, include_paths: [1]}\n", "include_paths must be a text or a list of texts"),
        ("datasets:\n  - {path: !!python/name:os.system x}\n", "path must be a plain value"),
    ],
)
def test_catalogues_that_cannot_be_used(load: Callable[..., Dataset], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(text)


def test_a_path_from_a_folder_is_never_a_name_of_the_hub(tmp_path: Path) -> None:
    """Also in a catalogue that was written for GASBench, whose entries are of the hub where they say nothing."""
    entries = ["{path: ./a, content_category: faces}", "{path: ../a}", "{path: o/n}"]
    (tmp_path / "c.yaml").write_text("benchmark_size: 9\ndatasets:\n" + "".join(f"  - {e}\n" for e in entries))
    assert [entry.source for entry in read_catalogue(tmp_path / "c.yaml")] == ["local", "local", "huggingface"]


def test_a_source_that_is_refused_is_the_only_thing_said_of_it(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("datasets:\n  - {path: o/n, source: huggingfac, revision: v1}\n")
    with pytest.raises(ConfigError) as raised:
        read_catalogue(tmp_path / "c.yaml")
    assert "did you mean 'huggingface'?" in str(raised.value)
    assert "revision" not in str(raised.value)


def test_data_that_are_not_there(tree: Tree, load: Callable[..., Dataset]) -> None:
    tree("a.jpg", folder="cam")
    text = """
datasets:
  - {name: here, path: cam, media_type: real}
  - {name: bare, path: owner/name, media_type: real}
  - {name: gone, path: sets/deep/gone, media_type: real}
"""
    with pytest.raises(
        DataError,
        match=r"nothing at .*owner/name, the path of bare \(line 4 .*source: huggingface for a data set of the hub",
    ):
        load(text, datasets=["BARE"])
    with pytest.raises(DataError, match=r"nothing at .*sets/deep/gone, the path of gone \(line 5 of .*\); check it\.$"):
        load(text, datasets=["gone"])
    assert len(load(text, datasets=["he*"]).samples) == 1
    with pytest.raises(DataError, match="no data set's name matches nope; there are here, bare, gone"):
        load(text, datasets=["nope"])


def test_a_single_file_is_a_data_set(tree: Tree, load: Callable[..., Dataset]) -> None:
    tree("a.jpg", "b.jpg", folder="cam")
    (sample,) = load("datasets:\n  - {name: one, path: cam/a.jpg, media_type: real, modality: image}\n").samples
    assert (sample.dataset, sample.member, sample.media_type, sample.modality) == ("one", "a.jpg", REAL, Modality.IMAGE)
    assert sample.locator.size == len(content_for("a.jpg"))
    with pytest.raises(DataError, match=r"a\.jpg, the data of one, is a single file: state its media_type"):
        load("datasets:\n  - {name: one, path: cam/a.jpg}\n")
    with pytest.raises(DataError, match="is a single file, and filter_column, data_columns and group are for tables"):
        load("datasets:\n  - {path: cam/a.jpg, media_type: real, group: speaker}\n")
    with pytest.raises(DataError, match=r"nothing is left of .*1 file of another modality left out"):
        load("datasets:\n  - {path: cam/a.jpg, media_type: real, modality: audio}\n")


def test_options_that_do_not_fit(tree: Tree, load: Callable[..., Dataset], tmp_path: Path) -> None:
    tree("a.jpg", folder="cam")
    (tmp_path / "x.csv").write_text("path,label\ncam/a.jpg,0\n")
    with pytest.raises(DataError, match="filter_column is for tables"):
        load("datasets:\n  - {name: x, path: cam, media_type: real, filter_column: a, filter_value: b}\n")
    with pytest.raises(DataError, match="data_root is for tables"):
        load("datasets:\n  - {name: x, path: cam, media_type: real, data_root: /nonexist}\n")
    with pytest.raises(DataError, match=r"group is for tables, and .*; group: folder groups a tree"):
        load("datasets:\n  - {name: x, path: cam, media_type: real, group: speaker}\n")
    with pytest.raises(DataError, match="data_columns names the one column"):
        load("datasets:\n  - {name: x, path: x.csv, data_columns: [path, label]}\n")
    with pytest.raises(DataError, match="has no column speaker; it has path, label"):
        load("datasets:\n  - {name: x, path: x.csv, group: speaker}\n")
    with pytest.raises(DataError, match="not in the stated format zip but csv"):
        load("datasets:\n  - {name: x, path: x.csv, source_format: zip}\n")
    with pytest.raises(DataError, match=r"holds no manifest\.csv"):
        load("datasets:\n  - {name: x, path: cam, source_format: csv}\n")


def test_what_has_no_label_among_labelled_data_is_skipped(tmp_path: Path, load: Callable[..., Dataset]) -> None:
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"image": [JPEG], "label": [0]}), tmp_path / "set" / "a.parquet")
    pq.write_table(pa.table({"image": [JPEG]}), tmp_path / "set" / "b.parquet")
    dataset = load_data(tmp_path / "set")
    assert [(s.media_type, s.skip) for s in dataset.samples] == [(REAL, None), (None, Reason.LABEL_UNREADABLE)]
