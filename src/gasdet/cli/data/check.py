"""``gasdet data check``: decode everything, and say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from gasdet.cli import options, text
from gasdet.cli.group import INTERRUPTED
from gasdet.cli.progress import progress
from gasdet.data.listing import counted

if TYPE_CHECKING:
    from gasdet.inspection.checking import CheckReport

EXAMPLES = 5
"""How many findings of a kind are shown below the table; the CSV has them all."""

SHOWN_SAMPLES = 4
"""How many samples of a finding are named."""

NOUNS = {"image": "image", "video": "clip", "audio": "recording"}


@click.command("check")
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--split", metavar="NAME", help="Only this split. Default: all of them, since copies across splits count."
)
@options.data_options
@options.catalogue_options
@options.total_option
@options.mode_option
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Of the choice under --limit, --mode and --total.",
)
@click.option(
    "--near-distance",
    type=click.IntRange(0, 47),
    default=31,
    show_default=True,
    metavar="N",
    help="Bits of 256 in which the perceptual hashes of near duplicates may differ.",
)
@click.option("--no-near", is_flag=True, help="Look for exact copies only.")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="KIND",
    help="Exit with 1 where such a finding is made; 'any', 'none', or a kind; repeatable. Default: the serious ones.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every sample of every finding there.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing from the network.")
@options.decode_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    data: tuple[str, ...],
    split: str | None,
    datasets: tuple[str, ...],
    limit: int | None,
    categories: tuple[str, ...],
    modality: str | None,
    total: int | None,
    mode: Literal["debug", "small", "full"],
    seed: int,
    near_distance: int,
    no_near: bool,
    fail_on: tuple[str, ...],
    csv_file: Path | None,
    offline: bool,
    workers: int | None,
    decode_timeout: float,
    as_json: bool,
) -> None:
    """Decode all of DATA and report damage, duplicates and leaks.

    Found are files that are missing, unreadable, truncated, damaged or have the wrong extension, and archives among them;
    exact and near duplicates, also across splits and across real and synthetic; groups and pairs that lie in several splits.
    Private holdouts are not taken.

    Exit code: 0 nothing serious, 1 failed or something serious found, 2 wrong use, 130 interrupted.
    """
    from gasdet.api.checking import check

    sink = progress()
    try:
        report = check(
            data[0] if len(data) == 1 else list(data),
            split=split,
            datasets=datasets,
            categories=categories,
            modality=modality,
            mode=mode,
            limit=limit,
            total=total,
            seed=seed,
            near_distance=None if no_near else near_distance,
            fail_on=list(fail_on) or None,
            csv=csv_file,
            offline=offline,
            workers=workers,
            timeout=decode_timeout,
            progress=sink,
        )
    except KeyboardInterrupt:
        sink.finish()
        click.echo("Interrupted. Nothing of a check is kept; --limit N makes it shorter.", err=True)
        ctx.exit(INTERRUPTED)
    finally:
        sink.finish()
    if as_json:
        text.echo_json(report.to_mapping())
    else:
        click.echo("\n".join(_lines(report, text.width())))
    if csv_file is not None:
        click.echo(f"Findings: {text.shown(str(csv_file))}", err=True)
    ctx.exit(0 if report.ok else 1)


def _lines(report: CheckReport, columns: int | None) -> list[str]:
    """The report for people: what was looked at, the kinds of finding, examples of each, and the verdict."""
    from gasdet.inspection.checking import KINDS

    about = report.to_mapping()
    told = [f"{report.samples:,} samples", f"{report.decoded:,} decoded"]
    told += [f"{count:,} {word}" for count, word in ((report.failed, "failed"), (report.skipped, "skipped")) if count]
    lines = text.paragraph(text.shown(f"{report.data}: {', '.join(told)}."), columns)
    for note in report.notes:
        lines += text.paragraph(text.shown(note), columns, "", "  ")
    if report.near_distance is not None and report.not_compared:
        counts = [counted(report.not_compared[m], noun) for m, noun in NOUNS.items() if m in report.not_compared]
        without = f"Not compared for near copies, being flat, short or silent: {', '.join(counts)}."
        lines += text.paragraph(without, columns)
    rows = []
    for name, kind in KINDS.items():
        totals = about["kinds"][name]
        if totals["findings"]:
            pairs = f"{totals['pairs']:,}" if "pairs" in totals else "-"
            mark = "yes" if totals["serious"] else "no"
            rows.append([name, mark, f"{totals['findings']:,}", f"{totals['samples']:,}", pairs, kind.meaning])
    if rows:
        lines += ["", *text.table(("FINDING", "SERIOUS", "COUNT", "SAMPLES", "PAIRS", "MEANING"), rows, columns)]
        for row in rows:
            lines += ["", *_examples(report, row[0], columns)]
    lines += ["", *text.paragraph(_verdict(report), columns)]
    return lines


def _examples(report: CheckReport, kind: str, columns: int | None) -> list[str]:
    found = report.of_kind(kind)
    lines = [text.heading(kind)]
    for finding in found[:EXAMPLES]:
        names = [
            f"{sample.dataset}/{sample.member}" + (f" [{sample.split}]" if sample.split else "")
            for sample in finding.samples[:SHOWN_SAMPLES]
        ]
        if len(finding.samples) > SHOWN_SAMPLES:
            names.append(f"and {len(finding.samples) - SHOWN_SAMPLES:,} more")
        reason = f" ({finding.reason})" if finding.reason else ""
        lines += text.paragraph(text.shown(f"{', '.join(names)}: {finding.message}{reason}"), columns, "  ", "    ")
    if len(found) > EXAMPLES:
        lines.append(f"  and {len(found) - EXAMPLES:,} more; --csv FILE or --json lists them all")
    return lines


def _verdict(report: CheckReport) -> str:
    if not report.findings:
        return "Nothing found."
    kinds = list(dict.fromkeys(finding.kind for finding in report.findings if finding.kind in report.fail_on))
    if not kinds:
        return "Nothing serious found."
    return f"Serious: {', '.join(kinds)}."
