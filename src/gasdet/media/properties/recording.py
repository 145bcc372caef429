"""Properties of recordings: what the header says, and level, silence and bandwidth of the decoded samples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gasdet.errors import MediaError
from gasdet.media.audio import BLOCK, MISSING_SAMPLES, pyav_blocks
from gasdet.media.clip import best_stream, opened
from gasdet.media.completeness import check_complete
from gasdet.media.decoded import Array, MediaLimits
from gasdet.media.properties.containers import container_name, encoder_of, metadata_keys, metadata_of
from gasdet.media.properties.parts import body_of, flac_blocks, riff_chunks, structure
from gasdet.media.properties.signal import Signal
from gasdet.media.properties.spec import Value
from gasdet.media.properties.text import clean
from gasdet.media.soundfile_reader import open_recording, read_blocks, stated_frames
from gasdet.media.source import open_source
from gasdet.types import Modality, Reason

_DEPTHS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
_DEPTHS |= {"ULAW": 8, "ALAW": 8, "ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 32}
_MP3_TAG = re.compile(rb"(?:Xing|Info)\0\0\0[\0-\x0f]")
_LAME = re.compile(rb"LAME\d\.[0-9]+")


def recording_properties(source: Path | bytes, limits: MediaLimits) -> dict[str, Value]:
    """Properties of a recording; it is decoded, at its own rate and with all its channels.

    Raises:
        MediaError: It cannot be opened or decoded, is too long, or ends early, with the reason.
    """
    file, size = open_source(source, limits)
    with file:
        check_complete(file, size)
        found = _of_header(file)
        with _track(file, size) as track:
            found = {**track.header, **found}  # FFmpeg's names, where it knows the file
            signal = _measured(track, limits)
        found |= signal.properties()
        found |= _of_file(file)
    duration = signal.read / track.rate
    found |= {
        "sample_rate": track.rate,
        "channels": track.channels,
        "bit_depth": track.header.get("bit_depth"),
        "duration": duration,
        "bit_rate": round(size * 8 / 1000 / duration),  # finer, the header's share would tell the duration
        "file_bytes": size,
    }
    return found


@dataclass(slots=True)
class _Track:
    """A recording that has been opened: its rate and channels, its samples, and what its reader says of the header."""

    rate: int
    channels: int
    blocks: Iterator[Array]  # float32 [n, channels]
    stated: int  # samples a channel; 0: not stated
    header: dict[str, Value]


@contextmanager
def _track(file: BinaryIO, size: int) -> Iterator[_Track]:
    """The recording as :mod:`gasdet.media.audio` reads it: libsndfile where it knows the format, else PyAV."""
    sound = open_recording(file)
    if sound is not None:
        with sound:
            header: dict[str, Value] = {
                "container": sound.format.lower(),
                "codec": sound.subtype.lower(),
                "bit_depth": _DEPTHS.get(sound.subtype),
            }
            blocks = read_blocks(sound, file, size, BLOCK)
            yield _Track(sound.samplerate, sound.channels, blocks, stated_frames(sound), header)
        return
    with opened(file, Modality.AUDIO) as container:
        stream = best_stream(container, Modality.AUDIO)
        codec = stream.codec_context
        # An ALAC box: 12 bytes of head, then frame length (4), version (1), bit depth (1) (Apple's ALACSpecificConfig).
        cookie = bytes(codec.extradata or b"") if codec.name == "alac" else b""
        depth = cookie[17] if len(cookie) > 17 else None
        yield _Track(codec.sample_rate, codec.channels, pyav_blocks(container, stream), 0, {"bit_depth": depth})


def _measured(track: _Track, limits: MediaLimits) -> Signal:
    """All samples, measured.

    Raises:
        MediaError: CORRUPT, TOO_LARGE, NO_SAMPLES, TRUNCATED, NONFINITE_SAMPLES.
    """
    if track.rate <= 0:
        raise MediaError(Reason.CORRUPT, f"The header says a sample rate of {track.rate} Hz.")
    most = limits.max_audio_seconds
    signal = Signal(track.rate)
    if track.stated <= most * track.rate:
        for block in track.blocks:
            signal.add(block)
            if signal.read > most * track.rate:
                break
    if max(signal.read, track.stated) > most * track.rate:
        seconds = max(signal.read, track.stated) / track.rate
        message = f"The recording lasts {seconds:.0f} s or more, over the limit of {most:.0f} s."
        raise MediaError(Reason.TOO_LARGE, message)
    if not signal.read:
        raise MediaError(Reason.NO_SAMPLES, "The recording holds no samples.")
    if signal.read < track.stated - MISSING_SAMPLES:
        message = f"The recording ends after {signal.read} samples; its header says {track.stated}."
        raise MediaError(Reason.TRUNCATED, message)
    return signal


def _of_header(file: BinaryIO) -> dict[str, Value]:
    """What FFmpeg says of the file; empty where only libsndfile knows it, or where no stream is to be had."""
    head = file.read(4096)
    try:
        with opened(file, Modality.AUDIO) as container:
            stream = best_stream(container, Modality.AUDIO)
            metadata = metadata_of([container, stream])
            return {
                "container": container_name(head, container.format.name),
                "codec": stream.codec_context.codec.canonical_name,
                "encoder": encoder_of(metadata),
                "metadata_keys": metadata_keys(metadata),
            }
    except MediaError:
        return {}


def _of_file(file: BinaryIO) -> dict[str, Value]:
    """What neither reader reports: the chunks of a WAV, the blocks and the vendor of a FLAC, the encoder of an MP3."""
    file.seek(0)
    head = file.read(1 << 16)
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return {"structure": structure(riff_chunks(file))}
    if head[:4] == b"fLaC":
        blocks = list(flac_blocks(file))
        found: dict[str, Value] = {"structure": structure(blocks)}
        comment = next((body_of(file, block, 512) for block in blocks if block[0] == b"4"), b"")
        vendor = clean(comment[4 : 4 + int.from_bytes(comment[:4], "little")])
        return found | ({"encoder": vendor} if vendor else {})
    if head[:3] == b"ID3" or head[:1] == b"\xff":
        return {"bitstream_encoder": _mp3_encoder(head)}
    return {}


def _mp3_encoder(head: bytes) -> str | None:
    """What an MP3 says of its encoder: nine characters in the first frame's tag, or LAME's text where frames are filled up.

    The tag is "Xing" or "Info", four bytes of flags and, as the flags say, the numbers of frames and bytes, a table of 100
    bytes and a quality.
    """
    tag = _MP3_TAG.search(head)
    if tag is not None:
        flags = head[tag.end() - 1]
        at = tag.end() + sum(length for bit, length in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
        text = head[at : at + 9].split(b"\0")[0]
        if text.isascii() and text[:4].isalpha() and (name := clean(text)):
            return name
    # Such a text may be cut by the next frame's header: what occurs most often is whole.
    found = Counter(_LAME.findall(head)).most_common(1)
    return found[0][0].decode() if found else None
