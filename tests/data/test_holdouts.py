"""Holdouts: keyed names, the same for one key and unlinkable for another, and errors that tell lines and nothing else."""

from __future__ import annotations

import functools
import hashlib
import hmac
import http.server
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gasdet.data import load_data
from gasdet.data.holdouts import HoldoutKey, concealed, joined, load_holdouts, read_key
from gasdet.errors import ConfigError, DataError, GasdetError, UsageError
from gasdet.types import Locator, MediaType, Modality, Provenance, Reason, Sample

sys.path.insert(0, str(Path(__file__).parent.parent))
import holdout_data

KEY, OTHER = HoldoutKey(holdout_data.KEY.encode()), HoldoutKey(holdout_data.OTHER_KEY.encode())


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> holdout_data.Planted:
    return holdout_data.plant(tmp_path_factory.mktemp("holdouts"))


def sample(**changes: Any) -> Sample:
    values: dict[str, Any] = {
        "sample_id": "a" * 32,
        "dataset": "faces",
        "member": "real/anna.png",
        "locator": Locator("file", "/data/real/anna.png", size=4711),
        "modality": Modality.IMAGE,
        "media_type": MediaType.REAL,
        "generator": "camera",
        "group": "anna",
        "split": "test",
        "pair": "p7",
        "released": "2024-05",
        "annotations": {"who": "anna"},
    }
    return Sample(**{**values, **changes})


def test_names_are_hmac_sha256_of_kind_and_name() -> None:
    """Against Python's own hmac, called with what the documentation says."""

    def expected(text: bytes) -> str:
        return hmac.new(holdout_data.KEY.encode(), text, hashlib.sha256).hexdigest()

    own = concealed(sample(), KEY)
    assert own.dataset == f"image-holdout-{expected(b'dataset' + bytes(1) + b'faces')[:12]}"
    assert own.sample_id == expected(b"sample" + bytes(1) + b"a" * 32)[:32]
    assert own.generator == f"generator-{expected(b'generator' + bytes(1) + b'camera')[:12]}"
    assert own.group == expected(b"group" + bytes(1) + b"faces:anna")[:32]
    assert own.pair == expected(b"pair" + bytes(1) + b"faces:p7")[:32]


def test_what_is_kept_and_what_is_dropped() -> None:
    own = concealed(sample(weight=2.0, skip=Reason.LABEL_UNREADABLE, skip_message="anna.png: no label"), KEY)
    assert (own.member, own.released, dict(own.annotations)) == ("", "", {})
    assert (own.modality, own.media_type, own.weight, own.split) == (Modality.IMAGE, MediaType.REAL, 2.0, "test")
    assert own.provenance is Provenance.HOLDOUT
    assert own.skip is Reason.LABEL_UNREADABLE
    assert "anna" not in own.skip_message
    assert concealed(sample(split="the anna part"), KEY).split == ""
    assert concealed(sample(generator="", pair=""), KEY).generator == ""
    assert concealed(sample(pair=""), KEY).pair == ""
    texts = [str(getattr(own, f.name)) for f in fields(own) if f.name != "locator"]
    assert not [text for text in texts if "anna" in text or "faces" in text or "camera" in text or "a" * 32 in text]


def test_samples_of_one_group_stay_together_and_others_apart() -> None:
    one, same, other = (
        concealed(sample(sample_id=i * 32, group=g), KEY) for i, g in (("a", "x"), ("b", "x"), ("c", "y"))
    )
    assert one.group == same.group != other.group
    alone = concealed(sample(group="a" * 32), KEY)
    assert alone.group == alone.sample_id
    # Put together with other sources, a data set's groups have its name before them; they are called alike all the same.
    assert concealed(sample(group="faces:x"), KEY).group == one.group
    assert concealed(sample(dataset="others", group="x"), KEY).group != one.group
    assert concealed(sample(pair="faces:p7"), KEY).pair == concealed(sample(pair="p7"), KEY).pair


def test_a_sample_of_unknown_modality_does_not_split_its_data_set(planted: holdout_data.Planted) -> None:
    found = load_holdouts(planted.catalogue, KEY)
    assert len(found.names) == 4
    assert sum(s.modality is None for s in found.samples) == 1


def test_the_same_key_gives_the_same_names_and_another_unlinkable_ones(planted: holdout_data.Planted) -> None:
    first, again = load_holdouts(planted.catalogue, KEY), load_holdouts(planted.catalogue, HoldoutKey(KEY.secret))
    assert (first.samples, first.fingerprint) == (again.samples, again.fingerprint)
    other = load_holdouts(planted.catalogue, OTHER)
    assert other.fingerprint != first.fingerprint
    public = load_data(planted.catalogue)
    assert len(public.samples) == len(first.samples) == len(other.samples)

    def names(samples: Any) -> set[str]:
        return {getattr(s, name) for s in samples for name in ("sample_id", "group", "pair", "generator")} - {""} | {
            s.dataset.rpartition("-")[2] for s in samples
        }

    assert not names(first.samples) & names(other.samples)
    assert not names(first.samples) & names(public.samples)
    assert public.fingerprint not in (first.fingerprint, other.fingerprint)
    # The structure is the same: as many groups, data sets and labels.
    labels = [[s.media_type for s in some.samples] for some in (first, other, public)]
    assert len({tuple(sorted(map(str, some))) for some in labels}) == 1
    assert len({s.group for s in first.samples}) == len({s.group for s in public.samples})


def test_the_order_tells_nothing_of_the_catalogues(planted: holdout_data.Planted) -> None:
    """Rows in the catalogue's order would be linked by their number, from key to key and to the listing."""
    public = [s.sample_id for s in load_data(planted.catalogue).samples]
    orders = []
    for key in (KEY, OTHER):
        found = load_holdouts(planted.catalogue, key)
        assert [s.sample_id for s in found.samples] == sorted(s.sample_id for s in found.samples)
        orders.append([found.originals[s.sample_id] for s in found.samples])
        # Each is still what it was: label and place go with the id.
        labels = {s.sample_id: (s.media_type, s.locator) for s in load_data(planted.catalogue).samples}
        assert all((s.media_type, s.locator) == labels[found.originals[s.sample_id]] for s in found.samples)
    for one, two in ((orders[0], orders[1]), (orders[0], public), (orders[1], public)):
        assert sorted(one) == sorted(two)
        same = sum(a == b for a, b in zip(one, two, strict=True))
        assert same < len(public) / 4, "about one in a random order"


def test_moved_data_have_the_same_names(planted: holdout_data.Planted, tmp_path: Path) -> None:
    moved = holdout_data.plant(tmp_path / "elsewhere")
    here, there = load_holdouts(planted.catalogue, KEY), load_holdouts(moved.catalogue, KEY)
    assert [replace(s, locator=t.locator) for s, t in zip(here.samples, there.samples, strict=True)] == list(
        there.samples
    )
    assert here.fingerprint == there.fingerprint


def test_the_key_is_in_no_representation() -> None:
    assert holdout_data.KEY not in f"{KEY!r} {KEY}"


@pytest.mark.parametrize("key", ["", "short", "0123456789abcdef0123456789abcde", "ab" * 40])
def test_a_key_that_can_be_guessed_is_refused(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"{key}\n")
    with pytest.raises(UsageError, match=r"secrets\.token_hex") as refusal:
        read_key(tmp_path / "key")
    assert not key or key not in str(refusal.value)
    monkeypatch.setenv("GASDET_HOLDOUT_KEY", key)
    with pytest.raises(UsageError, match=r"secrets\.token_hex"):
        read_key()


def test_a_key_from_a_file_and_from_the_environment_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(f"{holdout_data.KEY}\n")
    monkeypatch.setenv("GASDET_HOLDOUT_KEY", holdout_data.KEY)
    assert read_key(tmp_path / "key") == read_key() == KEY
    with pytest.raises(UsageError, match="cannot be read"):
        read_key(tmp_path / "absent")
    monkeypatch.delenv("GASDET_HOLDOUT_KEY")
    with pytest.raises(UsageError, match="GASDET_HOLDOUT_KEY"):
        read_key()


def everything_of(error: BaseException) -> str:
    """What --debug would print, and what hangs on the exception besides."""
    seen: list[str] = []
    one: BaseException | None = error
    while one is not None:
        seen.append("".join(traceback.format_exception(one)) + repr(one))
        one = one.__context__ or one.__cause__
    return "\n".join(seen)


S = holdout_data.SECRET
BROKEN = {
    "unknown key": (f"datasets:\n  - name: {S}\n    path: .\n    {S}_key: 1\n", ConfigError, "line 4"),
    "unusable values": (
        f"datasets:\n  - name: {S}\n    path: .\n    modality: {S}\n    media_type: {S}\n",
        ConfigError,
        "lines 4, 5",
    ),
    "no YAML": (f"datasets:\n  - name: [{S}\n  path: {S}: {S}\n", ConfigError, "line "),
    "another top key": (f"{S}:\n  - name: x\n", ConfigError, "line 1"),
    "no mapping": (f"- {S}\n", ConfigError, ""),
    "missing folder": (f"datasets:\n  - name: {S}\n    path: {S}-nowhere\n    media_type: real\n", DataError, "line 2"),
    "no labels": (f"datasets:\n  - {{name: {S}, path: {S}-room/{S}-archive.zip}}\n", DataError, "line 2"),
    "a damaged archive": (
        f"datasets:\n\n  - name: {S}\n    path: {S}-bad.zip\n    media_type: real\n",
        DataError,
        "line 3",
    ),
    "a missing column": (
        f"datasets:\n  - name: ok\n    path: {S}-room/{S}-faces\n"
        f"  - name: '{S}[*]'\n    path: {S}-room/{S}-table.parquet\n    data_columns: [{S}]\n    media_type: real\n",
        DataError,
        "line 4",
    ),
    "a table's bad encoding": (f"datasets:\n  - name: {S}\n    path: {S}-bad.csv\n", DataError, "line 2"),
    "the same twice": (
        f"datasets:\n  - {{name: {S}, path: {S}-room/{S}-faces}}\n  - {{name: {S}, path: {S}-room/{S}-faces}}\n",
        DataError,
        "lines 2, 3",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_told_by_line_and_not_by_name(case: str, planted: holdout_data.Planted) -> None:
    text, kind, lines = BROKEN[case]
    (planted.folder.parent / f"{S}-bad.zip").write_bytes(b"PK\x03\x04" + S.encode() * 20)
    (planted.folder.parent / f"{S}-bad.csv").write_bytes(b"path,label\n\xff\xfe" + S.encode() + b",real\n")
    catalogue = planted.folder.parent / f"{S}-broken.yaml"
    catalogue.write_text(text)
    with pytest.raises(GasdetError):
        load_data(catalogue)  # the data are broken indeed
    with pytest.raises(kind) as refusal:
        load_holdouts(catalogue, KEY)
    assert lines in str(refusal.value)
    assert "gasdet data list" in str(refusal.value)
    assert S not in everything_of(refusal.value)
    assert str(planted.folder.parent) not in everything_of(refusal.value)
    assert refusal.value.__context__ is None
    assert refusal.value.exit_code == (2 if kind is ConfigError else 1)


def test_the_data_are_read_once_to_say_which_entry_fails(
    planted: holdout_data.Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = "".join(f"  - {{name: {S}-{n}, path: {S}-room/{S}-faces}}\n" for n in range(40))
    catalogue = planted.folder.parent / f"{S}-many.yaml"
    catalogue.write_text(f"datasets:\n{good}  - {{name: {S}, path: {S}-nowhere, media_type: real}}\n")
    calls = []
    monkeypatch.setattr("gasdet.data.holdouts.load_data", lambda *a, **k: calls.append(a) or load_data(*a, **k))
    with pytest.raises(DataError, match=r"nothing at the paths.* at line 42;") as refusal:
        load_holdouts(catalogue, KEY)
    assert len(calls) == 1
    assert S not in everything_of(refusal.value)
    catalogue.write_text(f"datasets:\n{good}")
    with pytest.raises(DataError, match="nothing of what the options ask for") as none_left:
        load_holdouts(catalogue, KEY, modality="audio")
    assert S not in everything_of(none_left.value)


def test_an_absent_catalogue(tmp_path: Path) -> None:
    for name in (f"{S}.yaml", f"{S}.csv"):
        with pytest.raises(DataError, match="no holdout catalogue") as refusal:
            load_holdouts(tmp_path / name, KEY)
        assert S not in everything_of(refusal.value)


@pytest.mark.parametrize("interrupted", [True, False])
def test_nothing_hangs_on_what_is_raised_in_the_middle(
    interrupted: bool, planted: holdout_data.Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        try:
            (planted.folder / "absent").read_bytes()
        except OSError as error:
            if interrupted:
                raise KeyboardInterrupt from error
            raise RuntimeError(f"about {S}") from error

    monkeypatch.setattr("gasdet.data.holdouts.load_data", fails)
    with pytest.raises(KeyboardInterrupt if interrupted else DataError) as told:
        load_holdouts(planted.catalogue, KEY)
    assert S not in everything_of(told.value)
    assert interrupted or "RuntimeError" in str(told.value)


def test_no_warning_and_no_log_line(
    planted: holdout_data.Planted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def talks(*arguments: Any, **options: Any) -> Any:
        warnings.warn(f"about {S}", stacklevel=1)
        logging.getLogger("some.library").critical("about %s", S)
        return load_data(*arguments, **options)

    monkeypatch.setattr("gasdet.data.holdouts.load_data", talks)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        load_holdouts(planted.catalogue, KEY)
        logging.getLogger("some.library").critical("afterwards")
    assert not warned
    assert caplog.messages == ["afterwards"]  # and logging works again


@pytest.fixture
def server(planted: holdout_data.Planted) -> Iterator[str]:
    """The planted files over HTTP; what it would log is thrown away."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(planted.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_fetched_holdouts(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("GASDET_DATA", str(tmp_path / "data"))
    catalogue = tmp_path / f"{S}.yaml"

    def written(*names: str) -> Path:
        entries = [
            f"  - {{name: {S}-{n}, path: '{server}/{name}?token={S}', source: http, media_type: real, modality: image}}\n"
            for n, name in enumerate(names)
        ]
        catalogue.write_text("datasets:\n" + "".join(entries))
        return catalogue

    archive, absent = f"{S}-archive.zip", f"{S}-absent.zip"
    with pytest.raises(DataError, match="line 2") as offline:
        load_holdouts(written(archive), KEY, offline=True)
    found = load_holdouts(written(archive), KEY)
    assert len(found.samples) == 4
    both = joined(load_data(written(archive)), found)
    assert [source["name"] for source in both.sources] == [f"{S}-0"]  # of the public data only
    assert joined(None, found).sources == ()
    with pytest.raises(DataError, match="at line 3;") as refused:
        load_holdouts(written(archive, absent), KEY)
    assert S not in everything_of(offline.value) + everything_of(refused.value)
    assert server not in everything_of(refused.value)
    with pytest.raises(DataError, match=r"cannot be fetched.* at line 3;") as one:  # and not its innocent neighbours
        load_holdouts(written(f"{S}-table.parquet", absent, archive), KEY)
    assert S not in everything_of(one.value)
    assert S not in "".join(capfd.readouterr()) + caplog.text


def test_joined_with_public_data(planted: holdout_data.Planted, tmp_path: Path) -> None:
    public = load_data(f"real:{planted.folder / f'{S}-faces' / 'real'}")
    holdouts = load_holdouts(planted.catalogue, KEY)
    both, alone = joined(public, holdouts), joined(None, holdouts)
    assert both.samples == (*public.samples, *holdouts.samples)
    assert both.description.endswith("and the holdouts")
    assert alone.description == "the holdouts"
    assert S not in f"{alone.notes}{alone.fingerprint}{alone.sources}"
    assert "44 samples in 4 data sets" in alone.notes[0]
    assert "1 line about files that were left out" in alone.notes[1]
    assert len({both.fingerprint, alone.fingerprint, public.fingerprint, holdouts.fingerprint}) == 4
    few, more = joined(public, holdouts, limit=10), joined(public, holdouts, limit=25)
    assert (len(few.samples), len(more.samples)) == (10, 25)
    assert set(few.samples) <= set(more.samples)
    assert {s.provenance for s in few.samples} == set(Provenance)
    with pytest.raises(UsageError, match="--limit"):
        joined(public, holdouts, limit=0)


def test_choosing_by_keyed_names(planted: holdout_data.Planted) -> None:
    found = load_holdouts(planted.catalogue, KEY)
    assert found.matching(()) is found
    name = found.names[1]
    assert {s.dataset for s in found.matching([name.upper()]).samples} == {name}
    assert len(found.matching(["IMAGE-holdout-*"]).samples) == len(found.samples)
    with pytest.raises(DataError, match=name):
        found.matching([f"{S}-set-one"])


def test_mode_and_sampling_choose_the_samples_that_they_would_choose_of_public_data(
    planted: holdout_data.Planted,
) -> None:
    chosen = {s.sample_id for s in load_data(planted.catalogue, mode="debug").samples}
    holdouts = load_holdouts(planted.catalogue, KEY, mode="debug")
    assert {holdouts.originals[s.sample_id] for s in holdouts.samples} == chosen
    assert len(chosen) < len(load_data(planted.catalogue).samples)
