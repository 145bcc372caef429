"""``gasdet data list``: what a catalogue holds, and what of it is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from gasdet.cli import options, text
from gasdet.cli.sizes import size_text
from gasdet.data.catalogue_listing import ListedDataset, list_catalogue
from gasdet.data.listing import counted

UNKNOWN = "-"
HEADERS = (
    "NAME",
    "MODALITY",
    "TYPE",
    "CATEGORY",
    "SOURCE",
    "PATH",
    "REVISION",
    "SIZE",
    "AT MOST",
    "LICENCE",
    "GENERATOR",
    "RELEASED",
    "HERE",
)
WHERE = ("NAME", "SOURCE", "PATH", "REVISION", "SIZE")
"""What a table of its own says where a terminal is too narrow for one with everything."""


@click.command("list")
@click.argument("catalogue")
@options.datasets_option
@options.catalogue_options
@options.data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    catalogue: str,
    datasets: tuple[str, ...],
    categories: tuple[str, ...],
    modality: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Show the data sets of a catalogue.

    CATALOGUE is a YAML file, or 'starter' for the one that is shipped: well-known public data sets. Nothing is fetched, and no
    server is asked. HERE says which data are on this machine; AT MOST is the most samples that the catalogue takes. Columns
    in which no data set has anything are left out.
    """
    listed = list_catalogue(catalogue, datasets=datasets, categories=categories, modality=modality, data_dir=data_dir)
    if as_json:
        text.echo_json({"catalogue": catalogue, "datasets": [dataset.to_json() for dataset in listed]})
        return
    click.echo("\n".join([*_tables([_row(dataset) for dataset in listed], text.width()), *_summary(catalogue, listed)]))


def _tables(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """One table, or two where one is too wide; each with an empty line after it."""
    told = [header for at, header in enumerate(HEADERS) if any(row[at] != UNKNOWN for row in rows)]
    whole = _table(told, rows, None)
    if columns is None or max(map(len, whole)) <= columns:
        return [*whole, ""]
    what = [header for header in told if header == "NAME" or header not in WHERE]
    where = [header for header in told if header in WHERE]
    return [*_table(what, rows, columns), "", *_table(where, rows, columns), ""]


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    places = [HEADERS.index(header) for header in headers]
    return text.table(headers, [[row[at] for at in places] for row in rows], columns)


def _row(dataset: ListedDataset) -> list[str]:
    entry, stated = dataset.entry, dataset.entry.stated
    cells = [
        entry.name,
        stated.modality,
        "rendered" if entry.left_out else stated.media_type or "labelled",
        entry.category,
        entry.source,
        entry.shown_location,
        entry.revision[:12],
        "" if dataset.size_bytes is None else size_text(dataset.size_bytes),
        "" if entry.max_samples is None else f"{entry.max_samples:,}",
        entry.licence,
        stated.generator,
        stated.released,
        "yes" if dataset.at_hand else "no",
    ]
    return [text.shown(str(cell)) if cell else UNKNOWN for cell in cells]


def _summary(catalogue: str, listed: Sequence[ListedDataset]) -> list[str]:
    here = sum(dataset.at_hand for dataset in listed)
    away = [dataset for dataset in listed if not dataset.at_hand and dataset.entry.source != "local"]
    lines = [f"{counted(len(listed), 'data set')}, {here} of them on this machine."]
    if away:
        lines.append(
            f"'gasdet data download {text.shown(catalogue)}' fetches the others; --dry-run shows their sizes first."
        )
    return lines
