"""How a catalogue's remote entries are read; fetching them is tested in tests/data/remote, and stands in here."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gasdet.data import load_data, remote
from gasdet.data.catalogue import CatalogueEntry
from gasdet.errors import DataError
from gasdet.types import Modality

from .conftest import JPEG

Tree = Callable[..., Path]


@dataclass
class Fetched:
    """Stands in for the network: what is asked for, and where it "lies"."""

    folders: dict[str, Path]
    asked: list[tuple[list[str], dict[str, Any]]] = field(default_factory=list)

    def __call__(self, entries: Sequence[CatalogueEntry], **options: Any) -> list[remote.LocalCopy]:
        self.asked.append(([entry.name for entry in entries], options))
        return [
            remote.LocalCopy(entry.path, "")
            if entry.source == "local"
            else remote.LocalCopy(self.folders[entry.name], "c0ffee" * 6 + "beef", ("a line of the download",))
            for entry in entries
        ]


TEXT = """
datasets:
  - {name: hub, path: owner/pictures, source: huggingface, modality: image, media_type: real, licence: CC0-1.0,
     revision: main, released: 2024-05}
  - {name: web, path: "https://me:secret@host/pictures.zip?sig=secret", modality: image, media_type: synthetic,
     media_per_archive: 3}
  - {name: films, path: owner/films, source: huggingface, modality: video, media_type: real}
  - {name: here, path: here, modality: image, media_type: real}
"""


@pytest.fixture
def fetched(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetched:
    tree("a.jpg", "b.jpg", folder="here")
    folders = {
        "hub": tree("a.jpg", "b.jpg", "c.jpg", folder="fetched-hub"),
        "films": tree("a.mp4", folder="fetched-films"),
        "web": tmp_path / "fetched-web",
    }
    folders["web"].mkdir()
    with zipfile.ZipFile(folders["web"] / "pictures.zip", "w") as made:
        for number in range(9):
            made.writestr(f"{number}.jpg", JPEG + bytes([number]))
    (tmp_path / "sets.yaml").write_text(TEXT)
    stand_in = Fetched(folders)
    monkeypatch.setattr(remote, "local_copies", stand_in)
    return stand_in


def test_fetched_data_are_read_and_their_origin_kept(fetched: Fetched, tmp_path: Path) -> None:
    dataset = load_data(tmp_path / "sets.yaml", mode="small", offline=True)
    assert Counter(s.dataset for s in dataset.samples) == {"hub": 3, "web": 3, "films": 1, "here": 2}
    assert {s.released for s in dataset.samples if s.dataset == "hub"} == {"2024-05"}
    assert fetched.asked == [(["hub", "web", "films", "here"], {"mode": "small", "offline": True, "progress": None})]
    revision = "c0ffee" * 6 + "beef"
    assert dataset.sources == (
        {"name": "hub", "source": "huggingface", "path": "owner/pictures", "revision": revision, "licence": "CC0-1.0"},
        {"name": "web", "source": "https", "path": "https://host/pictures.zip", "revision": revision, "licence": ""},
        {"name": "films", "source": "huggingface", "path": "owner/films", "revision": revision, "licence": ""},
        {"name": "here", "source": "local", "path": "here", "revision": "", "licence": ""},
    )
    for note in (
        f"hub: owner/pictures at revision {revision}",
        "hub: a line of the download",
        "web: 6 samples beyond media_per_archive (3) left out",
    ):
        assert note in dataset.notes
    assert "secret" not in repr(dataset)


def test_what_no_detector_takes_is_not_fetched(fetched: Fetched, tmp_path: Path) -> None:
    dataset = load_data(tmp_path / "sets.yaml", modalities={Modality.VIDEO})
    assert fetched.asked[0][0] == ["films", "here"]
    assert Counter(s.dataset for s in dataset.samples) == {"films": 1}
    assert "2 data sets not fetched: no chosen detector takes their modality" in dataset.notes
    load_data(tmp_path / "sets.yaml", modality="image", datasets=["h*"])
    assert fetched.asked[1][0] == ["hub", "here"]


def test_nothing_is_asked_where_all_is_local(fetched: Fetched, tmp_path: Path) -> None:
    load_data(tmp_path / "sets.yaml", datasets=["here"])
    assert fetched.asked == []
    code = "import sys; from gasdet.data import load_data; load_data(sys.argv[1], datasets=['here']); "
    check = "assert not [m for m in sys.modules if m.startswith(('gasdet.data.remote', 'fsspec', 'huggingface_hub'))]"
    subprocess.run([sys.executable, "-c", code + check, str(tmp_path / "sets.yaml")], check=True)


def test_enough_is_fetched_for_a_mode_s_own_total(fetched: Fetched, tmp_path: Path) -> None:
    for totals, mode, fetched_as in (
        ("{debug: 10, small: 20, full: 30}", "debug", "debug"),
        ("{debug: 100, small: 150, full: 300}", "debug", "small"),
        ("{debug: 500, small: 600, full: 700}", "small", "full"),
        ("700", "small", "small"),
    ):
        (tmp_path / "totals.yaml").write_text(f"sampling: {{total: {totals}}}\n{TEXT}")
        load_data(tmp_path / "totals.yaml", mode=mode)
        assert fetched.asked[-1][1]["mode"] == fetched_as


def test_computer_graphics_are_left_out_unfetched(fetched: Fetched, tmp_path: Path) -> None:
    text = TEXT + "  - {name: game, path: owner/game, source: huggingface, modality: video, media_type: rendered}\n"
    (tmp_path / "games.yaml").write_text(text)
    dataset = load_data(tmp_path / "games.yaml", modality="video")
    assert fetched.asked[0][0] == ["films"]
    assert (
        "1 data set left out (game): computer graphics (media_type rendered) are neither real nor synthetic"
        in " ".join(dataset.notes)
    )
    with pytest.raises(DataError, match=r"nothing is left of .*computer graphics"):
        load_data(tmp_path / "games.yaml", datasets=["game"])
