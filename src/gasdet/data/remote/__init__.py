"""Data sets of the Hugging Face hub, of S3 and of HTTP(S): fetched once, checked, and kept as long as there is room."""

from __future__ import annotations

from gasdet.data.remote.downloading import is_at_hand
from gasdet.data.remote.local import LocalCopy, local_copies

__all__ = ["LocalCopy", "is_at_hand", "local_copies"]
