"""Every property that is looked at, by modality.

Causes stand before what follows from them (the sample rate before the bit rate, the container before the number of bytes):
where two properties separate the classes equally well, the first is the one to name.
"""

from __future__ import annotations

from collections.abc import Mapping

from gasdet.media.properties.spec import Kind, PropertySpec, Remedy
from gasdet.types import Modality

_REMEDIES: dict[str, tuple[Remedy, str]] = {
    "recode": ("re-encode", "Decode the files of both classes and write them with one format, encoder and setting."),
    "rename": ("re-encode", "Write both classes in one format, and give their files one extension."),
    "size": ("crop", "Bring both classes to one size: a centred crop of one shape, then one downscale."),
    "turn": ("re-encode", "Turn the pictures as their header says, write them upright, and leave the header out."),
    "strip": ("drop", "Write the files of both classes anew without metadata."),
    "colour": ("re-encode", "Convert both classes to 8-bit RGB without alpha before they are written anew."),
    "frames": ("crop", "Take the first picture only, of both classes."),
    "quality": (
        "re-encode",
        "Shrink the pictures of both classes by one factor or more, then write them as JPEG with one quality and subsampling.",
    ),
    "bytes": (
        "re-encode",
        "It follows from size, format and quality: make those equal; what is left is how busy the content is.",
    ),
    "pixels": ("re-encode", "Write both classes with one codec, profile and pixel format."),
    "rate": ("resample", "Bring the clips of both classes to one frame rate, as low as the lowest of them."),
    "length": ("crop", "Cut both classes to one length, as short as the shortest that are kept."),
    "track": ("drop", "Remove the other tracks from the files of both classes, or let both have one."),
    "sample_rate": ("resample", "Resample both classes to one rate, as low as the lowest of them."),
    "channels": ("resample", "Mix the recordings of both classes down to one channel."),
    "bandwidth": (
        "resample",
        "Low-pass both classes below the narrowest bandwidth among them, then resample to one rate.",
    ),
    "trim": ("crop", "Cut the silence off both ends of every recording, then cut both classes to one length."),
    "level": ("level", "Bring the recordings of both classes to one loudness."),
    "peak": ("level", "Bring both classes to one loudness, with room so that nothing is clipped anew."),
    "floor": ("level", "Bring both classes to one loudness and add the same faint noise, so that no pause is silent."),
    "offset": ("resample", "Take the mean off every recording (a high-pass) before it is written anew."),
}


def _table(*rows: tuple[str, Kind, str, str, str]) -> tuple[PropertySpec, ...]:
    """Specs from rows of name, kind, unit, remedy and meaning."""
    return tuple(
        PropertySpec(name, kind, unit, meaning, *_REMEDIES[remedy]) for name, kind, unit, remedy, meaning in rows
    )


_IMAGE = _table(
    ("container", "category", "", "recode", "File format by its content: jpeg, png, webp, avif, mpo, tiff ..."),
    (
        "codec",
        "category",
        "",
        "recode",
        "How the pixels are coded: dct, dct-arithmetic, deflate, vp8, vp8l, av1, lzw ...",
    ),
    ("extension", "category", "", "rename", "The name's extension in lower case; None where it has none."),
    ("width", "number", "px", "size", "As stored: an EXIF orientation is not applied."),
    ("height", "number", "px", "size", "As stored: an EXIF orientation is not applied."),
    ("aspect", "number", "", "size", "Width divided by height, as stored."),
    ("megapixels", "number", "MP", "size", "Width times height in millions."),
    ("orientation", "category", "", "turn", "EXIF orientation, '1' to '8'; None where the file has none."),
    ("colour_mode", "category", "", "colour", "Pillow's mode: RGB, RGBA, L, P, CMYK, I;16 ..."),
    ("bit_depth", "number", "bits", "colour", "Bits a channel, by the file's header."),
    ("alpha", "flag", "", "colour", "Whether there is an alpha channel or a transparent colour."),
    ("animated", "flag", "", "frames", "Whether more than one picture is in the file."),
    ("jpeg_tables", "category", "", "quality", "Hash of a JPEG's quantisation tables, in the order of its components."),
    (
        "jpeg_quality",
        "number",
        "",
        "quality",
        "The quality, 1 to 100, whose tables by the IJG's formula come closest to a JPEG's; None for other formats.",
    ),
    (
        "jpeg_fit",
        "number",
        "steps",
        "quality",
        "How far a JPEG's tables are from those, in steps of the quantiser on average: 0 says that they are the IJG's own.",
    ),
    (
        "chroma_subsampling",
        "category",
        "",
        "quality",
        "4:4:4, 4:2:2, 4:2:0 ..., or 4:0:0 for grey; of JPEG, lossy WebP and AVIF.",
    ),
    ("progressive", "flag", "", "recode", "A progressive JPEG or an interlaced PNG; None for other formats."),
    ("jpeg_restart", "flag", "", "recode", "Whether a JPEG has restart markers."),
    (
        "jpeg_optimised",
        "flag",
        "",
        "recode",
        "Whether a JPEG's Huffman tables differ from the specification's typical ones.",
    ),
    ("exif", "flag", "", "strip", "Whether there is an EXIF block."),
    ("icc", "flag", "", "strip", "Whether a colour profile is embedded."),
    ("xmp", "flag", "", "strip", "Whether there is an XMP packet."),
    ("c2pa", "flag", "", "strip", "Whether there are content credentials (C2PA)."),
    ("maker", "category", "", "strip", "EXIF Make and Model."),
    ("software", "category", "", "strip", "EXIF Software, or a PNG's text of that name."),
    ("icc_profile", "category", "", "strip", "Hash of the embedded colour profile."),
    (
        "text",
        "category",
        "",
        "strip",
        "Names of a PNG's texts, or 'comment' of a JPEG or GIF that has one; None without.",
    ),
    ("density", "category", "", "strip", "Stated pixels an inch, e.g. '72 x 72'; None where not stated."),
    (
        "structure",
        "category",
        "",
        "recode",
        "The file's parts in their order (segments, chunks, boxes): tells programs apart.",
    ),
    ("file_bytes", "number", "bytes", "bytes", "Size of the file."),
    ("bytes_per_pixel", "number", "bytes", "bytes", "Size of the file divided by width times height."),
)

_VIDEO = _table(
    (
        "container",
        "category",
        "",
        "recode",
        "File format by its content: mp4, quicktime, webm, matroska, avi ..., or frames.",
    ),
    ("brand", "category", "", "recode", "Major brand of an MP4 or QuickTime file; None for others."),
    (
        "codec",
        "category",
        "",
        "pixels",
        "Of the main video stream: h264, hevc, vp9, av1 ... Of frames, the first one's.",
    ),
    ("extension", "category", "", "rename", "The name's extension in lower case; None where it has none."),
    ("profile", "category", "", "pixels", "The codec's profile, where the stream states one."),
    (
        "level",
        "category",
        "",
        "pixels",
        "The codec's level as the stream numbers it ('31'); it grows with size and frame rate.",
    ),
    ("pixel_format", "category", "", "pixels", "Pixel format, e.g. yuv420p: subsampling and bit depth."),
    ("bit_depth", "number", "bits", "pixels", "Bits a component."),
    ("colour", "category", "", "pixels", "Colour matrix, primaries, transfer and range, as numbered in ITU-T H.273."),
    ("interlaced", "flag", "", "pixels", "Whether the stream says that frames are made of two fields."),
    ("width", "number", "px", "size", "Of a coded frame, not rotated."),
    ("height", "number", "px", "size", "Of a coded frame, not rotated."),
    ("aspect", "number", "", "size", "Width divided by height."),
    ("megapixels", "number", "MP", "size", "Width times height in millions."),
    (
        "rotation",
        "category",
        "",
        "turn",
        "Clockwise degrees by which an MP4's header turns the picture; None for others.",
    ),
    ("frame_rate", "number", "frames/s", "rate", "Average frames a second."),
    ("variable_frame_rate", "flag", "", "rate", "Whether frames last differently long, by more than a unit of time."),
    (
        "duration",
        "number",
        "s",
        "length",
        "Length of the video stream: its frames' times, the last one's length included.",
    ),
    ("frames", "number", "frames", "length", "Frames in the video stream, counted by their packets."),
    ("keyframe_interval", "number", "frames", "recode", "Frames divided by key frames."),
    ("reordered", "flag", "", "recode", "Whether frames are stored out of their order (B-frames)."),
    ("audio_track", "flag", "", "track", "Whether there is a sound track."),
    ("audio_codec", "category", "", "track", "Codec of the sound track; None without one."),
    ("audio_sample_rate", "number", "Hz", "track", "Sample rate of the sound track; None without one."),
    ("audio_channels", "number", "channels", "track", "Channels of the sound track; None without one."),
    ("tracks", "number", "tracks", "track", "How many tracks of any kind there are."),
    ("encoder", "category", "", "strip", "Program that wrote the file, as its metadata say."),
    (
        "bitstream_encoder",
        "category",
        "",
        "recode",
        "Encoder that the coded stream itself names: 'x264 core 164', 'x265 ...'.",
    ),
    ("maker", "category", "", "strip", "Make and model of the camera in the metadata."),
    ("metadata_keys", "category", "", "strip", "Names of the metadata entries of file and streams."),
    ("c2pa", "flag", "", "strip", "Whether there are content credentials (C2PA); of MP4 and QuickTime."),
    ("time_scale", "category", "", "recode", "Units of time in a second, as the video stream counts them."),
    (
        "structure",
        "category",
        "",
        "recode",
        "Boxes of an MP4 in their order, or chunks of an AVI; None for other formats.",
    ),
    ("bit_rate", "number", "kbit/s", "bytes", "Size of the file divided by its duration."),
    ("file_bytes", "number", "bytes", "bytes", "Size of the file; of frames, of all of them."),
    (
        "bytes_per_pixel",
        "number",
        "bytes",
        "bytes",
        "Bytes of the video stream divided by width times height times frames.",
    ),
)

_AUDIO = _table(
    ("container", "category", "", "recode", "File format by its content: wav, flac, mp3, ogg, mp4, webm, sphere ..."),
    ("codec", "category", "", "recode", "pcm_s16le, flac, mp3, aac, opus, vorbis ..."),
    ("extension", "category", "", "rename", "The name's extension in lower case; None where it has none."),
    ("sample_rate", "number", "Hz", "sample_rate", "Samples a second, as the file has them."),
    (
        "bit_depth",
        "number",
        "bits",
        "recode",
        "Bits a sample of PCM, FLAC and ALAC; None for lossy codecs.",
    ),
    ("channels", "number", "channels", "channels", "How many there are."),
    ("encoder", "category", "", "strip", "Program that wrote the file, as its metadata or a FLAC's vendor entry say."),
    ("bitstream_encoder", "category", "", "recode", "Encoder that an MP3's frames name: 'LAME3.100', 'Lavc60.3' ..."),
    ("metadata_keys", "category", "", "strip", "Names of the metadata entries."),
    (
        "structure",
        "category",
        "",
        "recode",
        "Chunks of a WAV or blocks of a FLAC file in their order; None for other formats.",
    ),
    ("duration", "number", "s", "length", "Decoded samples divided by the sample rate."),
    (
        "leading_silence",
        "number",
        "s",
        "trim",
        "Time before the first 10 ms whose level is within 40 dB of the loudest 10 ms.",
    ),
    (
        "trailing_silence",
        "number",
        "s",
        "trim",
        "Time after the last 10 ms whose level is within 40 dB of the loudest 10 ms.",
    ),
    ("bandwidth", "number", "Hz", "bandwidth", "Highest frequency that ever comes within 60 dB of the strongest one."),
    (
        "loudness",
        "number",
        "dBFS",
        "level",
        "Root mean square of all samples; a full-scale sine has -3.01. None for silence.",
    ),
    ("peak", "number", "dBFS", "peak", "Largest magnitude of a sample; full scale is 0. None for silence."),
    (
        "noise_floor",
        "number",
        "dBFS",
        "floor",
        "Level that the quietest tenth of the recording stays below, over 10 ms each, at least -140.",
    ),
    ("zero_share", "number", "", "floor", "Share of the samples that are exactly zero: digital silence."),
    ("clipping_share", "number", "", "peak", "Share of the samples that reach 0.99 of full scale or more."),
    ("dc_offset", "number", "", "offset", "Mean of all samples; full scale is 1."),
    ("bit_rate", "number", "kbit/s", "bytes", "Size of the file divided by its duration, in whole kbit/s."),
    ("file_bytes", "number", "bytes", "bytes", "Size of the file."),
)

PROPERTIES: Mapping[Modality, tuple[PropertySpec, ...]] = {
    Modality.IMAGE: _IMAGE,
    Modality.VIDEO: _VIDEO,
    Modality.AUDIO: _AUDIO,
}
"""The properties of each modality: those of a clip are another list than those of an image."""
