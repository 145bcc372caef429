"""Stored vectors: what is in the file arrives, and what is wrong with it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from gasdet.errors import DataError
from gasdet.training.stored_vectors import read_stored_vectors
from gasdet.types import MediaType, Modality, Reason

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
Y = [0, 1, 0, 1, 1, 0]
IDS = [f"{i:032x}" for i in range(6)]


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table({name: value for name, value in columns.items() if value is not None}), path)
    return path


def safetensors(path: Path, tensors: dict[str, Any], **texts: Any) -> Path:
    save_file(
        {name: torch.as_tensor(value) for name, value in tensors.items()},
        path,
        metadata={name: json.dumps(value) for name, value in texts.items()},
    )
    return path


@pytest.mark.parametrize(
    "features",
    [
        pa.array(X.tolist(), pa.list_(pa.float32())),
        pa.array(X.tolist(), pa.large_list(pa.float64())),
        pa.FixedSizeListArray.from_arrays(X.ravel(), 4),
    ],
    ids=["list", "large list of double", "fixed size list"],
)
def test_parquet(features: pa.Array, tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "vectors.parquet",
        features=features,
        label=["real", "fake", "0", "semisynthetic", "1", "genuine"],
        sample_id=IDS,
        dataset=["a", "a", "a", "b", "b", "b"],
        generator=["", "gan", "", "gan", "diffusion", None],
        group=["g0", "g0", "g1", "g1", "g2", "g2"],
        split=["train", "validation", "train", "train", "train", "test"],
        weight=[1.0, 2.0, 1.0, 0.5, 1.0, 1.0],
        released=["2024-01", "", "", "", "", ""],
    )
    found = read_stored_vectors(path, Modality.VIDEO)
    np.testing.assert_array_equal(found.features.features, X)
    np.testing.assert_array_equal(found.features.labels, Y)
    samples = found.dataset.samples
    assert samples == found.features.samples
    assert [s.sample_id for s in samples] == IDS
    assert [s.dataset for s in samples] == ["a", "a", "a", "b", "b", "b"]
    assert [s.generator for s in samples] == ["", "gan", "", "gan", "diffusion", ""]
    assert [s.group for s in samples] == ["g0", "g0", "g1", "g1", "g2", "g2"]
    assert [s.split for s in samples] == ["train", "val", "train", "train", "train", "test"]
    assert [s.weight for s in samples] == [1.0, 2.0, 1.0, 0.5, 1.0, 1.0]
    assert samples[0].released == "2024-01"
    assert samples[3].media_type is MediaType.SEMISYNTHETIC
    assert {s.modality for s in samples} == {Modality.VIDEO}
    assert (found.features.computed, found.features.failures) == (0, ())


def test_rows_without_names_get_ids_and_groups_of_their_own(tmp_path: Path) -> None:
    path = parquet(tmp_path / "v.parquet", features=X.tolist(), label=Y)
    samples = read_stored_vectors(path, Modality.IMAGE).dataset.samples
    assert len({s.sample_id for s in samples}) == 6
    assert [s.group for s in samples] == [s.sample_id for s in samples]
    assert [s.member for s in samples][:2] == ["v.parquet/0", "v.parquet/1"]
    assert {s.dataset for s in samples} == {"v"}
    named = parquet(tmp_path / "named.parquet", features=X.tolist(), label=Y, sample_id=list("abcdef"))
    assert [s.member for s in read_stored_vectors(named, Modality.IMAGE).dataset.samples] == list("abcdef")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_safetensors(dtype: torch.dtype, tmp_path: Path) -> None:
    x = torch.from_numpy(X).to(dtype)
    path = safetensors(
        tmp_path / "v.safetensors",
        {"features": x, "label": Y, "group": [0, 0, 1, 1, 2, 2]},
        generator=["", "gan", "", "gan", "gan", ""],
        sample_id=IDS,
    )
    found = read_stored_vectors(path, Modality.VIDEO)
    np.testing.assert_array_equal(found.features.features, x.float().numpy())
    np.testing.assert_array_equal(found.features.labels, Y)
    assert [s.group for s in found.dataset.samples] == list("001122")
    assert [s.generator for s in found.dataset.samples] == ["", "gan", "", "gan", "gan", ""]
    assert [s.sample_id for s in found.dataset.samples] == IDS


def test_labels_of_safetensors_may_be_words(tmp_path: Path) -> None:
    words = ["real", "fake", "genuine", "semisynthetic", "1", "0"]
    path = safetensors(tmp_path / "v.safetensors", {"features": X}, label=words)
    np.testing.assert_array_equal(read_stored_vectors(path, Modality.IMAGE).features.labels, Y)


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    one = parquet(tmp_path / "one.parquet", features=X.tolist(), label=Y)
    other = parquet(tmp_path / "other.parquet", features=(X + 1).tolist(), label=Y)
    prints = [read_stored_vectors(path, Modality.IMAGE).dataset.fingerprint for path in (one, one, other)]
    assert prints[0] == prints[1] != prints[2]


def test_rows_that_are_not_finite_are_failures(tmp_path: Path) -> None:
    x = X.copy()
    x[1, 2], x[4, 0] = np.nan, np.inf
    path = parquet(tmp_path / "v.parquet", features=x.tolist(), label=Y, sample_id=IDS)
    found = read_stored_vectors(path, Modality.IMAGE)
    np.testing.assert_array_equal(found.features.features, X[[0, 2, 3, 5]])
    assert [s.sample_id for s in found.dataset.samples] == [IDS[i] for i in (0, 2, 3, 5)]
    assert [(f.sample.sample_id, f.reason) for f in found.features.failures] == [
        (IDS[1], Reason.BAD_OUTPUT),
        (IDS[4], Reason.BAD_OUTPUT),
    ]


def test_equal_vectors_have_equal_digests(tmp_path: Path) -> None:
    x = X.copy()
    x[5] = x[0]
    found = read_stored_vectors(parquet(tmp_path / "v.parquet", features=x.tolist(), label=Y), Modality.IMAGE).features
    assert found.digests[5] == found.digests[0]
    assert len(set(found.digests)) == 5
    np.testing.assert_array_equal(found.part([found.samples[3], found.samples[1]]).features, x[[3, 1]])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": Y}, "no column 'features'; it has label"),
        ({"features": X.tolist()}, "no column or tensor 'label'"),
        ({"features": X[:, 0].tolist(), "label": Y}, "not lists of numbers"),
        ({"features": [*X[:5].tolist(), [1.0]], "label": Y}, "same length"),
        ({"features": [*X[:5].tolist(), None], "label": Y}, "same length, without gaps"),
        ({"features": [*X[:5].tolist(), [1.0, None, 2.0, 3.0]], "label": Y}, "same length, without gaps"),
        ({"features": [["a"]] * 6, "label": Y}, "cannot be read as Parquet"),
        ({"features": X.tolist(), "label": [0, 1, 2, 0, 1, 0]}, "row 2 has the label 2; it must be one of real"),
        ({"features": X.tolist(), "label": Y, "weight": [1.0, -1.0, 1, 1, 1, 1]}, "a weight is -1.0"),
        ({"features": X.tolist(), "label": Y, "sample_id": ["a"] * 6}, "more than once"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(columns: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "v.parquet", **columns)
    with pytest.raises(DataError, match=said) as caught:
        read_stored_vectors(path, Modality.IMAGE)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "texts", "said"),
    [
        ({"label": Y}, {}, "it has none"),
        ({"features": X[0], "label": Y}, {}, r"it has \[4\] of torch.float32"),
        ({"features": X, "label": [0, 1]}, {}, "label has 2 values for 6 vectors"),
        ({"features": X, "label": np.zeros(6)}, {}, "must be integers"),
        ({"features": X, "label": Y}, {"group": ["a"]}, "group has 1 values for 6 vectors"),
        ({"features": X, "label": Y}, {"group": "a"}, "must be a JSON list"),
    ],
)
def test_what_is_wrong_with_tensors_is_said(
    tensors: dict[str, Any], texts: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        read_stored_vectors(safetensors(tmp_path / "v.safetensors", tensors, **texts), Modality.IMAGE)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    pickle = tmp_path / "v.pt"
    torch.save({"features": torch.zeros(2, 2)}, pickle)
    with pytest.raises(DataError, match="pickle"):
        read_stored_vectors(pickle, Modality.IMAGE)
    with pytest.raises(DataError, match="No such file"):
        read_stored_vectors(tmp_path / "absent.parquet", Modality.IMAGE)
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_stored_vectors(tmp_path / "cut.parquet", Modality.IMAGE)
