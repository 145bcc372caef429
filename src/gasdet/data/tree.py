"""Folder trees, on disk or in an archive: a folder's name is the label of what lies below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gasdet.data.building import Part, Stated, left_out_notes, make_sample, unknown_modality
from gasdet.data.labels import media_type_of_folder, split_of_folder
from gasdet.data.listing import (
    Entry,
    Listing,
    Problem,
    counted,
    is_archive_problem,
    modality_by_name,
    side_file_note,
)
from gasdet.data.names import archive_kind, is_side_file, stem_of, suffix_of
from gasdet.types import MediaType, Modality, Reason, Sample

# Folders of these names sort files by what they are, not by who made them.
_NEUTRAL = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "video",
        "videos",
        "clip",
        "clips",
        "audio",
        "audios",
        "wav",
        "sound",
        "data",
        "dataset",
    ]
)


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """What the folders above a file say of it."""

    media_type: MediaType | None
    generator: str
    split: str


def folder_facts(parts: tuple[str, ...]) -> FolderFacts:
    """Read a path's folders, outermost first.

    The innermost label wins. The generator is the first folder below the label that names neither a split nor a
    modality; failing that, for synthetic files, the outermost such folder above the label (``progan/1_fake``). The
    split is the outermost folder that names one. An archive counts as a folder of its stem's name.
    """
    parts = tuple(stem_of(part) if archive_kind(part) else part for part in parts)
    split = next((said for part in parts if (said := split_of_folder(part))), "")
    labels = [i for i, part in enumerate(parts) if media_type_of_folder(part) is not None]
    if not labels:
        return FolderFacts(None, "", split)
    at = labels[-1]
    media_type = media_type_of_folder(parts[at])
    generator = _first_telling(parts[at + 1 :])
    if not generator and media_type is not MediaType.REAL:
        generator = _first_telling(parts[:at])
    return FolderFacts(media_type, generator, split)


def _first_telling(parts: tuple[str, ...]) -> str:
    return next((part for part in parts if not split_of_folder(part) and part.casefold() not in _NEUTRAL), "")


def has_label_folders(listing: Listing, prefix: tuple[str, ...] = ()) -> bool:
    """Whether any file other than a README or table lies below a folder whose name is a label."""
    if folder_facts(prefix).media_type is not None:
        return True
    facts = _facts_of(prefix)
    return any(facts(e).media_type is not None for e in listing.entries if not is_side_file(e.name))


def _facts_of(prefix: tuple[str, ...]) -> Callable[[Entry], FolderFacts]:
    known: dict[str, FolderFacts] = {}

    def facts(entry: Entry) -> FolderFacts:
        folder = entry.member.rpartition("/")[0]
        if folder not in known:
            known[folder] = folder_facts((*prefix, *(folder.split("/") if folder else ())))
        return known[folder]

    return facts


def tree_samples(listing: Listing, name: str, prefix: tuple[str, ...], stated: Stated) -> Part:
    """A listing's samples in its order: one for every file that is no side file.

    Args:
        listing: Of a folder or an archive.
        name: Name of the data set.
        prefix: First components of every member, as ``names.dataset_name`` gives them.
        stated: What the user says of the whole.
    """
    part = Part(name, notes=list(listing.notes))
    labelled = stated.media_type is not None or has_label_folders(listing, prefix)
    if not labelled:
        part.unlabelled = "no folder is called real, synthetic or the like"
    facts = _facts_of(prefix)
    start = "".join(f"{p}/" for p in prefix)
    side_files: Counter[str] = Counter()
    not_asked = others = 0
    for entry in listing.entries:
        if not stated.accepts(start + entry.member):
            not_asked += 1
        elif entry.locator.kind != "frames" and is_side_file(entry.name):
            side_files[suffix_of(entry.name) or entry.name] += 1
        elif not stated.fits(modality := modality_by_name(entry)):
            others += 1
        else:
            part.samples.append(_sample(entry, modality, facts(entry), name, start, stated, labelled))
    if side_files:
        part.notes.append(side_file_note(side_files))
    archives = sum(is_archive_problem(sample.skip_message) for sample in part.samples)
    if archives:
        them, paths = ("it", "its own path") if archives == 1 else ("them", "their own paths")
        part.notes.append(
            f"{counted(archives, 'archive')} among the media not looked into; unpack {them}, or give {paths}"
        )
    part.notes += left_out_notes(stated, not_asked, others, "file")
    return part


def _sample(
    entry: Entry,
    modality: Modality | None,
    facts: FolderFacts,
    name: str,
    start: str,
    stated: Stated,
    labelled: bool,
) -> Sample:
    member = start + entry.member
    media_type = stated.media_type or facts.media_type
    skip: Problem | None = None
    if entry.doubled:
        skip = entry.problem
    elif modality is None:
        skip = entry.problem or unknown_modality(member, entry.head)
    elif labelled and media_type is None:
        skip = (Reason.LABEL_UNREADABLE, f"{member} lies below no folder whose name is a label")
    group = ""
    if stated.group == "folder":
        group = f"{name}/{member.rpartition('/')[0]}"
    return make_sample(
        name,
        member,
        entry.locator,
        stated.modality if modality is not None and stated.modality is not None else modality,
        media_type,
        generator=stated.generator or facts.generator,
        group=group,
        split=facts.split or stated.split,
        released=stated.released,
        skip=skip,
    )
