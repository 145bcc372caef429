"""Tables of properties made from numbers, for the statistics of an audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gasdet.inspection.auditing import PropertyTable, TableBuilder
from gasdet.media.properties import PropertySpec
from gasdet.types import Locator, MediaType, Modality, Sample


def spec(name: str, kind: Any = "number") -> PropertySpec:
    return PropertySpec(name, kind, "px" if kind == "number" else "", f"About {name}.", "crop", f"Crop {name}.")


def sample(index: int, label: int, group: object = None, dataset: str = "data", pair: str = "") -> Sample:
    return Sample(
        sample_id=f"{index:032x}",
        dataset=dataset,
        member=f"{index}.png",
        locator=Locator("file", f"/nowhere/{index}.png"),
        modality=Modality.IMAGE,
        media_type=MediaType.SYNTHETIC if label else MediaType.REAL,
        group=f"{index:032x}" if group is None else f"g{group}",
        pair=pair,
    )


def table(
    labels: Sequence[int],
    columns: Mapping[str, Sequence[Any]],
    *,
    groups: Sequence[object] | None = None,
    pairs: Sequence[str] | None = None,
    contents: Sequence[bytes] | None = None,
    prints: Sequence[bytes] | None = None,
    order: Sequence[int] | None = None,
) -> PropertyTable:
    """Columns of bool are flags, of str categories, others numbers; None is missing. ``order``: how rows are added."""
    kinds = {}
    for name, values in columns.items():
        first = next((value for value in values if value is not None), 0.0)
        kinds[name] = "flag" if isinstance(first, bool) else "category" if isinstance(first, str) else "number"
    builder = TableBuilder(Modality.IMAGE, [spec(name, kind) for name, kind in kinds.items()])
    for row in range(len(labels)) if order is None else order:
        own = sample(row, labels[row], None if groups is None else groups[row], pair=pairs[row] if pairs else "")
        properties = {name: values[row] for name, values in columns.items()}
        builder.add(own, properties, contents[row] if contents else None, prints[row] if prints else b"")
    return builder.table()
