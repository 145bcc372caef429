"""What a property of a file is, and what can be done where it gives the class away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "category", "flag"]
Remedy = Literal["crop", "re-encode", "resample", "level", "drop"]
Value = float | int | str | bool | None
Properties = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """One property of a file that is not its content.

    Attributes:
        name: Its key in what :func:`gasdet.media.properties.properties_of` returns.
        kind: ``number`` values are int or float, ``category`` values str, ``flag`` values bool; each may be None.
        unit: Of a number ("px", "bytes", "s", "Hz", "dBFS" ...); empty where it has none.
        meaning: What it is and when it is None, in words.
        remedy: What takes the difference away: ``crop`` to one size or length, ``re-encode`` with one encoder and its settings,
            ``resample`` to one rate, ``level`` to one loudness, or ``drop`` what the file need not carry.
        remedy_text: The same as a sentence that says what to do.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    remedy: Remedy
    remedy_text: str
