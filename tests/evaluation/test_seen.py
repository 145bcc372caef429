"""Samples that a detector was trained or selected on are recognised by id, by content, by their data, and by their split."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gasdet.errors import DataError
from gasdet.evaluation.seen import Seen, seen_by, why_unfit


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The weights of a training that recorded its samples."""
    record = {
        "weights": {"sha256": "a" * 64},
        "data": {"fingerprint": "f1", "validation_fingerprint": "f2"},
        "preprocessing": {"resize": [32, 32]},
    }
    (tmp_path / "train.json").write_text(json.dumps(record))
    rows = {"sample_id": ["s1", "s2", "s3"], "content": ["c1", None, "c3"], "part": ["train", "train", "validation"]}
    pq.write_table(pa.table(rows), tmp_path / "samples.parquet")
    return tmp_path / "model.safetensors"


def test_the_record_beside_the_weights_is_read(trained: Path) -> None:
    seen = seen_by(trained, "a" * 64)
    assert seen.parts == {"s1": "train", "s2": "train", "s3": "validation"}
    assert seen.contents == {"c1": "train", "c3": "validation"}
    assert seen.fingerprints == {"f1", "f2"}
    assert seen.preprocessing == {"resize": [32, 32]}


def test_a_record_of_other_weights_says_nothing(trained: Path) -> None:
    assert seen_by(trained, "a" * 64).unknown() == ""
    assert seen_by(trained, "b" * 64).unknown().startswith("nothing here says")
    assert seen_by(trained, "b" * 64) == Seen()


def test_a_damaged_record_is_no_permission(trained: Path) -> None:
    (trained.parent / "samples.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read"):
        seen_by(trained, "a" * 64)


def test_ids_and_contents_tell(trained: Path) -> None:
    seen = seen_by(trained, "a" * 64)
    assert why_unfit(seen, ["x", "y"], ["", ""], contents=["c9", None]) is None
    assert why_unfit(seen, ["x", "s1", "s3"], [""] * 3) == (
        "2 of 3 samples are samples of this detector's training (1 in its train part and 1 in its validation part)"
    )
    why = why_unfit(seen, ["x", "y"], ["", ""], contents=["c3", None])
    assert why is not None
    assert why.startswith("1 of 2 samples are exact copies of samples")


def test_where_samples_are_not_recorded_the_data_tell(trained: Path) -> None:
    (trained.parent / "samples.parquet").unlink()
    seen = seen_by(trained, "a" * 64)
    assert why_unfit(seen, ["s1"], [""], fingerprint="f2") == "this detector was trained on these very data"
    assert why_unfit(seen, ["s1"], [""], fingerprint="f3") is None
    # a record without samples is no permission: what the data call a training split stays refused
    assert why_unfit(seen, ["s1"], ["train"], fingerprint="f3") == "1 of 1 samples belong to a training split"
    assert seen.unknown() == "nothing here says what these weights were trained on"


@pytest.mark.parametrize(("ancestry", "told"), [("known", ""), ("unknown", "trained on before their last training")])
def test_what_the_first_weights_had_seen_is_known_or_said_to_be_unknown(
    trained: Path, ancestry: str, told: str
) -> None:
    path = trained.parent / "train.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "data": {**record["data"], "ancestry": ancestry}}))
    unknown = seen_by(trained, "a" * 64).unknown()
    assert told in unknown
    assert bool(unknown) == bool(told)


def test_what_the_data_call_a_training_split() -> None:
    assert why_unfit(Seen(), ["x", "y"], ["Train", "test"]) == "1 of 2 samples belong to a training split"
    assert why_unfit(Seen(), ["x", "y"], ["val", "test"]) is None
    assert "val split" in (why_unfit(Seen(), ["x"], ["val"], demo=True) or "")
    # with a record, the record decides: the data's train split may be another detector's
    known = Seen(path=Path("train.json"), parts={"s": "train"})
    assert why_unfit(known, ["x"], ["train"]) is None
