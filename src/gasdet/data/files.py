"""Files to score that belong to no data set."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from gasdet.data.archives import list_archive
from gasdet.data.building import make_sample, unknown_modality
from gasdet.data.dataset import Dataset, fingerprint
from gasdet.data.listing import (
    HEAD_BYTES,
    Entry,
    counted,
    head_of_everything,
    modality_by_content,
)
from gasdet.data.names import archive_kind, is_side_file, printable
from gasdet.data.reading import read_head
from gasdet.data.walking import walk
from gasdet.errors import DataError, MediaError
from gasdet.types import Locator, Reason, Sample

DATASET = "files"


def samples_of_files(paths: Sequence[str | Path], *, recursive: bool = True) -> Dataset:
    """Unlabelled samples of files, of everything in folders and archives, and of what glob patterns match.

    A file's modality is what its first bytes say, else what its name says. A file named by itself is always a sample; one
    that does not exist is a sample whose reading fails with FILE_MISSING. In folders and archives, README files and tables
    are left out, and what is no known media is a skipped sample. A file reached twice counts once.

    Args:
        paths: Files, folders, zip and tar archives, patterns with ``*``, ``?``, ``[...]`` and ``**``.
        recursive: Whether folders' folders are searched.

    Returns:
        A dataset called "files"; each sample's member is its path as given (for a folder's or an archive's, below it).
    """
    finder = _Finder(recursive)
    samples: list[Sample] = []
    seen: set[str] = set()
    repeated = 0
    for entry, named in (found for path in paths for found in finder.find(os.fspath(path))):
        key = f"{os.path.realpath(entry.locator.path)}\0{entry.locator.member}"
        if key in seen:
            repeated += 1
            continue
        seen.add(key)
        samples.append(_sample(entry, named))
    if repeated:
        finder.notes.append(f"{counted(repeated, 'file')} named more than once and counted once")
    described = printable(os.fspath(paths[0])) if len(paths) == 1 else counted(len(samples), "file")
    return Dataset(tuple(samples), fingerprint(samples), described, False, tuple(finder.notes))


class _Finder:
    """Finds entries and collects notes."""

    def __init__(self, recursive: bool) -> None:
        self.recursive = recursive
        self.notes: list[str] = []

    def find(self, path: str) -> Iterator[tuple[Entry, bool]]:
        """The entries of one argument, each with whether it was named by itself."""
        path = os.path.expanduser(path)
        if not os.path.lexists(path) and glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))
            for match in matches:
                yield from self._one(match)
            if matches:
                return
        yield from self._one(path)

    def _one(self, path: str) -> Iterator[tuple[Entry, bool]]:
        shown = printable(path)
        try:
            if os.path.isdir(path):
                listing = walk(Path(path), needs_head=head_of_everything, recursive=self.recursive)
            elif os.path.isfile(path) and archive_kind(os.path.basename(path)):
                listing = list_archive(os.path.abspath(path), needs_head=head_of_everything)
            else:
                yield _file(path), True
                return
        except DataError as error:
            reason = Reason.FILE_UNREADABLE if os.path.isdir(path) else Reason.ARCHIVE_DAMAGED
            yield Entry(shown, Locator("file", os.path.abspath(path)), (reason, str(error).rstrip("."))), False
            return
        self.notes += [f"{shown}: {note}" for note in listing.notes]
        side_files = 0
        for entry in listing.entries:
            if is_side_file(entry.name):
                side_files += 1
                continue
            entry.member = f"{shown.rstrip('/')}/{entry.member}"
            yield entry, False
        if side_files:
            self.notes.append(f"{shown}: {counted(side_files, 'text or table file')} left out")


def _file(path: str) -> Entry:
    whole = os.path.abspath(path)
    size = os.path.getsize(whole) if os.path.isfile(whole) else -1
    entry = Entry(printable(path), Locator("file", whole, size=size))
    try:
        entry.head = read_head(entry.locator, HEAD_BYTES)
    except MediaError as error:
        entry.problem = (error.reason, str(error))
    return entry


def _sample(entry: Entry, named: bool) -> Sample:
    modality = modality_by_content(entry)
    skip = None
    if entry.doubled:
        skip = entry.problem
    elif modality is None and not (named and entry.problem is not None):  # a named file's reading tells what it is
        skip = entry.problem or unknown_modality(entry.member, entry.head)
    return make_sample(DATASET, entry.member, entry.locator, modality, None, skip=skip)
