"""Catalogues as GASBench writes them load unchanged: its present keys and those of its earlier versions.

The entries are invented; the keys, their spellings and their kinds of values are GASBench's (src/gasbench/dataset/configs and
config.py of its repository).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from gasdet.data.catalogue import CatalogueEntry, load_catalogue, read_catalogue
from gasdet.data.catalogue_keys import KNOWN_KEYS
from gasdet.data.catalogue_parts import expected_format
from gasdet.types import MediaType, Modality

Entries = Callable[[str], dict[str, CatalogueEntry]]


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    """Reads a catalogue's text; entries by name."""

    def read(text: str) -> dict[str, CatalogueEntry]:
        path = tmp_path / "catalogue.yaml"
        path.write_text(text, encoding="utf-8")
        return {entry.name: entry for entry in read_catalogue(path)}

    return read


FLAT = """
# one file for each modality
benchmark_size: 50000

datasets:
  # -- diverse --

  - name: made-by-many
    path: owner/Made-By_Many.2
    modality: image
    media_type: synthetic
    source_format: parquet
    media_per_archive: 1000
    archives_per_dataset: 1
    filter_column: label
    filter_value: fake
    notes: Synthetic images (CC-BY-SA 4.0) \\u2014 streamed with row filter
    generator_family: mixed-generation
    generator_variant: sdxl
    content_category: diverse

  - name: everything
    path: owner/all
    modality: image
    media_type: real
    media_per_archive: -1
    archives_per_dataset: -1
    data_columns: [src_img, tgt_img]
    exclude_paths: [models.tar.gz, ALB.tar.gz]
    include_paths: ["DFD_original sequences"]

  - name: bucket
    path: bucket-name/archive/scraped
    modality: image
    media_type: semisynthetic
    source: s3
    source_format: [jpg, png]
    s3_prefixes: [archive/scraped/day-]
    media_per_archive: -1
    archives_per_dataset: -1
    original_name: before

  - name: elsewhere
    path: owner/scope
    modality: image
    media_type: real
    source: modelscope
    source_format: .tar.gz
    archive_include_paths: [/fake/]
    archive_exclude_paths: [/excluded/]
    image_columns: base_image
"""


def test_the_flat_list(entries: Entries) -> None:
    found = entries(FLAT)
    first = found["made-by-many"]
    assert (first.source, first.location, first.source_format) == ("huggingface", "owner/Made-By_Many.2", "parquet")
    assert (first.media_per_archive, first.archives_per_dataset, first.category) == (1000, 1, "diverse")
    assert (first.stated.filter_column, first.stated.filter_values) == ("label", ("fake",))
    assert (first.stated.generator, first.stated.media_type) == ("sdxl", MediaType.SYNTHETIC)
    assert (first.share, first.min_samples, first.max_samples) == (Fraction(1), 0, None)
    whole = found["everything"]
    assert (whole.media_per_archive, whole.archives_per_dataset) == (None, None)
    assert whole.stated.data_columns == ("src_img", "tgt_img")
    assert whole.stated.include_paths == ("DFD_original sequences",)
    assert whole.stated.exclude_paths == ("models.tar.gz", "ALB.tar.gz")
    bucket = found["bucket"]
    assert (bucket.source, bucket.location) == ("s3", "bucket-name/archive/scraped")
    assert (bucket.stated.include_paths, bucket.source_format) == (("day-",), "folder")
    assert bucket.stated.media_type is MediaType.SEMISYNTHETIC
    scope = found["elsewhere"]
    assert (scope.source, scope.source_format, expected_format(scope)) == ("modelscope", "tar.gz", "tar")
    assert (scope.stated.archive_include_paths, scope.stated.archive_exclude_paths) == (("/fake/",), ("/excluded/",))
    assert scope.stated.data_columns == ("base_image",)


def test_grouped_by_modality_with_the_keys_of_earlier_versions(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        """
image_benchmark_size: 10000
video_benchmark_size: 5000

image:
  - name: tables
    path: owner/tables
    modality: image
    media_type: synthetic
    images_per_parquet: 200
    parquet_per_dataset: 5

video:
  - name: zips
    path: owner/zips
    media_type: real
    source_format: zip
    videos_per_zip: -1
    zips_per_dataset: 2
audio: []
"""
    )
    catalogue = load_catalogue(path)
    tables, zips = catalogue.entries
    assert (tables.source, tables.media_per_archive, tables.archives_per_dataset) == ("huggingface", 200, 5)
    assert (zips.source, zips.media_per_archive, zips.archives_per_dataset) == ("huggingface", None, 2)
    assert zips.stated.modality is Modality.VIDEO
    assert catalogue.totals.of("full", Modality.IMAGE) == 10000
    assert catalogue.totals.of("full", Modality.VIDEO) == 5000
    assert catalogue.totals.of("full", Modality.AUDIO) is None
    assert not catalogue.totals.states("small")


def test_one_benchmark_size_is_of_every_modality(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("benchmark_size: 7\ndatasets: [{path: x}]\n")
    totals = load_catalogue(tmp_path / "c.yaml").totals
    assert [totals.of("full", modality) for modality in (None, *Modality)] == [7, 7, 7, 7]


def test_the_source_is_stated_or_told_by_the_path_and_never_by_what_lies_here(entries: Entries, tmp_path: Path) -> None:
    (tmp_path / "owner" / "both").mkdir(parents=True)
    found = entries(
        """
datasets:
  - {name: gasbench, path: owner/both, media_per_archive: 5}
  - {name: ours, path: owner/both}
  - {name: local, path: owner/both, media_per_archive: 5, source: local}
  - {name: deep, path: a/b/c, media_per_archive: 5}
  - {name: absolute, path: /data/x, media_per_archive: 5}
  - {name: bucket, path: "s3://bucket/prefix"}
  - {name: web, path: "https://host/x.zip"}
  - {name: plain, path: "http://host/x.zip"}
  - {name: hub, path: "hf://datasets/owner/name"}
  - {name: defaults, path: owner/both, modality: image, media_type: synthetic, generator_family: diffusion}
  - {name: category, path: owner/both, content_category: faces}
  - {name: file, path: mine/x.tar.gz, generator_family: sd}
  - {name: ours-too, path: owner/both, category: faces, source_format: parquet}
"""
    )
    assert {name: entry.source for name, entry in found.items()} == {
        "gasbench": "huggingface",
        "ours": "local",
        "local": "local",
        "deep": "local",
        "absolute": "local",
        "bucket": "s3",
        "web": "https",
        "plain": "http",
        "hub": "huggingface",
        "defaults": "huggingface",
        "category": "huggingface",
        "file": "local",
        "ours-too": "local",
    }
    assert found["hub"].location == "owner/name"
    assert found["ours"].path == tmp_path / "owner" / "both"


def test_a_catalogue_that_states_a_benchmark_size_is_gasbench_s(entries: Entries) -> None:
    """Of its keys an entry needs four only; the others have defaults there, of which one is the hub as the source."""
    entry = "  - {name: x, path: owner/both, modality: image, media_type: real}\n"
    assert entries(f"datasets:\n{entry}")["x"].source == "local"
    assert entries(f"datasets:\n{entry}benchmark_size: 5\n")["x"].source == "huggingface"
    assert entries(f"image_benchmark_size: 5\nimage:\n{entry}video:\n")["x"].source == "huggingface"


@pytest.mark.parametrize("key", [key for key in KNOWN_KEYS if key != "path"])
def test_null_is_no_value(entries: Entries, key: str) -> None:
    (plain,) = entries("datasets:\n  - {path: owner/x, source: huggingface}\n").values()
    for null in ("", "null", "~"):
        source = "" if key == "source" else ", source: huggingface"  # which the address says, too
        (entry,) = entries(f"datasets:\n  - {{path: 'hf://owner/x', {key}: {null}{source}}}\n").values()
        assert replace(entry, path=plain.path) == plain


def test_family_and_variant_are_both_kept(entries: Entries) -> None:
    found = entries(
        """
datasets:
  - {name: both, path: owner/a, generator_family: sd, generator_variant: sd15}
  - {name: ours, path: owner/a, generator_family: sd, generator: sd-1.5}
  - {name: family, path: owner/a, generator_family: sd}
  - {name: none, path: owner/a, source: huggingface}
"""
    )
    told = {name: (entry.stated.generator, entry.generator_family) for name, entry in found.items()}
    assert told == {"both": ("sd15", "sd"), "ours": ("sd-1.5", "sd"), "family": ("sd", "sd"), "none": ("", "")}


def test_filter_values_stay_as_they_are_written(entries: Entries) -> None:
    text = "datasets:\n  - {name: x, path: a, filter_column: k, filter_value: %s}\n"
    for written, values in {
        "yes": ("yes",),
        "0012": ("0012",),
        "[no, 1.0, 2024-01-02]": ("no", "1.0", "2024-01-02"),
    }.items():
        assert entries(text % written)["x"].stated.filter_values == values


def test_names_and_revisions_stay_as_they_are_written(entries: Entries) -> None:
    found = entries(
        """
datasets:
  - {name: 007, path: o/x, source: huggingface, revision: 0012e4, split: on, released: 2024-08-31, licence: 1.10}
  - {name: yes, path: 12}
"""
    )
    bond = found["007"]
    assert (bond.revision, bond.stated.split, bond.stated.released, bond.licence) == (
        "0012e4",
        "on",
        "2024-08-31",
        "1.10",
    )
    assert found["yes"].location == "12"


def test_computer_graphics_are_neither_real_nor_synthetic(entries: Entries) -> None:
    entry = entries("datasets: [{name: game, path: owner/game, media_type: rendered, media_per_archive: 1}]")["game"]
    assert entry.stated.media_type is None
    assert "rendered" in entry.left_out


def test_what_may_be_a_secret_in_an_address_is_not_shown(entries: Entries) -> None:
    found = entries(
        """
datasets:
  - {name: a, path: "https://user:password@host.org:8080/set.zip?X-Amz-Signature=secret#token"}
  - {name: b, path: "s3://bucket/prefix/"}
"""
    )
    assert found["a"].shown_location == "https://host.org:8080/set.zip"
    assert "password" in found["a"].location
    assert found["b"].shown_location == "s3://bucket/prefix/"


def test_300_entries_load_in_less_than_a_second(tmp_path: Path) -> None:
    entry = FLAT.partition("# -- diverse --")[2].partition("  - name: everything")[0]
    text = "datasets:\n" + "".join(entry.replace("made-by-many", f"set-{number}") for number in range(300))
    path = tmp_path / "large.yaml"
    path.write_text(text)
    took = []
    for _ in range(3):  # a busy machine makes the others slow, not this one fast
        began = time.perf_counter()
        assert len(read_catalogue(path)) == 300
        took.append(time.perf_counter() - began)
    assert min(took) < 1, took
