"""Writes the tables of docs/plugins.md that are made from the code: fields of specs, checks of the kit. A test compares them.

python scripts/plugin_docs.py
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from gasdet import BackboneSpec, ComponentSpec, DetectorSpec, WeightsSpec
from gasdet.testing import suites

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "plugins.md"
SPECS = (DetectorSpec, WeightsSpec, BackboneSpec, ComponentSpec)


def fields_table(spec: type) -> str:
    """Name and meaning of each field, as the docstring has it."""
    text = inspect.getdoc(spec) or ""
    told = text.split("Attributes:\n", 1)[1]
    meanings = {
        name: " ".join(said.split())
        for name, said in re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", told, re.M | re.S)
    }
    rows = [f"| `{field.name}` | {meanings[field.name].replace('``', '`')} |" for field in dataclasses.fields(spec)]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


def checks_table(kind: str) -> str:
    """Each check, what it demands, and what to change."""
    rows = [f"| `{c.name}` | {c.demands} | {c.advice or '-'} |" for c in suites()[kind].checks.values()]  # type: ignore[index]
    return "\n".join(["| check | demands | to change |", "|---|---|---|", *rows])


def parts() -> dict[str, str]:
    """Name of each generated part to its content."""
    return {
        **{f"fields of {spec.__name__}": fields_table(spec) for spec in SPECS},
        **{f"checks of a {kind}": checks_table(kind) for kind in suites()},
    }


def filled(text: str) -> str:
    """The document with every generated part renewed."""
    for name, content in parts().items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{DOCUMENT} has no part {begin} ... {end}")
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text


def main() -> None:
    """Renew the document."""
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
