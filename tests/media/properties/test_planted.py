"""The planted data: each shortcut separates the classes, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gasdet.media.properties import PROPERTIES, properties_of
from gasdet.types import Modality

from ...planted import NAMED, SHORTCUTS, planted

COUNT = 30


def separations(folder: Path, modality: Modality) -> dict[str, float]:
    """Property to the AUROC of its values, folded; categories by the order of their names, None below everything."""
    rows = [(path.parent.name, properties_of(path, modality)) for path in sorted(folder.rglob("*.*"))]
    labels = [name == "synthetic" for name, _ in rows]
    found = {}
    for spec in PROPERTIES[modality]:
        values = [row[spec.name] for _, row in rows]
        if spec.kind == "category":
            ranks = {value: rank for rank, value in enumerate(sorted({str(v) for v in values}))}
            scores = [float(ranks[str(v)]) for v in values]
        else:
            scores = [-1e9 if v is None else float(v) for v in values]
        area = roc_auc_score(labels, scores)
        found[spec.name] = max(area, 1 - area)
    return found


@pytest.mark.parametrize("shortcut", sorted(NAMED))
def test_a_planted_shortcut_is_the_first_of_the_best_properties(tmp_path: Path, shortcut: str) -> None:
    found = separations(planted(tmp_path, shortcut, COUNT, seed=1), SHORTCUTS[shortcut])
    best = max(found.values())
    assert best == 1
    first = next(name for name, area in found.items() if area == best)
    assert first in NAMED[shortcut]


@pytest.mark.parametrize("shortcut", ["none_image", "none_video", "none_audio"])
def test_nothing_separates_the_classes_where_nothing_is_planted(tmp_path: Path, shortcut: str) -> None:
    found = separations(planted(tmp_path, shortcut, COUNT, seed=1), SHORTCUTS[shortcut])
    # Of 30 and 30 exchangeable values, the AUROC's standard deviation is 0.075.
    assert max(found.values()) < 0.5 + 3.5 * 0.075


@pytest.mark.parametrize("shortcut", ["size", "frame_rate", "silence"])
def test_the_same_seed_gives_the_same_files_and_another_one_others(tmp_path: Path, shortcut: str) -> None:
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = planted(tmp_path / name, shortcut, 2, seed)
        contents.append([path.read_bytes() for path in sorted(folder.rglob("*.*"))])
    assert contents[0] == contents[1]
    assert all(a != c for a, c in zip(contents[0], contents[2], strict=True))


def test_both_classes_have_as_many_files_under_the_same_names(tmp_path: Path) -> None:
    planted(tmp_path, "exif", 3, seed=0)
    names = [[path.name for path in sorted((tmp_path / kind).iterdir())] for kind in ("real", "synthetic")]
    assert names == [["00000.jpg", "00001.jpg", "00002.jpg"]] * 2
    planted(tmp_path, "exif", 2, seed=0)
    assert len(list(tmp_path.rglob("*.jpg"))) == 4  # what a former call left behind is gone


def test_size_and_frame_rate_leave_the_content_as_it_is(tmp_path: Path) -> None:
    import av
    from PIL import Image

    planted(tmp_path / "size", "size", 1, seed=3)
    planted(tmp_path / "none", "none_image", 1, seed=3)
    large, usual = (Image.open(tmp_path / kind / "synthetic" / "00000.jpg") for kind in ("size", "none"))
    assert (large.size, usual.size) == ((320, 320), (256, 256))
    shrunk = np.asarray(large.resize((256, 256), Image.Resampling.BICUBIC), float)
    assert np.abs(shrunk - np.asarray(usual, float)).mean() < 4

    ends = []
    for kind in ("frame_rate", "none_video"):
        planted(tmp_path / kind, kind, 1, seed=3)
        with av.open(tmp_path / kind / "synthetic" / "00000.mp4") as container:
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        ends.append(frames[-1].astype(float))
    assert np.abs(ends[0] - ends[1]).mean() < 4  # the scene has moved as far, in more frames
