"""Clips as folders of images: found in a listing, and read frame by frame."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from gasdet.data.archives import MAX_MEMBER_BYTES, ArchiveReader, clean_member
from gasdet.data.listing import Entry, Listing, counted
from gasdet.data.names import is_litter, is_side_file
from gasdet.errors import MediaError
from gasdet.media import FrameSequence, modality_of_name
from gasdet.media.frames import in_order
from gasdet.types import Locator, Modality, Reason

MAX_FRAMES = 200_000
"""A folder with more images is no clip: two hours at 25 frames per second have 180,000."""

_LAST_NUMBER = re.compile(r"(\d{1,18})\D*$")


def is_frame(name: str) -> bool:
    """Whether a file's name says that it is an image, and not what a system left behind."""
    return not is_litter(name) and modality_of_name(name) is Modality.IMAGE


def clips_of(listing: Listing, top: str) -> Listing:
    """A listing with one entry for each folder that holds images, in the order of their first images.

    Args:
        listing: Of a folder or an archive.
        top: What a clip is called whose images lie in no folder.
    """
    folders: dict[str, list[Entry]] = {}
    others = 0
    for entry in listing.entries:
        if is_frame(entry.name):
            folders.setdefault(entry.member.rpartition("/")[0], []).append(entry)
        elif not is_side_file(entry.name):
            others += 1
    clips = [_clip(folder or top, frames) for folder, frames in folders.items()]
    notes = list(listing.notes)
    if others:
        notes.append(f"{counted(others, 'file')} beside the frames left out")
    if gaps := sum(_has_gaps([entry.name for entry in frames]) for frames in folders.values()):
        notes.append(f"{counted(gaps, 'clip')} with gaps in the numbers of the frames")
    return Listing(clips, notes)


def _clip(member: str, frames: list[Entry]) -> Entry:
    """The entry of a clip; its own place is the folder, so that frames are looked up again when it is read."""
    first = frames[0].locator
    size = -1 if any(f.locator.size < 0 for f in frames) else sum(f.locator.size for f in frames)
    if first.kind == "file":
        place = Locator("frames", os.path.dirname(first.path), size=size)
    else:
        folder = clean_member(first.member).rpartition("/")[0]
        place = Locator("frames", first.path, member=folder, row=first.row, size=size)
    doubled = next((frame for frame in frames if frame.doubled), None)
    if doubled is None:
        return Entry(member, place)
    return Entry(member, place, doubled.problem, doubled=True)


def _has_gaps(names: Sequence[str]) -> bool:
    """Whether the frames' last numbers do not rise by one and the same step."""
    found = [_LAST_NUMBER.search(name.rpartition(".")[0]) for name in in_order(names)]
    numbers = [int(match[1]) for match in found if match is not None]
    return len({after - before for before, after in itertools.pairwise(numbers)}) > 1


def frames_in_folder(path: str) -> FrameSequence:
    """The frames of a folder on disk, by their paths.

    Raises:
        MediaError: NO_FRAMES or TOO_LARGE.
        OSError: The folder cannot be read.
    """
    names = [name for name in os.listdir(path) if is_frame(name)]
    _check_count(len(names))
    return FrameSequence(tuple(Path(path, name) for name in in_order(names)))


def frames_in_archive(archive: ArchiveReader, folder: str) -> FrameSequence:
    """The frames of a folder in an archive, by their content, which is read in the archive's own order.

    Raises:
        MediaError: NO_FRAMES, TOO_LARGE, or what is wrong with a frame; the message says which by its number.
    """
    stored = {name: member for name, member in archive.folder(folder).items() if is_frame(name)}
    _check_count(len(stored))
    shown = in_order(stored)
    number = {name: i + 1 for i, name in enumerate(shown)}
    contents: dict[str, bytes] = {}
    held = 0
    for name, member in stored.items():
        try:
            contents[name] = archive.read(member)
        except MediaError as error:
            raise MediaError(error.reason, f"frame {number[name]} of {len(shown)}: {error}") from None
        held += len(contents[name])
        if held > MAX_MEMBER_BYTES:
            message = f"the clip's frames have more than {MAX_MEMBER_BYTES:,} bytes; unpack the archive to use them"
            raise MediaError(Reason.TOO_LARGE, message)
    return FrameSequence(tuple(contents[name] for name in shown))


def _check_count(count: int) -> None:
    if count == 0:
        raise MediaError(Reason.NO_FRAMES, "the folder of frames holds no images")
    if count > MAX_FRAMES:
        raise MediaError(Reason.TOO_LARGE, f"the folder of frames holds {count:,} images, over {MAX_FRAMES:,}")
