"""Totals, shares and filters of catalogues, through load_data."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gasdet.data import Dataset, load_data
from gasdet.errors import DataError, UsageError
from gasdet.types import Modality

Tree = Callable[..., Path]
Load = Callable[..., Dataset]


@pytest.fixture
def load(tree: Tree, tmp_path: Path) -> Load:
    """Three data sets of 300, 60 and 30 images and one of 40 recordings, and what a catalogue's head says of them."""
    tree(*(f"{label}/{n}.jpg" for label in ("real", "synthetic") for n in range(150)), folder="large")
    tree(*(f"real/{n}.jpg" for n in range(60)), folder="middle")
    tree(*(f"synthetic/{n}.jpg" for n in range(30)), folder="little")
    tree(*(f"{label}/{n}.wav" for label in ("real", "synthetic") for n in range(20)), folder="talks")

    def read(head: str = "", rules: str = "", **options: object) -> Dataset:
        text = f"""
{head}
datasets:
  - {{name: large, path: large, modality: image, category: diverse {rules}}}
  - {{name: middle, path: middle, modality: image, content_category: faces}}
  - {{name: little, path: little, modality: image, category: Faces-and-hands}}
  - {{name: talks, path: talks, modality: audio}}
"""
        (tmp_path / "catalogue.yaml").write_text(text)
        return load_data(tmp_path / "catalogue.yaml", **options)  # type: ignore[arg-type]

    return read


def counts(dataset: Dataset) -> dict[str, int]:
    return dict(Counter(sample.dataset for sample in dataset.samples))


def ids(dataset: Dataset) -> set[str]:
    return {sample.sample_id for sample in dataset.samples}


def test_a_total_is_of_each_modality_and_is_told(load: Load) -> None:
    dataset = load("sampling: {total: 90}")
    assert counts(dataset) == {"large": 30, "middle": 30, "little": 30, "talks": 40}
    assert "90 of 390 image samples taken, the catalogue's total" in dataset.notes
    by_modality = load("sampling: {total: {audio: 8, image: 30}}")
    assert counts(by_modality) == {"large": 10, "middle": 10, "little": 10, "talks": 8}
    assert counts(load("benchmark_size: 12")) == {"large": 4, "middle": 4, "little": 4, "talks": 12}
    assert counts(load("image_benchmark_size: 12")) == {"large": 4, "middle": 4, "little": 4, "talks": 40}
    assert counts(load("benchmark_size: 9000")) == counts(load())


def test_shares_floors_and_caps(load: Load) -> None:
    assert counts(load("sampling: {total: 70}", ", sampling: {share: 5}"))["large"] == 50
    assert counts(load("sampling: {total: 60, min_samples: 15}", ", sampling: {share: 50}")) == {
        "large": 30,
        "middle": 15,
        "little": 15,
        "talks": 40,
    }
    capped = load("sampling: {total: 60, max_samples: 25}", ", sampling: {max_samples: 4, share: 50}")
    assert counts(capped) == {"large": 4, "middle": 25, "little": 25, "talks": 25}
    assert counts(load("sampling: {total: 2, min_samples: 15}"))["talks"] == 2
    assert sum(counts(load("sampling: {total: 20, min_samples: 15}", datasets=["l*", "m*"])).values()) == 20


def test_every_mode_has_its_total_and_is_part_of_the_next(load: Load) -> None:
    head = "sampling: {total: {debug: 45, small: 120, full: 300}}"
    modes = [load(head, ", sampling: {share: 9}", mode=mode) for mode in ("debug", "small", "full")]
    assert [len(one.samples) for one in modes] == [45 + 40, 120 + 40, 300 + 40]
    assert counts(modes[0])["large"] > 20, "a total stands in the place of the cap of 20"
    assert all(ids(a) < ids(b) for a, b in itertools.pairwise(modes))


def test_a_total_of_mode_full_alone_keeps_the_modes_nested(load: Load) -> None:
    modes = [load("benchmark_size: 40", mode=mode) for mode in ("debug", "small", "full")]
    assert counts(modes[0]) == {"large": 14, "middle": 13, "little": 13, "talks": 20}
    assert ids(modes[0]) <= ids(modes[1]) <= ids(modes[2])
    assert len(modes[2].samples) == 80


def test_total_replaces_the_catalogues_own_and_is_of_everything(load: Load, tree: Tree) -> None:
    head, rules = "sampling: {total: 10}", ", sampling: {share: 3, min_samples: 20}"
    row = [load(head, rules, total=total) for total in (10, 60, 61, 120, 400)]
    assert [len(one.samples) for one in row] == [10, 60, 61, 120, 400]
    assert all(ids(a) < ids(b) for a, b in itertools.pairwise(row))
    assert counts(row[3]) == {"large": 60, "middle": 20, "little": 20, "talks": 20}
    assert "the catalogue's total" not in " ".join(row[0].notes)
    folder = tree("real/a.jpg", "real/b.jpg", folder="folder")
    assert len(load_data(folder, total=1).samples) == 1
    assert len(load(total=50, limit=7).samples) == 7
    assert len(load(total=50, mode="debug").samples) == 50
    assert counts(load(total=78, mode="debug")) == {"large": 20, "little": 20, "middle": 19, "talks": 19}
    weighted = [load(rules=", sampling: {share: 9}", total=120, mode=mode) for mode in ("debug", "small", "full")]
    assert counts(weighted[0]) == {"large": 20, "middle": 10, "little": 10, "talks": 10}
    assert ids(weighted[0]) < ids(weighted[1]) <= ids(weighted[2])


def test_modes_and_limit_without_a_catalogues_totals_are_as_ever(load: Load) -> None:
    assert counts(load(mode="debug")) == {"large": 20, "middle": 20, "little": 20, "talks": 20}
    assert counts(load(mode="small")) == {"large": 200, "middle": 60, "little": 30, "talks": 40}
    assert len(load(limit=6).samples) == 6


@pytest.mark.parametrize("head", ["", "benchmark_size: 40", "sampling: {total: {debug: 45, small: 120, full: 300}}"])
def test_what_a_limit_leaves_of_a_mode_is_part_of_what_it_leaves_of_a_larger_one(load: Load, head: str) -> None:
    """Also where a mode has used a cell up: the seats that others have no use for are not given to it."""
    before: list[set[str]] = []
    for limit in (1, 2, 5, 30, 61, 100, 250):
        now = [ids(load(head, mode=mode, limit=limit)) for mode in ("debug", "small", "full")]
        assert now[0] <= now[1] <= now[2]
        assert len(now[2]) <= limit
        assert all(smaller <= larger for smaller, larger in zip(before, now, strict=False))
        before = now
    # A mode's choice is not thinned out beyond what both ask for.
    assert len(ids(load(head, mode="debug", limit=5))) == 5


@pytest.mark.parametrize("limit", [1, 2, 10, 19])
def test_a_limit_takes_from_what_a_total_leaves(load: Load, limit: int) -> None:
    """One data set's share is so small that the total gives it nothing."""
    chosen = [ids(load(rules=", sampling: {share: 0.001}", total=20, limit=limit, mode=m)) for m in ("debug", "full")]
    assert len(chosen[1]) == limit
    assert chosen[0] <= chosen[1] < ids(load(rules=", sampling: {share: 0.001}", total=20))


def test_where_a_limit_and_a_catalogues_total_leave_nothing_in_common_it_is_said(tree: Tree, tmp_path: Path) -> None:
    for name in "ab":
        tree(*(f"real/{n}.jpg" for n in range(60)), folder=name)
    (tmp_path / "c.yaml").write_text(
        "sampling: {total: {debug: 20, small: 20, full: 60}}\n"
        "datasets: [{path: a, sampling: {share: 0.001}}, {path: b, modality: image, sampling: {share: 1}}]\n"
    )
    with pytest.raises(DataError, match="leave no sample of those that a limit of 1 takes; give a larger one"):
        load_data(tmp_path / "c.yaml", mode="debug", limit=1)


def test_a_data_set_of_two_modalities_nests_too(tree: Tree, tmp_path: Path) -> None:
    tree(*(f"{label}/{n}.{'wav' if n % 3 else 'jpg'}" for label in ("real", "fake") for n in range(60)), folder="m")
    tree(*(f"real/{n}.jpg" for n in range(90)), folder="n")
    path = tmp_path / "c.yaml"
    path.write_text(
        "sampling: {total: {debug: 9, small: 31, full: 70}}\ndatasets: [{name: m, path: m}, {name: n, path: n}]\n"
    )
    for limit in (3, 20, 50, 90, 120):
        now = [ids(load_data(path, mode=mode, limit=limit)) for mode in ("debug", "small", "full")]
        assert now[0] <= now[1] <= now[2]


def test_entries_of_one_name_share_as_one(tmp_path: Path, tree: Tree) -> None:
    tree(*(f"{n}.jpg" for n in range(40)), folder="a")
    tree(*(f"{n}.jpg" for n in range(40)), folder="b")
    (tmp_path / "c.yaml").write_text(
        """
sampling: {total: 40}
datasets:
  - {name: one, path: a, media_type: real, sampling: {share: 3}}
  - {name: one, path: b, media_type: synthetic, sampling: {share: 3}}
  - {name: other, path: b, media_type: synthetic}
"""
    )
    taken = Counter((s.dataset, s.label) for s in load_data(tmp_path / "c.yaml").samples)
    assert taken == {("one", 0): 15, ("one", 1): 15, ("other", 1): 10}
    (tmp_path / "d.yaml").write_text(
        "datasets:\n  - {name: one, path: a, media_type: real, sampling: {share: 3}}\n  - {name: one, path: b}\n"
    )
    with pytest.raises(Exception, match="line 3: one states another share or min_samples than at line 2"):
        load_data(tmp_path / "d.yaml")


def test_categories_and_modality(load: Load) -> None:
    assert counts(load(categories=["FACES*"])) == {"middle": 60, "little": 30}
    assert counts(load(categories=["faces", "diverse"])) == {"large": 300, "middle": 60}
    assert counts(load(modality="audio")) == {"talks": 40}
    assert counts(load(modality=Modality.IMAGE, datasets=["*l*"])) == {"large": 300, "middle": 60, "little": 30}
    assert counts(load(modality="")) == counts(load())
    with pytest.raises(
        DataError, match="no data set's category matches cars; there are Faces-and-hands, diverse, faces"
    ):
        load(categories=["cars"])
    with pytest.raises(DataError, match="category matches x; none of the data sets states one"):
        load(categories=["x"], datasets=["talks"])
    with pytest.raises(DataError, match="no video data sets among those that are asked for"):
        load(modality="video")


def test_uses_that_are_wrong(load: Load, tree: Tree) -> None:
    folder = tree("real/a.jpg", folder="folder")
    with pytest.raises(UsageError, match="--total must be at least 1, not 0"):
        load(total=0)
    with pytest.raises(UsageError, match="--modality must be one of image, video, audio, not 'text'"):
        load(modality="text")
    with pytest.raises(UsageError, match=r"--category is for catalogues, and .*folder is none"):
        load_data(folder, categories=["faces"])
    assert {s.modality for s in load_data(folder, modality="image").samples} == {Modality.IMAGE}
    with pytest.raises(DataError, match="nothing is left"):
        load_data(folder, modality="audio")


def test_where_the_data_come_from_is_kept(load: Load, tmp_path: Path, tree: Tree) -> None:
    dataset = load(datasets=["talks"])
    assert dataset.sources == ({"name": "talks", "source": "local", "path": "talks", "revision": "", "licence": ""},)
    assert load_data(tree("real/a.jpg", folder="folder")).sources == ()


def test_archive_paths_choose_inside_and_include_paths_among_archives(tmp_path: Path) -> None:
    import zipfile

    from .conftest import JPEG

    (tmp_path / "packed").mkdir()
    for name in ("part1.zip", "part2.zip"):
        with zipfile.ZipFile(tmp_path / "packed" / name, "w") as made:
            for member in ("keep/a.jpg", "keep/not/b.jpg", "leave/c.jpg"):
                made.writestr(member, JPEG + name.encode() + member.encode())
    (tmp_path / "c.yaml").write_text(
        "datasets:\n  - {name: c, path: packed, media_type: real, include_paths: part2.zip,\n"
        "     archive_include_paths: [/keep/], archive_exclude_paths: [/not/]}\n"
    )
    assert [s.member for s in load_data(tmp_path / "c.yaml").samples] == ["part2.zip/keep/a.jpg"]
