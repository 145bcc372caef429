"""Private holdouts: samples whose names, paths and sizes stay here, under names that only the key's owner can link to them.

What is concealed, and what cannot be, is in docs/holdouts.md.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import logging
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gasdet.data.dataset import Dataset
from gasdet.data.listing import counted
from gasdet.data.loading import load_data
from gasdet.data.sampling import Mode, select
from gasdet.errors import ConfigError, DataError, GasdetError, UsageError
from gasdet.types import NO_ANNOTATIONS, Modality, Provenance, Sample

KEY_VARIABLE = "GASDET_HOLDOUT_KEY"
"""The environment variable that may hold the key."""

MIN_KEY_CHARACTERS = 32
MIN_DIFFERENT_CHARACTERS = 8
HOW_TO_MAKE_A_KEY = "python -c 'import secrets; print(secrets.token_hex(32))' > holdout.key"
_NAME_DIGITS, _ID_DIGITS = 12, 32
_SPLITS = ("train", "val", "test")
_LINE = re.compile(r"\bline (\d{1,7})\b")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HoldoutKey:
    """The secret that names of holdouts are made with. It is in no representation of this object.

    Attributes:
        secret: At least 32 bytes.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what could be guessed: whoever guesses a key can try names against what was published.

        Raises:
            UsageError: The key is short, or made of very few different characters.
        """
        if len(self.secret) < MIN_KEY_CHARACTERS or len(set(self.secret)) < MIN_DIFFERENT_CHARACTERS:
            raise UsageError(
                f"the holdout key can be guessed: it needs at least {MIN_KEY_CHARACTERS} characters, "
                f"{MIN_DIFFERENT_CHARACTERS} of them different; make one with: {HOW_TO_MAKE_A_KEY}"
            )

    def name(self, kind: str, text: str, digits: int = _ID_DIGITS) -> str:
        """Hex digits of HMAC-SHA256 over ``kind`` and ``text``: the same for the same key, unlinkable without it."""
        told = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self.secret, told, hashlib.sha256).hexdigest()[:digits]


def read_key(file: str | Path | None = None) -> HoldoutKey:
    """The key in a file, or in the environment variable GASDET_HOLDOUT_KEY where no file is named.

    White space around the key does not belong to it, so that a file's last newline changes no name.

    Raises:
        UsageError: There is neither, the file cannot be read, or the key can be guessed.
    """
    if file is not None:
        try:
            return HoldoutKey(Path(file).expanduser().read_bytes().strip())
        except OSError as error:
            why = error.strerror or type(error).__name__
        raise UsageError(f"the file named by --holdout-key cannot be read ({why}); check its path.")
    told = os.environ.get(KEY_VARIABLE, "").strip()
    if not told:
        raise UsageError(
            "holdouts need a key, which their names are made with: put one into GASDET_HOLDOUT_KEY, or into a file that "
            f"--holdout-key names, and keep it secret; make one with: {HOW_TO_MAKE_A_KEY}"
        )
    return HoldoutKey(os.fsencode(told))


@dataclass(frozen=True, slots=True)
class Holdouts:
    """The samples of a holdout catalogue under their keyed names.

    Attributes:
        samples: Provenance holdout, in the order of their ids. Nothing but ``locator``, which only a decode process may see,
            tells where they are from.
        fingerprint: 64 hex digits, keyed: says whether the data are the same, and only to who has the key.
        originals: Keyed sample id to the id that the sample would have as public data, for comparisons within this process.
        withheld: How many lines about these data were not shown.
    """

    samples: tuple[Sample, ...]
    fingerprint: str
    originals: Mapping[str, str] = field(repr=False)
    withheld: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The keyed names of the data sets, in the order of their first samples."""
        return tuple(dict.fromkeys(sample.dataset for sample in self.samples))

    def matching(self, patterns: Sequence[str]) -> Holdouts:
        """Those data sets whose keyed name matches a pattern; all of them where there is no pattern.

        Raises:
            DataError: There are patterns, and none matches.
        """
        if not patterns:
            return self
        folded = [pattern.casefold() for pattern in patterns]
        kept = {name for name in self.names if any(fnmatch.fnmatchcase(name, pattern) for pattern in folded)}
        if not kept:
            raise DataError(
                f"no holdout's name matches {' or '.join(patterns)}; --datasets chooses holdouts by the names that reports "
                f"give them: {', '.join(self.names[:10])}{' and more' if len(self.names) > 10 else ''}."
            )
        return replace(self, samples=tuple(sample for sample in self.samples if sample.dataset in kept))


def load_holdouts(
    path: str | Path,
    key: HoldoutKey,
    *,
    mode: Mode = "full",
    seed: int = 0,
    modalities: Collection[Modality] | None = None,
    **selection: Any,
) -> Holdouts:
    """Load a holdout catalogue and give everything in it the names that the key makes.

    Nothing of the catalogue or its data is shown while it is read: no progress, warnings or log lines. What goes wrong is told
    by the line of the entry concerned.

    Args:
        path: A YAML catalogue, with the keys of any other.
        key: See ``read_key``.
        mode: As for ``load_data``.
        seed: Decides which samples ``mode`` and a catalogue's ``sampling`` choose.
        modalities: Leave samples of another known modality out.
        selection: Further arguments of ``load_data``, such as ``categories``, ``modality``, ``total`` and ``offline``.

    Raises:
        ConfigError: The catalogue has unknown keys or unusable values; the message has the lines.
        DataError: It cannot be read, or its data cannot; the message has the lines of the entries.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() not in (".yaml", ".yml") or not file.is_file():
        raise DataError(
            "there is no holdout catalogue at the path that --holdout names; it must be an existing .yaml file."
        )
    chosen: dict[str, Any] = {"mode": mode, "seed": seed, "modalities": modalities, **selection}
    found = _quietly(lambda: load_data(file, **chosen), lambda error: _told(error, file))
    known: dict[str, Modality] = {}
    for sample in found.samples:
        if sample.modality is not None:
            known.setdefault(sample.dataset, sample.modality)
    # By their keyed ids: the catalogue's order would be a name, too, by which rows under another key could be told.
    pairs = sorted(
        ((concealed(sample, key, known.get(sample.dataset)), sample.sample_id) for sample in found.samples),
        key=lambda pair: pair[0].sample_id,
    )
    return Holdouts(
        samples=tuple(own for own, _ in pairs),
        fingerprint=key.name("data", found.fingerprint, 64),
        originals={own.sample_id: original for own, original in pairs},
        withheld=len(found.notes),
    )


def concealed(sample: Sample, key: HoldoutKey, modality: Modality | None = None) -> Sample:
    """A sample as a holdout: every name is keyed or dropped.

    Modality, label, weight, whether it is skipped and why, and a split called train, val or test stay; and ``locator``, which
    only a decode process may see.

    Args:
        sample: As ``load_data`` gives it.
        key: See ``read_key``.
        modality: For the data set's name where the sample's own is unknown.
    """
    identity = key.name("sample", sample.sample_id)
    kind = sample.modality or modality or "media"
    if sample.group in ("", sample.sample_id):
        group = identity
    else:
        group = key.name("group", _within(sample.dataset, sample.group))
    return replace(
        sample,
        sample_id=identity,
        dataset=f"{kind}-holdout-{key.name('dataset', sample.dataset, _NAME_DIGITS)}",
        member="",
        generator=f"generator-{key.name('generator', sample.generator, _NAME_DIGITS)}" if sample.generator else "",
        group=group,
        split=sample.split if sample.split in _SPLITS else "",
        provenance=Provenance.HOLDOUT,
        pair=key.name("pair", _within(sample.dataset, sample.pair)) if sample.pair else "",
        released="",
        skip_message="the holdout's own words are withheld" if sample.skip is not None else "",
        annotations=NO_ANNOTATIONS,
    )


def _within(dataset: str, name: str) -> str:
    """A group's or pair's name with its data set's before it, which it has already where several sources are put together."""
    own = f"{dataset}:"
    return name if name.startswith(own) else own + name


def joined(public: Dataset | None, holdouts: Holdouts, *, limit: int | None = None, seed: int = 0) -> Dataset:
    """Public data and holdouts as one dataset, or the holdouts alone.

    Args:
        public: Loaded without a limit; None for the holdouts alone.
        holdouts: Under their keyed names.
        limit: At most so many samples of both together, spread evenly over (data set, label).
        seed: Decides which.

    Raises:
        DataError: There is no sample.
        UsageError: ``limit`` is none.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}.")
    samples = [*(public.samples if public is not None else ()), *holdouts.samples]
    if not samples:
        raise DataError("nothing is left of the holdouts; see what the options leave out.")
    if limit is not None:
        samples = select(samples, limit, seed)
    told = hashlib.sha256(f"{public.fingerprint if public is not None else ''}\0{holdouts.fingerprint}".encode())
    told.update("\n".join(sample.sample_id for sample in samples).encode())
    names = {s.dataset for s in samples if s.provenance is Provenance.HOLDOUT}
    count = sum(s.provenance is Provenance.HOLDOUT for s in samples)
    notes = [f"holdouts: {counted(count, 'sample')} in {counted(len(names), 'data set')}"]
    if holdouts.withheld:
        lines = counted(holdouts.withheld, "line")
        notes.append(f"holdouts: {lines} about files that were left out or counted once withheld")
    return Dataset(
        samples=tuple(samples),
        fingerprint=told.hexdigest(),
        description="the holdouts" if public is None else f"{public.description} and the holdouts",
        is_demo=False,
        notes=(*(public.notes if public is not None else ()), *notes),
        sources=public.sources if public is not None else (),
    )


def _quietly(work: Callable[[], T], told: Callable[[Exception], GasdetError]) -> T:
    """Do what meets names that must not be seen. Its errors are replaced; no traceback leads back to the original one."""
    original: Exception | None = None
    try:
        with _silence():
            return work()
    except KeyboardInterrupt:
        pass  # the one that was raised may have come while an error with a name was being handled: it is raised anew
    except Exception as error:
        original = error
    failure: BaseException = KeyboardInterrupt()
    if original is not None:
        try:
            with _silence():
                failure = told(original)
        except KeyboardInterrupt:
            pass
        except Exception:
            failure = DataError("the holdouts cannot be read; see that the holdout catalogue and its data are there.")
    del original  # which a debugger would find in this frame
    raise failure  # outside of the handlers, so that it has no context


@contextmanager
def _silence() -> Iterator[None]:
    """No warnings and no log lines of any library meanwhile."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


_KINDS = {
    "absent": "there is nothing at the paths of data sets of the holdout catalogue",
    "away": "data of the holdout catalogue cannot be fetched, or are not on this machine",
    "unreadable": "data of the holdout catalogue cannot be read, or say of no sample what it is",
    "twice": "the holdout catalogue gives some samples twice",
}
"""What is said for each ``GasdetError.kind``."""


def _told(error: Exception, file: Path) -> GasdetError:
    """What may be said of an error of ``load_data`` on a holdout catalogue: its kind, and lines of the file."""
    see = "'gasdet data list' with this file shows them, on your own terminal"
    known = vars(error)
    lines: Sequence[int] = known.get("lines", ())
    kind = "" if isinstance(error, GasdetError) else f" ({type(error).__name__})"
    if what := _KINDS.get(known.get("kind", "")):
        return DataError(f"{what}{kind}: see the data sets{_at(lines)}; {see}.")
    if isinstance(error, ConfigError):
        most = file.read_bytes().count(b"\n") + 1
        lines = sorted({int(number) for number in _LINE.findall(str(error)) if int(number) <= most})
        return ConfigError(f"the holdout catalogue has unknown keys or unusable values{_at(lines)}; {see}.")
    return DataError(
        f"the holdout catalogue cannot be read{kind}, or has nothing of what the options ask for; see that it is a YAML file "
        f"that you may read; {see}."
    )


def _at(lines: Sequence[int]) -> str:
    if not lines:
        return " in this file"
    told = ", ".join(str(line) for line in lines[:20]) + (" and more" if len(lines) > 20 else "")
    return f" at line{'s' if len(lines) > 1 else ''} {told}"
