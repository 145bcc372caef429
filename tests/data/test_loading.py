from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gasdet.data import load_data
from gasdet.data.dataset import fingerprint
from gasdet.errors import DataError, UsageError
from gasdet.types import MediaType, Modality

Tree = Callable[..., Path]


@pytest.fixture
def many(tree: Tree) -> Path:
    """30 real and 300 synthetic files of one data set."""
    names = [f"real/{i}.jpg" for i in range(30)] + [f"synthetic/gan/{i}.jpg" for i in range(300)]
    return tree(*names, folder="many")


def test_limit_is_the_total_spread_over_data_sets_and_labels(tree: Tree, many: Path) -> None:
    few = tree("real/a.jpg", "real/b.jpg", folder="few")
    chosen = load_data([few, many], limit=32).samples
    assert Counter((s.dataset, s.media_type) for s in chosen) == {
        ("few", MediaType.REAL): 2,
        ("many", MediaType.REAL): 15,
        ("many", MediaType.SYNTHETIC): 15,
    }
    whole = load_data([few, many])
    order = [s.sample_id for s in whole.samples]
    assert sorted(chosen, key=lambda s: order.index(s.sample_id)) == list(chosen)


def test_smaller_runs_are_parts_of_larger_ones(many: Path) -> None:
    def ids(**options: object) -> set[str]:
        return {s.sample_id for s in load_data(many, **options).samples}  # type: ignore[arg-type]

    chain = [ids(limit=n) for n in (1, 7, 40, 61, 200)]
    assert all(a < b for a, b in itertools.pairwise(chain))
    assert [len(c) for c in chain] == [1, 7, 40, 61, 200]
    modes = [ids(mode=m) for m in ("debug", "small", "full")]
    assert modes[0] < modes[1] < modes[2]
    assert [len(m) for m in modes] == [20, 200, 330]
    assert ids(limit=7, seed=1) != ids(limit=7)
    assert ids(mode="debug", limit=10) <= ids(mode="debug")


def test_datasets_are_chosen_by_pattern(tree: Tree, many: Path) -> None:
    few = tree("real/a.jpg", folder="few")
    assert {s.dataset for s in load_data([few, many], datasets=["FE*", "x"]).samples} == {"few"}
    with pytest.raises(DataError, match="no data set's name matches q\\* or z; there are few, many"):
        load_data([few, many], datasets=["q*", "z"])


def test_modalities_leave_others_out_and_say_so(tree: Tree) -> None:
    root = tree("real/a.jpg", "real/b.wav", "real/c.mp4", "real/d.wav", contents={"real/unknown": b"?"})
    dataset = load_data(root, modalities=[Modality.IMAGE])
    assert [s.member for s in dataset.samples] == ["real/a.jpg", "real/unknown"]
    assert dataset.notes == (
        "2 audio samples left out: no chosen detector takes them",
        "1 video sample left out: no chosen detector takes them",
    )
    only = tree("real/b.wav", folder="only")
    with pytest.raises(DataError, match=r"nothing is left of .*only .1 audio sample left out"):
        load_data(only, modalities={Modality.IMAGE})


def test_splits_of_a_tree(tree: Tree) -> None:
    root = tree("train/real/a.jpg", "test/real/a.jpg", "test/fake/b.jpg")
    assert [s.member for s in load_data(root, split="test").samples] == ["test/fake/b.jpg", "test/real/a.jpg"]
    assert len(load_data(root).samples) == 3
    with pytest.raises(DataError, match="photos has no split 'val': it has test, train"):
        load_data(root, split="val")
    with pytest.raises(DataError, match="plain has no split 'test': its data name no splits"):
        load_data(tree("real/a.jpg", folder="plain"), split="test")


def test_groups_of_different_sources_stay_apart(tree: Tree) -> None:
    roots = [tree("x.jpg", folder=name) for name in ("one", "two")]
    for root in roots:
        (root / f"{root.name}.csv").write_text("path,label,group,pair\nx.jpg,0,g,1\n")
    alone = load_data(roots[0] / "one.csv").samples
    assert [(s.group, s.pair) for s in alone] == [("g", "1")]
    both = load_data([roots[0] / "one.csv", roots[1] / "two.csv"]).samples
    assert [(s.group, s.pair) for s in both] == [("one:g", "one:1"), ("two:g", "two:1")]


def test_a_pair_without_a_group_stays_a_group_of_its_own(tree: Tree) -> None:
    roots = [tree("x.jpg", folder=name) for name in ("one", "two")]
    for root in roots:
        (root / f"{root.name}.csv").write_text("path,label,pair\nx.jpg,0,1\n")
    found = load_data([root / f"{root.name}.csv" for root in roots]).samples
    assert [(s.group == s.sample_id, s.pair) for s in found] == [(True, "one:1"), (True, "two:1")]


def test_the_fingerprint_is_of_ids_labels_and_sizes(tree: Tree) -> None:
    root = tree("real/a.jpg", "fake/b.jpg")
    first = load_data(root)
    assert first.fingerprint == load_data(str(root)).fingerprint == fingerprint(first.samples)
    assert len(bytes.fromhex(first.fingerprint)) == 32
    assert first.fingerprint != load_data(root, limit=1).fingerprint
    relabelled = [replace(first.samples[0], media_type=MediaType.REAL), first.samples[1]]
    assert fingerprint(relabelled) != first.fingerprint
    assert fingerprint(reversed(first.samples)) != first.fingerprint
    (root / "real" / "a.jpg").write_bytes(b"longer or shorter")
    assert load_data(root).fingerprint != first.fingerprint


def test_descriptions(tree: Tree) -> None:
    root = tree("test/real/a.jpg")
    assert load_data(root).description == str(root)
    assert load_data(root, split="test").description == f"{root} (test split)"
    assert not load_data(root).is_demo


def test_uses_that_are_wrong(tree: Tree, tmp_path: Path) -> None:
    root = tree("real/a.jpg", "list.txt")
    with pytest.raises(DataError, match=r"there is no file or folder .*absent; check the path"):
        load_data(tmp_path / "absent")
    with pytest.raises(DataError, match=r"a\.jpg is no data set: .* gasdet detect"):
        load_data(root / "real" / "a.jpg")
    with pytest.raises(DataError, match=r"list\.txt is no data set"):
        load_data(root / "list.txt")
    with pytest.raises(DataError, match="no data were given"):
        load_data([])
    with pytest.raises(UsageError, match="--limit must be at least 1"):
        load_data(root, limit=0)
    with pytest.raises(UsageError, match="--mode must be one of"):
        load_data(root, mode="tiny")  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"nothing is left of .*empty \(it holds no files\)"):
        load_data(tmp_path / "empty")


def test_planning_a_tree_takes_no_time_to_speak_of(tmp_path: Path) -> None:
    for label in ("real", "synthetic"):
        for folder in range(10):
            below = tmp_path / "tree" / label / f"g{folder}"
            below.mkdir(parents=True)
            for number in range(250):
                (below / f"{number}.jpg").touch()
    begin = time.process_time()
    dataset = load_data(tmp_path / "tree")
    seconds = time.process_time() - begin
    assert len(dataset.samples) == 5000
    assert seconds < 2, "5,000 files take 0.1 s on an idle core"


def test_demo_is_its_test_split(monkeypatch: pytest.MonkeyPatch, tree: Tree) -> None:
    import gasdet.data.demo as demo

    root = tree("a.jpg", "b.jpg", "c.wav", folder="demo-1")
    (root / "manifest.csv").write_text(
        "path,label,modality,generator,split,group,difficulty\n"
        "a.jpg,real,image,cam,train,g1,1\n"
        "b.jpg,synthetic,image,gen,test,g2,2\n"
        "c.wav,real,audio,mic,test,g3,1\n"
    )
    monkeypatch.setattr(demo, "ensure_demo", lambda *a, **k: root, raising=False)
    dataset = load_data("demo")
    assert [(s.dataset, s.member, s.generator, s.group, s.split) for s in dataset.samples] == [
        ("demo", "b.jpg", "gen", "g2", "test"),
        ("demo", "c.wav", "mic", "g3", "test"),
    ]
    assert dataset.is_demo
    assert dataset.description == "demo (test split)"
    train = load_data(["demo"], split="train")
    assert [s.member for s in train.samples] == ["a.jpg"]
    assert train.is_demo
    assert train.description == "demo (train split)"
    monkeypatch.chdir(tree("real/mine.jpg", folder="demo").parent)
    assert load_data("demo").is_demo
    own = load_data("./demo")
    assert not own.is_demo
    assert [s.member for s in own.samples] == ["real/mine.jpg"]
    assert not load_data(["demo", tree("real/z.jpg", folder="mine")]).is_demo
