"""``gasdet data download``, ``verify`` and ``clean``, in processes of their own against servers on loopback."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from gasdet.cli.group import gasdet

SUPPORT = Path(__file__).parent.parent / "data" / "remote" / "support"
sys.path.insert(0, str(SUPPORT))

from loopback import Hub, Served, Server, serving  # noqa: E402

Run = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def hub(server: Server) -> Iterator[Hub]:
    with serving() as storage:
        yield Hub(server, storage)


@pytest.fixture
def files() -> dict[str, bytes]:
    """Four MiB in LFS files of different sizes, and small files of git."""
    rng = np.random.default_rng(7)
    large = {f"data/part-{i}.zip": rng.bytes(size << 16) for i, size in enumerate((1, 3, 5, 9, 14, 20, 2, 10))}
    return {**large, **{f"notes/{i}.txt": rng.bytes(200) for i in range(12)}}


@pytest.fixture
def environment(tmp_path: Path, hub: Hub) -> dict[str, str]:
    own = {
        "HF_ENDPOINT": hub.server.address,
        "HF_HOME": str(tmp_path / "hf"),
        "GASDET_DATA": str(tmp_path / "downloads"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GASDET_", "AWS_"))}
    return {**kept, "GASDET_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", **own}


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return write_catalogue(tmp_path / "sets.yaml", {"path": "someone/faces", "source": "huggingface"})


def write_catalogue(path: Path, *entries: dict[str, str]) -> Path:
    listed = [{"name": f"set{i}", "modality": "image", **entry} for i, entry in enumerate(entries)]
    path.write_text(yaml.safe_dump({"datasets": listed}))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gasdet.cli", *map(str, arguments)]


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; keywords are environment variables."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def go(*arguments: object, **more: str) -> Result:
        result = CliRunner().invoke(gasdet, list(map(str, arguments)), env=more, prog_name="gasdet")
        gc.collect()  # a process of its own would have let go of every folder by now
        return result

    return go


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a download folder with its content, links as what they point to, locks left out."""
    return {
        p.relative_to(root).as_posix(): os.readlink(p).encode() if p.is_symlink() else p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def slow(hub: Hub, files: dict[str, bytes], seconds_each: float) -> None:
    for name in files:
        if name.endswith(".zip"):
            hub.blob("someone/faces", name).chunk_delay_s = seconds_each


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
        process = subprocess.Popen(
            command("data", "download", catalogue),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = received(folder)
        deadline = time.monotonic() + 30
        while received(folder) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.45))
        kills_in_transfer += process.poll() is None and received(folder) > before
        process.send_signal(signal.SIGKILL)
        process.wait()
        final = [p for p in folder.rglob("*") if p.is_file() and p.parent.name in ("data", "notes")]
        for path in final:  # whatever has its final name is whole
            if not path.name.endswith((".part", ".part.json", ".pending")):
                assert path.read_bytes() == files[f"{path.parent.name}/{path.name}"]
    assert kills_in_transfer >= 3
    requests = len(hub.storage.log)
    done = run("data", "download", catalogue)
    assert done.exit_code == 0, done.stderr
    assert tree(folder) == tree(undisturbed)
    resumed = [r for r in hub.storage.log if "Range" in r.headers]
    assert resumed
    assert len(hub.storage.log) > requests  # the last run had something left to do
    assert run("data", "verify", catalogue).exit_code == 0


def received(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                continue
    return total


@pytest.mark.slow
def test_eight_processes_on_one_folder_do_not_disturb_each_other(
    hub: Hub, files: dict[str, bytes], environment: dict[str, str], catalogue: Path, tmp_path: Path, run: Run
) -> None:
    hub.push("someone/faces", files)
    assert run("data", "download", catalogue, GASDET_DATA=str(tmp_path / "alone")).exit_code == 0
    slow(hub, files, 0.02)
    before = len(hub.storage.log)
    processes = [
        subprocess.Popen(command("data", "download", catalogue), env=environment, stderr=subprocess.PIPE, text=True,
                         stdout=subprocess.DEVNULL)
        for _ in range(8)
    ]  # fmt: skip
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors
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


def test_a_mode_says_what_it_takes_at_most(hub: Hub, files: dict[str, bytes], catalogue: Path, run: Run) -> None:
    hub.push("someone/faces", files)
    done = run("data", "download", catalogue, "--mode", "small", "--dry-run")
    assert ", at most 4.0 MiB." in done.stdout


def test_progress_tells_bytes_and_time_left(hub: Hub, files: dict[str, bytes], catalogue: Path, run: Run) -> None:
    hub.push("someone/faces", files)
    slow(hub, files, 0.05)
    done = run("data", "download", catalogue)
    assert done.exit_code == 0
    line = next(line for line in done.stderr.splitlines() if line.startswith("downloading: "))
    assert "MiB of 4.0 MiB" in line
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


@pytest.fixture
def fetched(hub: Hub, files: dict[str, bytes], catalogue: Path, run: Run, tmp_path: Path) -> Path:
    """A downloaded data set's folder of files."""
    hub.push("someone/faces", files)
    done = run("data", "download", catalogue, "--json")
    assert done.exit_code == 0, done.stderr
    return Path(json.loads(done.stdout)["datasets"][0]["path"]) / "files"


def test_verify_finds_each_kind_of_damage(fetched: Path, catalogue: Path, run: Run, files: dict[str, bytes]) -> None:
    assert json.loads(run("data", "verify", catalogue, "--json").stdout)["datasets"][0]["findings"] == []
    (fetched / "data" / "part-0.zip").unlink()
    cut = fetched / "data" / "part-1.zip"
    cut.write_bytes(cut.read_bytes()[:-10])
    flipped = bytearray(files["data/part-2.zip"])
    flipped[5000] ^= 4
    (fetched / "data" / "part-2.zip").write_bytes(flipped)
    with (fetched / "data" / "part-3.zip").open("ab") as longer:
        longer.write(b"x")
    (fetched / "data" / "stray.zip").write_bytes(b"stray")
    (fetched / "data" / "half.zip.part").write_bytes(b"half")
    done = run("data", "verify", catalogue, "--json")
    assert done.exit_code == 1
    found = {f["file"]: f["trouble"] for f in json.loads(done.stdout)["datasets"][0]["findings"]}
    assert found == {
        "data/part-0.zip": "missing",
        "data/part-1.zip": "short",
        "data/part-2.zip": "corrupt",
        "data/part-3.zip": "corrupt",
        "data/stray.zip": "extra",
        "data/half.zip.part": "unfinished",
    }
    shown = run("data", "verify").stdout
    assert "short: data/part-1.zip: 196,598 of 196,608 bytes" in shown
    quick = json.loads(run("data", "verify", catalogue, "--json", "--quick").stdout)["datasets"][0]["findings"]
    assert "data/part-2.zip" not in {f["file"] for f in quick}
    # A download puts right what verify told; for what was flipped it must be told to look.
    (fetched / "data" / "stray.zip").unlink()
    (fetched / "data" / "half.zip.part").unlink()
    assert "download CATALOGUE --repair'" in shown
    assert run("data", "download", catalogue, "--repair").exit_code == 0
    assert tree(fetched) == files
    assert run("data", "verify", catalogue).exit_code == 0


def test_clean_takes_a_decode_cache_of_ones_own_and_respects_its_jobs(run: Run, tmp_path: Path) -> None:
    from gasdet.cache.store import Store

    store = Store(tmp_path / "mine", 1 << 30)
    for i in range(4):
        store.put(f"{i:032x}", b"x" * 4000)
    for path in (tmp_path / "mine" / "entries").rglob("*"):
        os.utime(path, (1e9, 1e9))
    job = store.begin_job()
    assert store.get(f"{0:032x}") is not None  # in use from now on
    clean = ("data", "clean", "--max-size", "0", "--decode-cache", tmp_path / "mine", "--json")
    dry = json.loads(run(*clean, "--dry-run").stdout)
    assert store.total_bytes() == 4 * 4096
    done = json.loads(run(*clean).stdout)
    assert dry["decoded_bytes"] == done["decoded_bytes"] == 3 * 4096
    assert store.total_bytes() == 4096
    job.close()
    assert "no decode cache" in run("data", "clean", "--max-size", "0", "--decode-cache", tmp_path).stderr


def test_verify_tells_what_was_never_fetched(fetched: Path, tmp_path: Path, run: Run) -> None:
    path = write_catalogue(
        tmp_path / "two.yaml",
        {"path": "someone/hands", "source": "huggingface"},
        {"path": "someone/faces", "source": "huggingface", "exclude_paths": "part-1"},
    )
    done = run("data", "verify", path)
    assert done.exit_code == 1
    assert done.stdout.count("not downloaded") == 4  # each in the table and below it


def test_clean_removes_what_was_used_longest_ago(hub: Hub, run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for i in range(3):
        hub.push(f"someone/set{i}", {"x.zip": rng.bytes(1 << 20)})
        path = write_catalogue(tmp_path / f"{i}.yaml", {"path": f"someone/set{i}", "source": "huggingface"})
        done = run("data", "download", path, "--json")
        paths.append(Path(json.loads(done.stdout)["datasets"][0]["path"]))
        os.utime(paths[i] / ".used", (1e9 + [200, 0, 100][i],) * 2)
    done = run("data", "clean", "--max-size", "1.5M", "--dry-run", "--json")
    assert [Path(u["path"]) for u in json.loads(done.stdout)["removed"]] == [paths[1], paths[2]]
    assert all(path.exists() for path in paths)
    with (paths[1] / ".used").open() as used:
        fcntl.flock(used, fcntl.LOCK_SH)  # what a reader does
        done = run("data", "clean", "--max-size", "1.5M")
        assert [path.exists() for path in paths] == [False, True, False]
        assert "in use, kept" in done.stderr
    done = run("data", "clean", "--max-size", "0")
    assert not any(path.exists() for path in paths)
    assert "0 bytes in 0 folders kept" in done.stdout


def test_a_folder_in_use_by_an_evaluation_is_not_removed(
    hub: Hub, environment: dict[str, str], catalogue: Path, tmp_path: Path, run: Run
) -> None:
    hub.push("someone/faces", {"real/a.png": b"x" * 5000})
    script = (
        "import sys; from gasdet.data.catalogue import read_catalogue; from gasdet.data.remote import local_copies\n"
        "print(local_copies(read_catalogue(sys.argv[1]))[0].path, flush=True); sys.stdin.readline()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(catalogue)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    run("data", "clean", "--max-size", "0")
    assert (path / "real" / "a.png").exists()
    process.communicate("\n")
    run("data", "clean", "--max-size", "0")
    assert not path.exists()


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
