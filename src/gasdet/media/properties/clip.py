"""Properties of clips: what the container says, and the packets of the video stream. No frame is decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gasdet.errors import MediaError
from gasdet.media.clip import best_stream, describe, lacking, opened, pyav
from gasdet.media.completeness import check_complete
from gasdet.media.decoded import MediaLimits
from gasdet.media.properties.containers import container_name, encoder_of, metadata_keys, metadata_of, rotation
from gasdet.media.properties.parts import boxes, has_c2pa_box, riff_chunks, structure
from gasdet.media.properties.spec import Value
from gasdet.media.properties.text import clean, maker_of
from gasdet.media.sniffing import sniff
from gasdet.media.source import open_source
from gasdet.types import Modality, Reason

_ENCODER_MARK = re.compile(rb"x264 - core \d+|x265 \(build \d+\)|Lavc\d+\.\d+\.\d+|XviD\d+|DivX\d+")
_MARK_WITHIN = 1 << 16


def clip_properties(source: Path | bytes, limits: MediaLimits) -> dict[str, Value]:
    """Properties of a clip; the file is read to its end, nothing is decoded.

    Raises:
        MediaError: It cannot be opened, has no video stream or no frames, with the reason.
    """
    file, size = open_source(source, limits)
    with file:
        check_complete(file, size)
        head = file.read(4096)
        if sniff(head) is Modality.IMAGE and not head.startswith(b"GIF"):
            raise lacking(Modality.VIDEO, "the file is an image")
        with opened(file, Modality.VIDEO) as container:
            stream = best_stream(container, Modality.VIDEO)
            found = _of_header(container, stream, head)
            packets = _read_packets(container, stream)
        found |= _of_packets(packets, found, size)
        found |= _of_file(file, size, head)
    return found


def _of_header(container: Any, stream: Any, head: bytes) -> dict[str, Value]:
    codec = stream.codec_context
    metadata = metadata_of([container, stream])
    sound = container.streams.best("audio")
    context = sound.codec_context if sound is not None else None
    return {
        "container": container_name(head, container.format.name),
        "brand": clean(head[8:12]) if head[4:8] == b"ftyp" else None,
        "codec": codec.codec.canonical_name,
        "profile": codec.profile,
        "level": str(codec.level) if codec.level is not None and codec.level > 0 else None,
        "pixel_format": codec.pix_fmt,
        "bit_depth": codec.format.components[0].bits if codec.format else None,
        "colour": "/".join(
            str(int(n)) for n in (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)
        ),
        "interlaced": codec.field_order not in (0, 1),  # unknown, progressive
        "width": codec.width,
        "height": codec.height,
        "aspect": codec.width / max(1, codec.height),
        "megapixels": codec.width * codec.height / 1e6,
        "audio_track": sound is not None,
        "audio_codec": context.codec.canonical_name if context else None,
        "audio_sample_rate": context.sample_rate if context else None,
        "audio_channels": context.channels if context else None,
        "tracks": len(container.streams),
        "encoder": encoder_of(metadata),
        "maker": _maker(metadata),
        "metadata_keys": metadata_keys(metadata),
        "time_scale": str(1 / stream.time_base) if stream.time_base else None,
    }


def _maker(metadata: dict[str, str]) -> str | None:
    prefixes = ("com.apple.quicktime.", "com.android.", "")
    pairs = ((metadata.get(f"{prefix}make"), metadata.get(f"{prefix}model")) for prefix in prefixes)
    return next((maker for pair in pairs if (maker := maker_of(*pair))), None)


@dataclass(slots=True)
class _Packets:
    """The shown frames' packets of a video stream: time stamps in seconds (missing ones left out), and totals."""

    times: list[float] = field(default_factory=list)
    tick: float = 0.0
    frames: int = 0
    keys: int = 0
    size: int = 0
    reordered: bool = False
    mark: str | None = None
    rate: float | None = None


def _read_packets(container: Any, stream: Any) -> _Packets:
    """Walk through the video stream's packets.

    Raises:
        MediaError: CORRUPT where the container cannot be read on, NO_FRAMES where there is none.
    """
    found = _Packets(tick=float(stream.time_base or 0), rate=float(stream.average_rate or 0) or None)
    found.mark = _mark(stream.codec_context.extradata or b"")
    last: int | None = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:  # the end; what an edit list leaves out
                continue
            found.size += packet.size
            if not found.frames and found.mark is None:
                found.mark = _mark(bytes(memoryview(packet)[:_MARK_WITHIN]))
            # A VP8 packet whose show_frame bit (RFC 6386, 9.1) is off only feeds later frames.
            if stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10:
                continue
            found.frames += 1
            found.keys += packet.is_keyframe
            if packet.pts is not None:
                found.reordered = found.reordered or (last is not None and packet.pts < last)
                last = packet.pts
                found.times.append(packet.pts * found.tick)
    except pyav().FFmpegError as error:
        message = f"Reading on failed after {found.frames} frames: {describe(error)}."
        raise MediaError(Reason.CORRUPT, message) from None
    if not found.frames:
        raise MediaError(Reason.NO_FRAMES, "The video stream holds no frames.")
    return found


def _mark(data: bytes) -> str | None:
    """What an encoder wrote of itself into the coded stream: H.264 and H.265 as an SEI message, MPEG-4 as user data."""
    match = _ENCODER_MARK.search(data)
    return match.group().decode().replace(" - core", " core") if match else None


def _of_packets(packets: _Packets, header: dict[str, Value], size: int) -> dict[str, Value]:
    times = np.sort(np.array(packets.times))
    gaps = np.diff(times)
    span = float(times[-1] - times[0]) if len(times) == packets.frames > 1 else 0.0
    rate = (packets.frames - 1) / span if span > 0 else packets.rate
    duration = packets.frames / rate if rate else None
    pixels = packets.frames * float(header["megapixels"] or 0) * 1e6
    return {
        "frame_rate": round(rate, 3) if rate else None,
        # Half a tick more than the one by which rounding makes even frames differ.
        "variable_frame_rate": bool(span and gaps.max() - gaps.min() > 1.5 * packets.tick),
        "duration": duration,
        "frames": packets.frames,
        "keyframe_interval": packets.frames / max(1, packets.keys),
        "reordered": packets.reordered,
        "bitstream_encoder": packets.mark,
        "bit_rate": size * 8 / 1000 / duration if duration else None,
        "file_bytes": size,
        "bytes_per_pixel": packets.size / pixels if pixels else None,
    }


def _of_file(file: BinaryIO, size: int, head: bytes) -> dict[str, Value]:
    """What PyAV does not report: the boxes of an MP4, the chunks of an AVI."""
    if head[:4] == b"RIFF":
        return {"structure": structure(riff_chunks(file))}
    if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return {}
    parts = list(boxes(file, 0, size))
    return {
        "structure": structure(parts),
        "rotation": rotation(file, size, parts),
        "c2pa": has_c2pa_box(file, parts),
    }
