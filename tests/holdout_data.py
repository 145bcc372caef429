"""A private catalogue for the tests: every name, number and text in it is a secret that must never be seen elsewhere."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SECRET = "vaultquark"
KEY = "0123456789abcdef0123456789abcdef-key-of-the-tests"
OTHER_KEY = "fedcba9876543210fedcba9876543210-key-of-the-tests"
WIDTH, HEIGHT = 173, 91
"""Of every image: no other number of a run is likely to be one of them."""


@dataclass(frozen=True)
class Planted:
    """What was written.

    Attributes:
        catalogue: The YAML file.
        folder: It lies here, and all its data.
        usable: How many samples can be decoded.
        failing: How many cannot. Two more are skipped before that.
        traces: Texts that would identify: the secret word, names, hashes and sizes of the contents.
    """

    catalogue: Path
    folder: Path
    usable: int
    failing: int
    traces: frozenset[str]


def image(seed: int, *, smooth: bool) -> bytes:
    """A PNG of noise, or of noise with its edges smoothed away."""
    pixels = np.random.default_rng([77, seed]).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if smooth:
        pixels = np.full_like(pixels, 120) + pixels // 64
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def plant(root: Path, *, each: int = 12) -> Planted:
    """Four data sets (folder, zip, CSV manifest, Parquet) with failing files of every kind among them."""
    folder = root / f"{SECRET}-room"
    folder.mkdir(parents=True)
    contents: list[bytes] = []
    failing = _folder(folder / f"{SECRET}-faces", each, contents)
    failing += _zip(folder / f"{SECRET}-archive.zip", contents)
    failing += _manifest(folder / f"{SECRET}-list", contents)
    failing += _parquet(folder / f"{SECRET}-table.parquet", contents)
    catalogue = folder / f"{SECRET}-catalogue.yaml"
    catalogue.write_text(
        f"""# {SECRET}: nobody may see this comment
datasets:
  - name: {SECRET}-set-one
    path: {SECRET}-faces
    modality: image
    licence: {SECRET}-licence
    notes: {SECRET} notes
  - name: {SECRET}-set-two
    path: {SECRET}-archive.zip
    modality: image
    media_type: synthetic
    generator: {SECRET}-generator
    released: 2023-07
  - name: {SECRET}-set-three
    path: {SECRET}-list/{SECRET}.csv
    modality: image
  - name: {SECRET}-set-four
    path: {SECRET}-table.parquet
    modality: image
    media_type: synthetic
    data_columns: [{SECRET}_column]
""",
        encoding="utf-8",
    )
    traces = {SECRET, "nobody may see"}
    for content in contents:
        traces |= {getattr(hashlib, kind)(content).hexdigest()[:16] for kind in ("md5", "sha1", "sha256")}
        traces.add(f"{len(content)}")
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 999:
            traces.add(f"{path.stat().st_size}")
            traces.add(hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    usable = 2 * each + 2 + 3 + 2
    return Planted(catalogue, folder, usable, failing, frozenset(t for t in traces if len(t) > 3))


def _folder(place: Path, each: int, contents: list[bytes]) -> int:
    for label, smooth in (("real", False), ("synthetic", True)):
        below = place / label / f"{SECRET}-camera"
        below.mkdir(parents=True)
        for seed in range(each):
            contents.append(image(seed + 100 * smooth, smooth=smooth))
            (below / f"{SECRET}-{seed}.png").write_bytes(contents[-1])
    whole = image(50, smooth=True)
    (below / f"{SECRET}-cut.png").write_bytes(whole[: len(whole) // 2])
    (below / f"{SECRET}-empty.png").write_bytes(b"")
    (below / f"{SECRET}-words.png").write_text(f"{SECRET} words\n" * 99)
    (below / f"{SECRET}-broken-link.png").symlink_to(f"{SECRET}-nowhere.png")
    os.mkfifo(below / f"{SECRET}-pipe.png")
    (below / f"{SECRET}-what.is.this").write_bytes(bytes(range(256)))  # skipped: of no known modality
    return 5


def _always(name: str) -> zipfile.ZipInfo:
    """A member of a fixed date, so that what is planted twice is the same."""
    return zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))


def _zip(path: Path, contents: list[bytes]) -> int:
    with zipfile.ZipFile(path, "w") as archive:
        for seed in range(2):
            contents.append(image(300 + seed, smooth=True))
            archive.writestr(_always(f"{SECRET}/inside-{SECRET}-{seed}.png"), contents[-1])
        archive.writestr(_always(f"{SECRET}/cut-{SECRET}.png"), contents[-1][:400])
        archive.writestr(_always(f"{SECRET}/damaged-{SECRET}.png"), contents[-1] + b"!")
    # The stored content no longer has its checksum.
    path.write_bytes(path.read_bytes().replace(contents[-1] + b"!", contents[-1] + b"?"))
    return 2


def _manifest(folder: Path, contents: list[bytes]) -> int:
    folder.mkdir()
    rows = []
    for seed in range(3):
        contents.append(image(400 + seed, smooth=seed != 0))
        (folder / f"{SECRET}-m{seed}.png").write_bytes(contents[-1])
        rows.append((f"{SECRET}-m{seed}.png", "synthetic" if seed else "real"))
    rows += [
        (f"{SECRET}-gone.png", "real"),
        (f"{SECRET}-m{9}/../../x.png", "synthetic"),
        (f"{SECRET}-odd.png", "maybe"),
    ]
    (folder / f"{SECRET}-odd.png").write_bytes(contents[-1])
    with open(folder / f"{SECRET}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "generator", "split", "group", "pair", "released"))
        for path, label in rows:
            cells = (f"{SECRET}-maker", f"{SECRET}-part", f"{SECRET}-speaker", f"{SECRET}-pair", "2022-03-04")
            writer.writerow((path, label, *cells))
    return 2


def _parquet(path: Path, contents: list[bytes]) -> int:
    good = [image(500 + seed, smooth=True) for seed in range(2)]
    contents += good
    table = pa.table({f"{SECRET}_column": [*good, b"\x89PNG\r\n\x1a\n" + SECRET.encode() * 9, b""]})
    pq.write_table(table, path)
    return 2


def traces_in(planted: Planted, texts: dict[str, str]) -> list[str]:
    """Where a trace of the holdouts is: "stderr: vaultquark". Numbers count only where they stand alone."""
    import re

    found = []
    for name, text in texts.items():
        lowered = f"{name}\n{text}".casefold()
        for trace in planted.traces:
            pattern = rf"(?<![\w.]){trace}(?![\w.])" if trace.isdigit() else re.escape(trace)
            if re.search(pattern, lowered):
                found.append(f"{name}: {trace}")
    return found


def artefacts(folder: Path) -> dict[str, str]:
    """Every file below a folder as text, by its path: Parquet files with all their cells and metadata, others as they are."""
    texts = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        texts[f"{name} (bytes)"] = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            cells = file.read().to_pydict()
            texts[f"{name} (cells)"] = f"{cells}\n{file.schema_arrow.metadata}\n{file.metadata}"
    return texts
