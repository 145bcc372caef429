"""Recordings that GASBench has decoded already: the ``.pt`` files of its cache, read without ever running what is in them.

Such a file (``gasbench preprocess``, version 0.8) is a zip archive by ``torch.save`` with a dictionary: ``waveform``, a float
tensor ``[96000]`` (6 s at 16 kHz, mono, cut at the centre or padded with zeros), ``label`` and ``metadata``. A tensor alone is
read as well. The pickle inside is read by torch's own unpickler of tensors and plain values (``weights_only=True``), which
calls nothing that the file names; any other pickle is refused. Only decode processes call this, and only such a file imports
torch.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gasdet.errors import MediaError
from gasdet.media import Decoded, MediaLimits
from gasdet.media.audio import decode_samples
from gasdet.media.decoded import Array
from gasdet.media.source import open_source
from gasdet.types import Preprocessing, Reason

SAMPLE_RATE = 16_000
"""Hz, of every waveform that GASBench keeps; its files do not say it."""

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SAFE_TORCH = (2, 6)
"""Before it, ``weights_only=True`` could be tricked into running code (CVE-2025-32434)."""

_MAX_CHANNELS = 32
_FLOAT_BYTES = 4


def is_tensor_file(source: Path | bytes) -> bool:
    """Whether a source is a file by ``torch.save``, or a bare pickle; False for what cannot be opened."""
    if isinstance(source, bytes):
        head = source[:4]
    else:
        try:
            with open(source, "rb") as file:
                head = file.read(4)
        except OSError:
            return False
    return head.startswith((_ZIP, _PICKLE))


def decode_waveform(source: Path | bytes, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    """Read a cached waveform as if it were a recording at 16 kHz.

    Args:
        source: The file, or its bytes.
        preprocessing: What the model takes; its modality is audio.
        limits: Bounds on the file and its length.

    Returns:
        float32 ``[N]``, as ``gasdet.media.decode`` gives it.

    Raises:
        MediaError: UNSUPPORTED for a pickle of anything but tensors and plain values, for a tensor that is no waveform, and
            where recordings are equalised, of which this is none any more; CORRUPT for a damaged archive; TOO_LARGE.
    """
    if preprocessing.equalise:
        raise MediaError(Reason.UNSUPPORTED, "A cached waveform was decoded and cut before: it cannot be equalised.")
    file, _ = open_source(source, limits)
    with file:
        content = io.BytesIO(file.read())
    _check_archive(content, limits)
    waveform = _loaded(content, limits)
    name = f"torch {_torch().__version__} (GASBench's cached waveform)"
    return decode_samples(waveform, SAMPLE_RATE, preprocessing, limits, decoder=name)


def _torch() -> Any:
    import torch

    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < _SAFE_TORCH:
        raise MediaError(Reason.UNSUPPORTED, "Cached waveforms need torch 2.6 or later, which reads them safely.")
    torch.set_num_threads(1)
    return torch


def _check_archive(content: io.BytesIO, limits: MediaLimits) -> None:
    """See that it is torch's archive, and how large it is unpacked, before torch touches it."""
    if content.getvalue().startswith(_PICKLE):
        raise MediaError(Reason.UNSUPPORTED, "This is a bare pickle, which could run code, and is never loaded.")
    try:
        with zipfile.ZipFile(content) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise MediaError(Reason.CORRUPT, "The archive of the cached waveform is damaged.") from None
    if not any(member.filename.endswith("/data.pkl") for member in members):
        raise MediaError(Reason.UNSUPPORTED, "This is a zip archive, and no cached waveform.")
    if sum(member.file_size for member in members) > limits.max_decode_bytes:
        raise MediaError(Reason.TOO_LARGE, "The cached waveform takes more memory than the limit allows.")
    content.seek(0)


def _loaded(content: io.BytesIO, limits: MediaLimits) -> Array:
    """The waveform, float32 ``[n, channels]``."""
    torch = _torch()
    try:
        found = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise MediaError(
            Reason.UNSUPPORTED,
            "The cached waveform's pickle holds more than tensors and plain values, which could run code: it is not loaded.",
        ) from None
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        raise MediaError(Reason.CORRUPT, "The cached waveform is damaged.") from None
    tensor = found.get("waveform") if isinstance(found, dict) else found
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.layout is not torch.strided:
        raise MediaError(
            Reason.UNSUPPORTED, "The file holds no waveform: a tensor of floats, alone or under 'waveform'."
        )
    if tensor.device.type != "cpu":
        raise MediaError(Reason.UNSUPPORTED, "The waveform's tensor says where it lay, and not what was in it.")
    if tensor.ndim == 1:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim != 2 or not 1 <= len(tensor) <= _MAX_CHANNELS:
        shape = list(tensor.shape)
        raise MediaError(Reason.UNSUPPORTED, f"A waveform has the shape [samples] or [channels, samples], not {shape}.")
    if tensor.numel() * _FLOAT_BYTES > limits.max_decode_bytes:  # one number in the file may stand for all of them
        raise MediaError(Reason.TOO_LARGE, "The cached waveform takes more memory than the limit allows.")
    samples: Array = np.ascontiguousarray(tensor.detach().to(torch.float32).numpy().T)
    return samples
