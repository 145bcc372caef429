"""What a smaller mode or total takes of remote data is part of what a larger one takes, though it fetched less."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import loopback
import pytest
import yaml
from loopback import Served

from gasdet.data import load_data
from gasdet.data.sampling import Mode, quotas

MODES: tuple[Mode, ...] = ("debug", "small", "full")
TOTALS = {"debug": 20, "small": 150, "full": 260}


@pytest.fixture
def archives(server: loopback.Server, zipped: Callable[[int, int], bytes]) -> str:
    """The address of 8 archives of 60 images, half of each label."""
    names = [f"part-{number}.zip" for number in range(8)]
    links = "".join(f'<a href="{name}">{name}</a>' for name in names)
    server.files["/many/"] = Served(links.encode(), headers={"Content-Type": "text/html"})
    for number, name in enumerate(names):
        server.files[f"/many/{name}"] = Served(zipped(number, 30))
    return f"{server.address}/many/"


def written(folder: Path, sampling: object, *entries: Mapping[str, object]) -> Path:
    path = folder / "sets.yaml"
    path.write_text(yaml.safe_dump({"sampling": sampling, "datasets": [dict(entry) for entry in entries]}))
    return path


def taken(path: Path, mode: Mode, total: int | None = None, seed: int = 0) -> set[str]:
    return {sample.sample_id for sample in load_data(path, mode=mode, total=total, seed=seed).samples}


@pytest.mark.parametrize("stated", [{}, {"media_type": "synthetic"}])
def test_catalogue_totals_nest_over_archives_that_are_fetched_one_by_one(
    archives: str, server: loopback.Server, tmp_path: Path, stated: dict[str, str]
) -> None:
    entry = {"name": "m", "path": archives, "source": "http", "modality": "image", "source_format": "zip", **stated}
    path = written(tmp_path, {"total": TOTALS}, entry)
    debug, small = taken(path, "debug"), taken(path, "small")
    fetched = sum(r.method == "GET" and r.path.endswith(".zip") for r in server.log)
    assert fetched < 8
    full = taken(path, "full")
    assert [len(debug), len(small), len(full)] == list(TOTALS.values())
    assert debug < small < full
    for seed in (1, 2):
        assert taken(path, "debug", seed=seed) < taken(path, "small", seed=seed) < taken(path, "full", seed=seed)
    samples = load_data(path, mode="full").samples
    assert len({s.locator.path for s in samples}) == 8  # what is beyond the smaller mode's is of all archives
    labels = [s.label for s in samples]
    assert stated or abs(labels.count(0) - labels.count(1)) <= 1


def test_totals_of_the_call_and_max_samples_nest_too(archives: str, tmp_path: Path, server: loopback.Server) -> None:
    entry = {"name": "m", "path": archives, "source": "http", "modality": "image", "source_format": "zip"}
    path = written(tmp_path, {"share": 1}, entry)
    rows = [taken(path, "small", total=150), taken(path, "full", total=190), taken(path, "full", total=330)]
    assert [len(row) for row in rows] == [150, 190, 330]
    assert all(a < b for a, b in itertools.pairwise(rows))
    capped = written(tmp_path, {"share": 1}, {**entry, "sampling": {"max_samples": 300}})
    assert taken(capped, "debug") < taken(capped, "small") < taken(capped, "full")


def test_quotas_nest_though_a_smaller_mode_sees_less_of_each_data_set() -> None:
    """Two runs that know different sizes of data sets, none less than its total."""
    random.seed(7)
    for _ in range(50):
        whole = {f"d{n}": random.randint(1, 900) for n in range(9)}
        fetched = {name: min(size, 200 + random.randint(0, 60)) for name, size in whole.items()}
        totals = sorted(random.sample(range(1, 201), 2))
        less = quotas(fetched, totals[0])
        more = quotas(whole, totals[1])
        assert all(less[name] <= more[name] for name in whole)
