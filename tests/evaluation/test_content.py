"""Contents are told apart by a hash that names and places have no part in."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gasdet.evaluation.content import content_sha256
from gasdet.media.frames import FrameSequence


def test_a_file_and_its_bytes_have_the_sha256_of_the_content(tmp_path: Path) -> None:
    content = b"x" * 3_000_000
    path = tmp_path / "any name.mp4"
    path.write_bytes(content)
    assert content_sha256(path) == content_sha256(content) == hashlib.sha256(content).hexdigest()


def test_frames_count_with_their_order_and_rate(tmp_path: Path) -> None:
    frames = (b"one", b"two", b"three")
    paths = tuple(tmp_path / f"{n}.png" for n in range(3))
    for path, frame in zip(paths, frames, strict=True):
        path.write_bytes(frame)
    known = content_sha256(FrameSequence(frames, 25.0))
    assert content_sha256(FrameSequence(paths, 25.0)) == known
    others = [
        FrameSequence(frames, 24.0),
        FrameSequence(frames, None),
        FrameSequence(frames[::-1], 25.0),
        FrameSequence(frames[:2], 25.0),
        FrameSequence((b"onetwo", b"three"), 25.0),
        b"onetwothree",
    ]
    assert len({known, *map(content_sha256, others)}) == len(others) + 1
