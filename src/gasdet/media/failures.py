"""What goes wrong while a sample is read, always as a reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gasdet.errors import MediaError
from gasdet.types import Reason


@contextmanager
def only_media_errors(doing: str = "Decoding") -> Iterator[None]:
    """Turn whatever a decoder raises over bad content into a :class:`~gasdet.errors.MediaError`.

    Args:
        doing: What is done meanwhile, as a sentence begins with it.

    Raises:
        MediaError: With the reason; DECODE_FAILED where none is known.
    """
    try:
        yield
    except MediaError:
        raise
    except MemoryError:
        raise MediaError(Reason.DECODER_OUT_OF_MEMORY, f"{doing} ran out of memory.") from None
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise MediaError(Reason.DECODE_FAILED, f"{doing} failed with {type(error).__name__}: {said}.") from error
