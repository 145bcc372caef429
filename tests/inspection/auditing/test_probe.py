"""What an audit's decode processes answer."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gasdet.errors import MediaError
from gasdet.evaluation.pipeline import DecodePool
from gasdet.inspection.auditing.probe import CONTENT, PRINT, PROBE, probe_sample
from gasdet.media import MediaLimits
from gasdet.media.properties import properties_of
from gasdet.types import Locator, MediaType, Modality, Preprocessing, Reason, Sample

from ...planted import planted

IMAGE = Preprocessing(Modality.IMAGE)


def jpeg(quality: int = 80) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((80, 60), 40).convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def test_files_members_and_rows_have_the_properties_of_their_content(tmp_path: Path) -> None:
    data = jpeg()
    (tmp_path / "a.jpeg").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("inner/c.jpg", data)
    pq.write_table(pa.table({"image": [data]}), tmp_path / "d.parquet")
    places = {
        "jpeg": Locator("file", str(tmp_path / "a.jpeg")),
        "jpg": Locator("zip", str(tmp_path / "b.zip"), member="inner/c.jpg"),
        None: Locator("parquet", str(tmp_path / "d.parquet"), row=0, column="image"),
    }
    for extension, locator in places.items():
        decoded = probe_sample(locator, IMAGE, MediaLimits())
        assert decoded.array.size == 0
        content = hashlib.sha256(data).digest()[:16]
        found = dict(decoded.facts)
        assert len(found.pop(PRINT)) == 32
        assert found == {**properties_of(data, Modality.IMAGE), "extension": extension, CONTENT: content}


@pytest.mark.parametrize(("shortcut", "name"), [("size", "width"), ("quality", "jpeg_quality"), ("exif", "exif")])
def test_equalised_samples_have_the_properties_of_what_is_left(tmp_path: Path, shortcut: str, name: str) -> None:
    planted(tmp_path, shortcut, 1, seed=0)
    locators = [Locator("file", str(tmp_path / kind / "00000.jpg")) for kind in ("real", "synthetic")]
    equalised = Preprocessing.from_mapping(Modality.IMAGE, {"equalise": "standard"})
    before, after = (
        [probe_sample(locator, keys, MediaLimits()).facts for locator in locators] for keys in (IMAGE, equalised)
    )
    assert before[0][name] != before[1][name]
    assert after[0][name] == after[1][name]
    assert {facts["extension"] for facts in after} == {None}


def test_a_sample_that_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as raised:
        probe_sample(Locator("file", str(tmp_path / "absent")), IMAGE, MediaLimits())
    assert raised.value.reason is Reason.FILE_MISSING


def test_decode_processes_can_be_told_to_probe(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for path, quality in zip(paths, (60, 70, 80), strict=True):
        path.write_bytes(jpeg(quality))
    paths[1].write_bytes(b"words")
    samples = [
        Sample(f"{i:032x}", "d", path.name, Locator("file", str(path)), Modality.IMAGE, MediaType.REAL)
        for i, path in enumerate(paths)
    ]
    with DecodePool(workers=1, timeout=30, function=PROBE) as pool:
        results = list(pool.run(samples, IMAGE))
    assert [result.reason for result in results] == [None, Reason.UNKNOWN_FORMAT, None]
    found = [result.decoded.facts["jpeg_quality"] for result in results if result.decoded is not None]
    assert found == [60, 80]
