"""What may be kept of a holdout's record: its scores and outcome, and nothing that tells which file it was."""

from __future__ import annotations

from typing import Any

from gasdet.types import Provenance, Reason

OF_THE_FILE = ("decode_ms", "width", "height", "frames", "duration_s")
"""Numbers by which somebody who has the file would know it: null for holdouts."""

MESSAGES: dict[Reason, str] = {
    Reason.FILE_MISSING: "the file is not there",
    Reason.FILE_EMPTY: "the file is empty",
    Reason.FILE_UNREADABLE: "the file may not or cannot be read",
    Reason.SYMLINK_LOOP: "the symbolic link never ends",
    Reason.ARCHIVE_DAMAGED: "the archive that holds it is damaged",
    Reason.UNKNOWN_FORMAT: "no decoder knows the format",
    Reason.UNSUPPORTED: "the format is known, and this variant of it is not supported",
    Reason.TRUNCATED: "the content is cut off",
    Reason.CORRUPT: "the content is damaged",
    Reason.TOO_LARGE: "it is over a size bound",
    Reason.NO_VIDEO_STREAM: "the clip has no video",
    Reason.NO_FRAMES: "the clip has no frames",
    Reason.TOO_FEW_FRAMES: "the clip has fewer frames than the detector accepts",
    Reason.NO_AUDIO_STREAM: "there is no sound in it",
    Reason.NO_SAMPLES: "the recording is empty",
    Reason.NONFINITE_SAMPLES: "the recording holds NaN or infinity",
    Reason.DECODE_TIMEOUT: "decoding took too long",
    Reason.DECODER_CRASHED: "the decode process died",
    Reason.DECODER_OUT_OF_MEMORY: "decoding ran out of memory",
    Reason.DECODE_FAILED: "decoding failed",
    Reason.MODEL_ERROR: "the model raised an error",
    Reason.BAD_OUTPUT: "the model gave no logits of the right shape",
    Reason.NONFINITE_LOGITS: "the model gave NaN or infinite logits",
    Reason.OUT_OF_MEMORY: "memory was short even for one sample",
    Reason.TIME_LIMIT: "the model took longer than the time limit",
    Reason.LABEL_UNREADABLE: "its label cannot be read",
    Reason.UNKNOWN_MODALITY: "neither its name nor its content says what it is",
}
"""One sentence for each reason: the decoders' own may name files, sizes and contents."""


def concealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record as it may be kept: one of a holdout without what tells of its file, any other as it is."""
    if record["provenance"] == Provenance.PUBLIC.value:
        return record
    message = MESSAGES[Reason(record["reason"])] if record["reason"] else ""
    return {**record, **dict.fromkeys(OF_THE_FILE), "member": "", "decoder": "", "message": message}
