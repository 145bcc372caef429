"""The keys of a catalogue: which there are, and what their values must be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gasdet.data.dates import days_of
from gasdet.data.names import archive_kind
from gasdet.data.sampling import MODE_CAPS, Mode, Totals
from gasdet.media import modality_of_name
from gasdet.types import MediaType, Modality

if TYPE_CHECKING:
    import yaml

_TEXT_KEYS = (
    "name",
    "path",
    "modality",
    "media_type",
    "source",
    "split",
    "filter_column",
    "generator",
    "group",
    "licence",
    "data_root",
    "revision",
    "sha256",
    "category",
    "released",
)
LIST_KEYS = (
    "include_paths",
    "exclude_paths",
    "archive_include_paths",
    "archive_exclude_paths",
    "data_columns",
    "s3_prefixes",
)
_COUNT_KEYS = ("media_per_archive", "archives_per_dataset")
_OTHER_KEYS = ("filter_value", "sampling", "source_format")
SAME_AS = {
    "image_columns": "data_columns",
    "license": "licence",
    "content_category": "category",
    "images_per_parquet": "media_per_archive",
    "videos_per_zip": "media_per_archive",
    "parquet_per_dataset": "archives_per_dataset",
    "zips_per_dataset": "archives_per_dataset",
}
"""Other names of our keys; among them those of GASBench's current and earlier catalogues."""

GENERATORS = ("generator", "generator_variant", "generator_family")
_NO_EFFECT = ("original_name",)
KNOWN_KEYS = (*_TEXT_KEYS, *LIST_KEYS, *_COUNT_KEYS, *_OTHER_KEYS, *SAME_AS, *GENERATORS[1:], "notes", *_NO_EFFECT)
BENCHMARK_SIZES = ("benchmark_size", *(f"{m}_benchmark_size" for m in Modality))
TOP_KEYS = ("datasets", *Modality, "sampling", *BENCHMARK_SIZES)
SAMPLING_KEYS = ("max_samples", "min_samples", "share")

SOURCES = ("local", "huggingface", "modelscope", "s3", "http", "https")
FORMATS = ("folder", "csv", "parquet", "zip", "tar", "frames")
RENDERED = "rendered"
"""GASBench's media type for computer graphics, which are neither captured nor made by a neural generator."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """What ``sampling`` says of one data set, or of all that say nothing of their own.

    Attributes:
        max_samples: At most that many, in any mode; None for all.
        min_samples: Comes before shares where a total is shared out.
        share: What part of a total it gets, in proportion to the others' shares.
    """

    max_samples: int | None = None
    min_samples: int | None = None
    share: Fraction | None = None

    def over(self, defaults: SamplingRule) -> SamplingRule:
        """This rule, with another one's values where it has none."""
        return SamplingRule(
            defaults.max_samples if self.max_samples is None else self.max_samples,
            defaults.min_samples if self.min_samples is None else self.min_samples,
            defaults.share if self.share is None else self.share,
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` with the most similar known word; empty where none is similar."""
    near = difflib.get_close_matches(word, [str(one) for one in known], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def value_of(key: str, node: yaml.Node) -> Any:
    """The value of an entry's key, as its own type.

    Returns:
        Text for most keys; a tuple of texts for lists and ``filter_value``; a ``SamplingRule``; a number of at least 1 for
        counts, and None for a count of -1, which means all.

    Raises:
        ValueError: It cannot be used; the message says what it must be.
    """
    key = SAME_AS.get(key, key)
    if key in _NO_EFFECT:
        return None
    if key == "notes":
        return " ".join(str(constructed(node) or "").split())
    if key in LIST_KEYS:
        return _texts(constructed(node))
    if key in _COUNT_KEYS:
        return _count_or_all(constructed(node))
    if key == "filter_value":
        return _filter_values(node)
    if key == "sampling":
        return _most_samples(constructed(node))
    if key == "source_format":
        return _format(constructed(node))
    return _text(key, _plain_text(node))


def _text(key: str, text: str) -> str:
    """A text, and of those that stand for something one of the known words."""
    choices = {
        "modality": tuple(Modality),
        "media_type": (*MediaType, RENDERED),
        "source": SOURCES,
    }.get(key)
    if choices is not None:
        if text.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)}, not {text!r}{nearest(text.lower(), choices)}")
        return text.lower()
    if key == "path" and not _is_usable_path(text):
        raise ValueError("a path, or a whole address")  # which may hold a password, and is not shown
    if key == "released" and days_of(text) is None:
        raise ValueError(f"a date like 2024-08 or 2024-08-31, not {text!r}")
    if key == "sha256":
        text = text.lower().removeprefix("sha256:")
        if not _SHA256.match(text):
            raise ValueError("the 64 hex digits of a file's SHA-256")
    return text


def _is_usable_path(text: str) -> bool:
    try:
        urlsplit(text if "://" in text else "")
    except ValueError:
        return False
    return "\0" not in text


def _plain_text(node: yaml.Node) -> str:
    """A scalar as it stands in the file: YAML would turn 2024-08-31 into a date, ``yes`` into True and 0012 into 10."""
    import yaml

    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if isinstance(node, yaml.ScalarNode) and not is_null(node) and not set(kind) & set(":/!"):
        return str(node.value).strip()
    constructed(node)  # says what is wrong with a node that is no plain value at all
    raise ValueError("a text")


def is_null(node: yaml.Node) -> bool:
    """Whether nothing stands there, or ``null``."""
    return node.tag == "tag:yaml.org,2002:null"


def constructed(node: yaml.Node) -> Any:
    """The plain value of a node.

    Raises:
        ValueError: It is none, such as an object of Python.
    """
    import yaml

    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:  # a timestamp like 2024-13-45 is a ValueError
        raise ValueError(f"a plain value ({getattr(error, 'problem', error)})") from error
    finally:
        loader.dispose()


def _texts(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if items is None:
        return ()
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise ValueError("a text or a list of texts")
    return tuple(items)


def _filter_values(node: yaml.Node) -> tuple[str, ...]:
    """As they stand in the file; what they are compared with says whether they are numbers or truth values."""
    import yaml

    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    try:
        texts = tuple(_plain_text(item) for item in items)
    except ValueError as error:
        raise ValueError("a value or a list of values") from error
    if not texts:
        raise ValueError("a value or a list of values")
    return texts


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _count_or_all(value: Any) -> int | None:
    if value == -1 and not isinstance(value, bool):
        return None
    if not _is_count(value):
        raise ValueError("a whole number of at least 1, or -1 for all")
    return int(value)


def _format(value: Any) -> str:
    """One of ours, or a suffix as GASBench names it; of a list of kinds of media files ``folder``, of others nothing."""
    items = [value] if isinstance(value, str) else value
    if value is None or value == "":
        return ""
    if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
        raise ValueError("a text or a list of texts")
    known = [_known_format(item) for item in items]
    if len(set(known)) == 1:
        return known[0]
    return "folder" if all(modality_of_name(f"x.{item}") for item in known) else ""


def _known_format(text: str) -> str:
    plain = text.strip().lower().lstrip(".")
    suffix = f"x.{plain}"
    if plain not in (*FORMATS, "tsv") and archive_kind(suffix) is None and modality_of_name(suffix) is None:
        known = (*FORMATS, "tar.gz", "jpg", "png", "mp4", "wav")
        raise ValueError(
            f"one of {', '.join(FORMATS)} or the suffix of the files (tar.gz, jpg, mp4 ...), not {text!r}"
            + nearest(plain, known)
        )
    return plain


def _most_samples(value: Any) -> SamplingRule:
    if not _is_count(value):
        raise ValueError(
            f"a whole number of at least 1 (the most samples to take), or a mapping of {', '.join(SAMPLING_KEYS)}"
        )
    return SamplingRule(max_samples=int(value))


def sampling_value(key: str, value: Any) -> int | Fraction | Totals:
    """The value of a key of a ``sampling`` mapping: one of ``SAMPLING_KEYS``, or ``total``.

    Raises:
        ValueError: It cannot be used; the message says what it must be.
    """
    if key == "total":
        return totals_of(value)
    if key == "share":
        return _share(value)
    if not _is_count(value):
        raise ValueError("a whole number of at least 1")
    return int(value)


def _share(value: Any) -> Fraction:
    """A share, exact: 0.1 is a tenth, whatever the machine makes of it."""
    try:
        share = Fraction(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except ValueError:  # inf and nan
        share = None
    if share is None or not Fraction(1, 10**6) <= share <= 10**6:
        raise ValueError("a number from 0.000001 to 1000000")
    return share


def totals_of(value: Any) -> Totals:
    """What the top level's ``sampling: {total: ...}`` says.

    Args:
        value: A number, for mode full; or numbers under ``debug``, ``small`` and ``full``. In the place of each number there
            may be a mapping with one for each modality.

    Raises:
        ValueError: It is neither; the message says what it must be.
    """
    modes: Mapping[str, Any] = value if isinstance(value, dict) and not set(value) <= set(Modality) else {"full": value}
    for mode in modes:
        if mode not in MODE_CAPS:
            near = nearest(str(mode), MODE_CAPS)
            raise ValueError(f"one number, or one for each of {', '.join(MODE_CAPS)}, not {mode!r}{near}")
    if "full" not in modes or len(modes) not in (1, len(MODE_CAPS)):
        raise ValueError(f"one number, or one for each of {', '.join(MODE_CAPS)}")
    found: dict[tuple[Mode, Modality | None], int] = {}
    for mode in MODE_CAPS:
        if mode in modes:
            found |= {(mode, modality): number for modality, number in _by_modality(modes[mode]).items()}
    totals = Totals(found)
    for modality in (None, *Modality):
        row = [totals.of(mode, modality) for mode in MODE_CAPS if mode in modes]
        told = [number for number in row if number is not None]
        if len(told) not in (0, len(row)) or told != sorted(told):
            raise ValueError("with totals that do not shrink from debug to small to full")
    return totals


def _by_modality(value: Any) -> dict[Modality | None, int]:
    if _is_count(value):
        return {None: int(value)}
    if not isinstance(value, dict) or not value or not all(_is_count(number) for number in value.values()):
        raise ValueError("with whole numbers of at least 1, or a mapping of such by modality")
    for modality in value:
        if modality not in tuple(Modality):
            raise ValueError(f"by modality ({', '.join(Modality)}), not {modality!r}{nearest(str(modality), Modality)}")
    return {Modality(modality): int(number) for modality, number in value.items()}
