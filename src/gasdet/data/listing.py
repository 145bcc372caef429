"""What a walk through a folder or an archive finds, before anything is known of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gasdet.data.names import archive_kind, is_side_file, suffix_of
from gasdet.media import modality_of_name, sniff
from gasdet.types import Locator, Modality, Reason

HEAD_BYTES = 4096

Problem = tuple[Reason, str]
"""Why an entry cannot be read, known without reading it: the code and a sentence."""


@dataclass(slots=True)
class Entry:
    """One file of a folder, or one member of an archive; or a folder of frames, which is one clip.

    Attributes:
        member: Its path below the folder or in the archive: forward slashes, printable.
        locator: Where its bytes are.
        problem: Why it cannot be read, where that is known already. ``read_source`` finds the same again.
        head: Its first bytes, where they were asked for and can be had; None otherwise.
        doubled: Its archive has several members of this name, so that reading it would pick one.
    """

    member: str
    locator: Locator
    problem: Problem | None = None
    head: bytes | None = None
    doubled: bool = False

    @property
    def name(self) -> str:
        """The last component of its path."""
        return self.member.rpartition("/")[2]


@dataclass(slots=True)
class Listing:
    """Everything found, sorted by member, and what was left out.

    Attributes:
        entries: Includes side files (README, tables): whoever builds samples decides on them.
        notes: Lines for the user about what was left out or counted once.
    """

    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


_ARCHIVE_SUFFIXES = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4")
_ARCHIVE_MAGIC = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ZIPS_OF_THEIR_OWN = (
    *(".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub", ".kra", ".ora", ".sketch"),
    *(".jar", ".apk", ".whl", ".npz", ".pth", ".ckpt", ".bin", ".keras"),
)
"""Documents, programs and weights that are zips and no archives of media."""

_ARCHIVE_INSIDE = "is an archive among the media, which is not looked into; unpack it, or give its own path"


def is_archive(name: str, head: bytes | None = None) -> bool:
    """Whether a file is an archive: one that can be read as data by itself, or one of another kind (7z, rar).

    Args:
        name: The last component of its path.
        head: Its first bytes, at least 262 of them, where they are known.
    """
    if archive_kind(name) or name.casefold().endswith(_ARCHIVE_SUFFIXES):
        return True
    if not head:
        return False
    if head.startswith(_ZIP_MAGIC):
        return suffix_of(name) not in _ZIPS_OF_THEIR_OWN
    return head.startswith(_ARCHIVE_MAGIC) or head[257:262] == b"ustar"


def archive_problem(member: str) -> Problem:
    """The skip of an archive that lies among media."""
    return Reason.UNKNOWN_MODALITY, f"{member} {_ARCHIVE_INSIDE}"


def is_archive_problem(message: str) -> bool:
    """Whether a skipped sample's message is that of an archive among media."""
    return message.endswith(_ARCHIVE_INSIDE)


NeedsHead = Callable[[str], bool]
"""Whether the first bytes of a file of that name are to be read while listing."""


def head_where_name_says_nothing(name: str) -> bool:
    """Read the first bytes of those files only whose name tells neither a modality nor a side file."""
    return modality_of_name(name) is None and not is_side_file(name)


def head_of_everything(name: str) -> bool:
    """Read the first bytes of every file."""
    return True


def modality_by_name(entry: Entry) -> Modality | None:
    """By the extension; by the first bytes where the extension says nothing. A folder of frames is a clip."""
    if entry.locator.kind == "frames":
        return Modality.VIDEO
    return modality_of_name(entry.name) or (sniff(entry.head) if entry.head else None)


def modality_by_content(entry: Entry) -> Modality | None:
    """By the first bytes; by the extension where they say nothing."""
    return (sniff(entry.head) if entry.head else None) or modality_of_name(entry.name)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 file``, ``3 files``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def side_file_note(names: Counter[str]) -> str:
    """The line about side files that are no samples, by suffix."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(names.items()))
    return f"{counted(names.total(), 'text or table file')} beside the media left out ({kinds})"
