"""How much faster a second run is with a decode cache: 12-megapixel JPEGs, 1080p clips, and recordings of 30 s.

    python benchmarks/decode_cache.py [--kind images|clips|recordings]... [--workers N] [--repeat N] [--scale S]

Files are made first (photograph-like noise, so that they have a camera's sizes). Then, ``--repeat`` times: a run that fills an
empty cache, a run that takes everything from it, and a run without a cache, one after the other over the same files through
one kind of decode processes. Each run's decode processes are started, and have their decoders loaded, before the clock
starts. What is shown is samples per second of each (median), and the ratios within a repeat (median, least): read those, the
times belong to the machine. The arrays of all three runs are compared byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from gasdet.data import load_data
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.evaluation.pipeline import DecodePool
from gasdet.types import Modality, Preprocessing, Sample

COUNTS = {"images": 40, "clips": 16, "recordings": 60}
MODALITIES = {"images": Modality.IMAGE, "clips": Modality.VIDEO, "recordings": Modality.AUDIO}


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """Shapes of all sizes with a little grain, uint8 ``[height, width, 3]``: what a JPEG of a photograph has to code."""
    import cv2

    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((4, 60), (16, 40), (64, 25), (256, 12), (1024, 5)):
        small = rng.standard_normal((cells * 3 // 4, cells, 3)).astype(np.float32)
        picture += weight * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    picture += 3 * rng.standard_normal((height, width, 1), dtype=np.float32)
    return np.clip(picture + 128, 0, 255).astype(np.uint8)


def make_images(folder: Path, count: int) -> None:
    from PIL import Image

    for number in range(count):
        Image.fromarray(scene(3000, 4000, number)).save(folder / f"{number:03}.jpg", quality=92)


def make_clips(folder: Path, count: int) -> None:
    """5 s at 30 frames a second, H.264 with a key frame a second, about 8 Mbit/s."""
    import av

    for number in range(count):
        wide = scene(1200, 2040, number)
        with av.open(str(folder / f"{number:03}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "b": "8M", "g": "30"})
            stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
            for frame in range(150):
                x, y = frame * 120 // 150, frame * 120 // 150
                picture = np.ascontiguousarray(wide[y : y + 1080, x : x + 1920])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))


def make_recordings(folder: Path, count: int) -> None:
    import soundfile

    for number in range(count):
        rng = np.random.default_rng(number)
        samples = np.cumsum(rng.standard_normal(30 * 44_100)) * 1e-4
        soundfile.write(folder / f"{number:03}.flac", np.clip(samples - samples.mean(), -1, 1), 44_100)


def timed(
    samples: tuple[Sample, ...],
    warm_up: tuple[Sample, ...],
    preprocessing: Preprocessing,
    workers: int,
    cache: DecodeCache | None,
) -> tuple[float, str, int]:
    """Samples per second, a hash of all arrays, and how many came from the cache."""
    with DecodePool(workers=workers, timeout=120, cache=cache) as pool:
        for _ in pool.run(warm_up, preprocessing):
            pass
        before = pool.cache_counts.hits
        digest = hashlib.sha256()
        begun = time.perf_counter()
        elapsed = 0.0
        for result in pool.run(samples, preprocessing):
            elapsed = time.perf_counter() - begun
            assert result.decoded is not None, result.message
            digest.update(result.decoded.array.tobytes())
        return len(samples) / elapsed, digest.hexdigest(), pool.cache_counts.hits - before


def measure(kind: str, folder: Path, workers: int, repeat: int, scale: float) -> dict[str, object]:
    makers = {"images": make_images, "clips": make_clips, "recordings": make_recordings}
    media = folder / kind / "real"
    media.mkdir(parents=True)
    count = max(4, int(COUNTS[kind] * scale))
    makers[kind](media, count + workers)
    found = load_data(folder / kind).samples
    samples, warm_up = found[:count], found[count:]
    preprocessing = Preprocessing(MODALITIES[kind])
    rates: dict[str, list[float]] = {"first": [], "second": [], "without": []}
    entries = 0
    for number in range(repeat):
        cache = DecodeCache(folder / f"cache-{kind}-{number}", 2**33)
        digests = set()
        for name, given in (("without", None), ("first", cache), ("second", cache)):
            rate, digest, hits = timed(samples, warm_up, preprocessing, workers, given)
            assert hits == (len(samples) if name == "second" else 0), (name, hits)
            rates[name].append(rate)
            digests.add(digest)
        assert len(digests) == 1, "the cache changed an array"
        entries = sum(p.stat().st_size for p in cache.folder.rglob("*.zst"))
        shutil.rmtree(cache.folder)
    ratios = [b / a for a, b in zip(rates["first"], rates["second"], strict=True)]
    cost = [a / b for a, b in zip(rates["first"], rates["without"], strict=True)]
    return {
        "kind": kind,
        "files": count,
        "MB a file": round(sum(p.stat().st_size for p in media.iterdir()) / len(found) / 1e6, 2),
        "MB an entry": round(entries / len(found) / 1e6, 3),
        "workers": workers,
        **{f"{name} (samples/s)": round(statistics.median(values), 1) for name, values in rates.items()},
        "second / first": round(statistics.median(ratios), 1),
        "second / first, least": round(min(ratios), 1),
        "first / without": round(statistics.median(cost), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=list(COUNTS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments.kind or list(COUNTS):
            row = measure(kind, Path(folder), arguments.workers, arguments.repeat, arguments.scale)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
