"""``gasdet data download`` against servers on loopback, in this process and in others."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from click.testing import Result
from downloads import received, slow, tree, write_catalogue
from loopback import Hub, Served, Server

from gasdet.cli import progress as cli_progress
from gasdet.cli.data import download as cli_download

Run = Callable[..., Result]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gasdet.cli", *map(str, arguments)]


@pytest.mark.slow
def test_killed_five_times_at_random_the_tree_is_the_same(
    hub: Hub, files: dict[str, bytes], environment: dict[str, str], catalogue: Path, tmp_path: Path, run: Run
) -> None:
    hub.push("someone/faces", files)
    undisturbed = tmp_path / "undisturbed"
    done = run("data", "download", catalogue, GASDET_DATA=str(undisturbed))
    assert done.exit_code == 0, done.stderr
    slow(hub, files, 0.05)  # 16 KiB each: four at once take some 3 s
    rng = random.Random(int(os.environ.get("PYTEST_SEED", "11")))
    folder = Path(environment["GASDET_DATA"])
    kills_in_transfer = 0
    for _ in range(5):
        before = received(folder)
        process = forked.start_command(["data", "download", catalogue], environment, tmp_path / "errors.txt")
        deadline = time.monotonic() + 30
        while received(folder) == before and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.45))
        kills_in_transfer += process.is_alive() and received(folder) > before
        process.kill()
        process.join()
        final = [p for p in folder.rglob("*") if p.is_file() and p.parent.name in ("data", "notes")]
        for path in final:  # whatever has its final name is whole
            if not path.name.endswith((".part", ".part.json", ".pending")):
                assert path.read_bytes() == files[f"{path.parent.name}/{path.name}"]
    assert kills_in_transfer >= 3
    requests = len(hub.storage.log)
    slow(hub, files, 0)
    done = run("data", "download", catalogue)
    assert done.exit_code == 0, done.stderr
    assert tree(folder) == tree(undisturbed)
    resumed = [r for r in hub.storage.log if "Range" in r.headers]
    assert resumed
    assert len(hub.storage.log) > requests  # the last run had something left to do
    assert run("data", "verify", catalogue).exit_code == 0


@pytest.mark.slow
def test_eight_processes_on_one_folder_do_not_disturb_each_other(
    hub: Hub, files: dict[str, bytes], environment: dict[str, str], catalogue: Path, tmp_path: Path, run: Run
) -> None:
    hub.push("someone/faces", files)
    assert run("data", "download", catalogue, GASDET_DATA=str(tmp_path / "alone")).exit_code == 0
    slow(hub, files, 0.01)
    before = len(hub.storage.log)
    errors = [tmp_path / f"errors-{i}.txt" for i in range(8)]
    processes = [forked.start_command(["data", "download", catalogue], environment, place) for place in errors]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8, [place.read_text() for place in errors]
    assert tree(Path(environment["GASDET_DATA"])) == tree(tmp_path / "alone")
    assert len(hub.storage.log) - before == 8  # each large file was asked for once, by whoever came first
    assert run("data", "verify").exit_code == 0


def test_sizes_come_first_and_a_dry_run_stops_there(
    hub: Hub, files: dict[str, bytes], catalogue: Path, run: Run, tmp_path: Path
) -> None:
    commit = hub.push("someone/faces", files)
    done = run("data", "download", catalogue, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    [told] = json.loads(done.stdout)["datasets"]
    size = sum(map(len, files.values()))
    assert (told["revision"], told["files"], told["bytes"], told["missing_bytes"]) == (commit, 20, size, size)
    assert hub.storage.log == []
    shown = run("data", "download", catalogue, "--dry-run").stdout
    assert "set0" in shown
    assert "To fetch: 4.0 MiB." in shown
    done = run("data", "download", catalogue, "--json")
    assert json.loads(done.stdout)["datasets"][0]["missing_bytes"] == 0
    assert run("data", "download", catalogue).stdout.endswith("All here: 4.0 MiB.\n")


def test_a_folder_of_one_s_own_is_said_for_the_other_commands(
    hub: Hub, catalogue: Path, run: Run, tmp_path: Path
) -> None:
    hub.push("someone/faces", {"real/a.png": b"x" * 100})
    place = tmp_path / "of my own"
    done = run("data", "download", catalogue, "--data-dir", place)
    assert done.stdout.endswith(
        f"All here: 100 bytes.\nFor other commands to find them there: export GASDET_DATA='{place}'\n"
    )
    at_hand = ("data", "list", catalogue, "--json")
    assert not json.loads(run(*at_hand).stdout)["datasets"][0]["at_hand"]
    assert json.loads(run(*at_hand, "--data-dir", place).stdout)["datasets"][0]["at_hand"]
    assert json.loads(run(*at_hand, GASDET_DATA=str(place)).stdout)["datasets"][0]["at_hand"]
    assert "GASDET_DATA" not in run("data", "download", catalogue, "--data-dir", place, GASDET_DATA=str(place)).stdout


def test_what_is_local_and_not_there_is_said(hub: Hub, run: Run, tmp_path: Path) -> None:
    """An entry that was meant to be of the hub is not left out without a word."""
    hub.push("someone/faces", {"real/a.png": b"x" * 100})
    path = write_catalogue(
        tmp_path / "two.yaml",
        {"path": "someone/faces"},
        {"path": "someone/faces", "source": "huggingface"},
        {"path": "gone"},
    )
    done = run("data", "download", path)
    assert done.exit_code == 0
    assert done.stderr == (
        "local, so not fetched, and not there: set0 (line 2: nothing at someone/faces), set2 (line 9: nothing at gone); "
        "state source: huggingface for a data set of the hub\n"
    )
    assert "state source" not in run("data", "download", path, "--datasets", "set2").stderr


def test_a_mode_says_what_it_takes_at_most(hub: Hub, files: dict[str, bytes], catalogue: Path, run: Run) -> None:
    hub.push("someone/faces", files)
    done = run("data", "download", catalogue, "--mode", "small", "--dry-run")
    assert ", at most 4.0 MiB." in done.stdout


def test_progress_tells_bytes_and_time_left(
    hub: Hub, files: dict[str, bytes], catalogue: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_progress, "_RATE_AFTER_S", 0.1)
    monkeypatch.setattr(cli_download, "progress", lambda: cli_progress.PlainProgress(first=0.3))
    hub.push("someone/faces", files)
    slow(hub, files, 0.01)
    done = run("data", "download", catalogue)
    assert done.exit_code == 0
    line = next(line for line in done.stderr.splitlines() if line.startswith("downloading: "))
    assert re.search(r"[KM]iB of 4\.0 MiB", line)
    assert "MiB/s" in line or "KiB/s" in line
    assert "left" in line


def test_one_data_set_that_cannot_be_had_does_not_stop_the_others(hub: Hub, tmp_path: Path, run: Run) -> None:
    hub.push("someone/faces", {"a.png": b"x" * 100})
    path = write_catalogue(
        tmp_path / "two.yaml",
        {"path": "someone/nothing", "source": "huggingface"},
        {"path": "someone/faces", "source": "huggingface"},
        {"path": "someone/else", "source": "modelscope"},
    )
    done = run("data", "download", path)
    assert done.exit_code == 1
    assert "set2: set2 (line" in done.stderr
    states = {d["name"]: d["ok"] for d in json.loads(run("data", "verify", path, "--json").stdout)["datasets"]}
    assert states == {"set0": False, "set1": True, "set2": False}
    assert "set0: there is no data set someone/nothing" in done.stderr
    assert [p.read_bytes() for p in (tmp_path / "downloads").rglob("a.png")] == [b"x" * 100]


def test_a_file_that_fails_leaves_other_data_sets_complete(server: Server, run: Run, tmp_path: Path) -> None:
    server.files["/bad.zip"] = Served(b"z" * 500, acts=[404] * 9)
    server.files["/good.png"] = Served(b"x" * 100, state_length=False)
    path = write_catalogue(
        tmp_path / "two.yaml",
        {"path": f"{server.address}/bad.zip"},
        {"path": f"{server.address}/good.png", "media_type": "real"},
    )
    shown = run("data", "download", path, "--dry-run").stdout
    assert "1 file, unknown" in shown
    assert "To fetch: 500 bytes, and 1 file of unknown size." in shown
    assert run("data", "download", path).exit_code == 1
    states = {d["name"]: d["ok"] for d in json.loads(run("data", "verify", path, "--json").stdout)["datasets"]}
    assert states == {"set0": False, "set1": True}


def test_an_interruption_is_told_and_keeps_what_arrived(
    hub: Hub, files: dict[str, bytes], environment: dict[str, str], catalogue: Path
) -> None:
    hub.push("someone/faces", files)
    slow(hub, files, 0.1)
    process = subprocess.Popen(
        command("data", "download", catalogue),
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    folder = Path(environment["GASDET_DATA"])
    while received(folder) < 200_000 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("Interrupted.\n")
    assert received(folder) >= 200_000


def test_no_token_is_shown_or_written(hub: Hub, files: dict[str, bytes], run: Run, tmp_path: Path) -> None:
    """HF_TOKEN, AWS_*, a password in an address and a presigned query, through success and failure of each source."""
    hub.token = "hf_hush1234567"
    hub.push("someone/faces", files)
    hub.server.files["/good.zip"] = Served(b"z" * 5000)
    hub.server.files["/bad.zip"] = Served(b"z" * 5000, acts=[404] * 9)
    where = hub.server.address.replace("http://", "http://user-hush:pass-hush@")
    path = write_catalogue(
        tmp_path / "all.yaml",
        {"path": "someone/faces", "source": "huggingface"},
        {"path": "someone/missing", "source": "huggingface"},
        {"path": f"{where}/good.zip?X-Amz-Signature=sign-hush&token=tok-hush", "source": "http"},
        {"path": f"{where}/bad.zip?X-Amz-Signature=sign-hush", "source": "http"},
        {"path": "s3://bucket/none", "source": "s3"},
    )
    secrets = {
        "HF_TOKEN": hub.token,
        "AWS_ACCESS_KEY_ID": "AKIA-hush",
        "AWS_SECRET_ACCESS_KEY": "aws-hush-secret",
        "AWS_SESSION_TOKEN": "session-hush",
        "AWS_ENDPOINT_URL": hub.server.address,
    }
    flags = ["--debug"]
    told = ""
    for extra in (["--timeout", "2"], ["--json"]):
        done = run(*flags, "data", "download", path, *extra, **secrets)
        assert done.exit_code == 1
        told += done.stdout + done.stderr
    done = run(*flags, "data", "verify", path, **secrets)
    told += done.stdout + done.stderr
    written = list((tmp_path / "downloads").rglob("*"))
    assert len([p for p in written if p.name in ("good.zip", "part-0.zip")]) == 2
    told += "".join(map(str, written))
    told += "".join(p.read_text("latin-1") for p in written if p.is_file() and "files" not in p.parts)
    assert "hush" not in told


def test_the_tree_is_what_was_served(fetched: Path, files: dict[str, bytes]) -> None:
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert {n: hashlib.sha256(c).hexdigest() for n, c in tree(fetched).items()} == hashes


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("download",), "CATALOGUE"),
        (("download", "nothing.yaml"), "nothing.yaml cannot be read"),
        (("clean",), "--max-size"),
        (("clean", "--max-size", "many"), "no size"),
        (("verify", "--mode", "small"), "name one"),
    ],
)
def test_wrong_uses_are_a_sentence(run: Run, arguments: tuple[str, ...], word: str) -> None:
    done = run("data", *arguments)
    assert done.exit_code in (1, 2)
    assert word in done.stderr
    assert "Traceback" not in done.stderr
