"""Equalisation profiles: to what size, rate, length and codec every file of a modality is brought, as text and as numbers.

A profile is text in a preprocessing's ``equalise``: a name, and after a colon what differs from it,
``standard-1:side=128,quality=60``. A name stands for its numbers for ever: other numbers need a new name, because records,
decode caches and calibrators go by the text. Standard library only, like the types that check it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from gasdet.errors import ConfigError

Number = int | float

PROFILES: Mapping[str, Mapping[str, Mapping[str, Number]]] = {
    "standard-1": {
        "image": {"side": 224, "quality": 50},
        "video": {"side": 224, "frame_rate": 6.0, "seconds": 3.0, "crf": 30},
        "audio": {"sample_rate": 16000, "seconds": 6.0, "bandwidth": 7000, "loudness": -26.0, "kbps": 32},
    },
}
"""What each profile brings the files of each modality to; docs/equalising.md says what the keys mean."""

NEWEST = {"standard": "standard-1"}
"""Names without a version, and what they stand for today; it is the versioned name that is recorded."""

_WHOLE = {"side", "quality", "crf", "sample_rate", "bandwidth", "kbps"}
_RANGES: Mapping[str, tuple[Number, Number]] = {
    "side": (16, 2048),
    "quality": (1, 100),
    "frame_rate": (1.0, 60.0),
    "seconds": (0.25, 600.0),
    "crf": (0, 51),
    "bandwidth": (500, 24000),
    "loudness": (-60.0, -6.0),
}
_CHOICES: Mapping[str, tuple[int, ...]] = {
    "sample_rate": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "kbps": (32, 40, 48, 56, 64),  # which MP3 has at each of these rates
}


def numbers_of(text: str, modality: str, *, where: str = "equalise") -> dict[str, Number]:
    """What a profile means for one modality.

    Args:
        text: ``NAME`` or ``NAME:key=value,key=value``.
        modality: "image", "video" or "audio".
        where: What error messages call the text.

    Returns:
        Every key of the modality with its number, in the order of ``PROFILES``.

    Raises:
        ConfigError: There is no such profile, a key is none of this modality's, or a value is unusable.
    """
    name, stated = _split(text, where)
    numbers = dict(PROFILES[name][modality])
    for key, value in stated.items():
        if key not in numbers:
            raise ConfigError(
                f"{where}: {name} has no key {key!r} for {modality}{_closest(key, numbers)}; it has {', '.join(numbers)}."
            )
        numbers[key] = _number(key, value, where)
    if modality == "video" and numbers["side"] % 2:
        raise ConfigError(f"{where}: side must be even for clips, not {numbers['side']}.")
    if modality == "audio" and 2 * numbers["bandwidth"] > numbers["sample_rate"]:
        raise ConfigError(
            f"{where}: bandwidth must be at most half of the sample rate, {numbers['sample_rate'] // 2} Hz, "
            f"not {numbers['bandwidth']}."
        )
    return numbers


def canonical(text: str, modality: str, *, where: str = "equalise") -> str:
    """The one text for what a profile means: its versioned name, and in a fixed order what differs from it.

    Raises:
        ConfigError: As ``numbers_of``.
    """
    numbers = numbers_of(text, modality, where=where)
    name, _ = _split(text, where)
    usual = PROFILES[name][modality]
    changed = [f"{key}={number:g}" for key, number in numbers.items() if number != usual[key]]
    return f"{name}:{','.join(changed)}" if changed else name


def keys_of(text: str, *, where: str = "equalise") -> tuple[str, ...]:
    """The keys that a profile's text changes.

    Raises:
        ConfigError: There is no such profile, or it is no ``key=value`` that follows the colon.
    """
    return tuple(_split(text, where)[1])


def only_for(text: str, modality: str, *, where: str = "equalise") -> str:
    """The canonical text for one modality of a text for several: keys that only others have are left out.

    Raises:
        ConfigError: As ``numbers_of``; also where no modality has the key.
    """
    name, stated = _split(text, where)
    known = dict.fromkeys(key for keys in PROFILES[name].values() for key in keys)
    for key in stated:
        if key not in known:
            raise ConfigError(
                f"{where}: {name} has no key {key!r}{_closest(key, known)}; known keys: {', '.join(known)}."
            )
    own = {key: value for key, value in stated.items() if key in PROFILES[name][modality]}
    changed = ",".join(f"{key}={value}" for key, value in own.items())
    return canonical(f"{name}:{changed}" if changed else name, modality, where=where)


def _split(text: str, where: str) -> tuple[str, dict[str, str]]:
    """A profile's versioned name, and the keys with their values as text."""
    name, colon, rest = text.strip().partition(":")
    name = NEWEST.get(name, name)
    if name not in PROFILES:
        known = (*NEWEST, *PROFILES)
        raise ConfigError(
            f"{where}: there is no equalisation profile {name!r}{_closest(name, known)}; there are {', '.join(known)}."
        )
    stated: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise ConfigError(f"{where}: after {name}: come key=value pairs with commas between them, not {part!r}.")
        if key in stated:
            raise ConfigError(f"{where}: {key} is given twice.")
        stated[key] = value
    return name, stated


def _number(key: str, value: str, where: str) -> Number:
    """One value, checked."""
    kind = "a whole number" if key in _WHOLE else "a number"
    if key in _CHOICES:
        allowed = f"one of {', '.join(map(str, _CHOICES[key]))}"
    else:
        low, high = _RANGES[key]
        allowed = f"{kind} from {low:g} to {high:g}"
    try:
        number: Number = int(value) if key in _WHOLE else float(value)
        fits = number in _CHOICES[key] if key in _CHOICES else low <= number <= high
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"{where}: {key} must be {allowed}, not {value!r}.")
    return number


def _closest(key: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    match = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
