"""Sizes in bytes on the command line: ``500M``, ``50G``, ``1.5T``, or 0."""

from __future__ import annotations

import re

import click

_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:I?B)?|(B))", re.IGNORECASE)


class ByteSize(click.ParamType[int]):
    """A number of bytes with a unit of 1,024: K, M, G or T, with or without ``B`` or ``iB``; or ``B``.

    Only 0 needs none: who writes 5 may mean 5G.
    """

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the size."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(value.strip())
        if value.strip() == "0":
            return 0
        if value.strip().isdecimal():
            self.fail(f"{value!r} has no unit; write {value}G, or {value}B for bytes", param, ctx)
        if found is None:
            self.fail(f"{value!r} is no size like 500M, 50G or 1.5T", param, ctx)
        return int(float(found[1]) * 1024 ** _UNITS.get((found[2] or "").upper(), 0))


def size_text(count: int) -> str:
    """A number of bytes for people, with a unit of 1,024: ``512 bytes``, ``3.4 MiB``."""
    amount, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
