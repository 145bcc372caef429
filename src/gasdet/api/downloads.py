"""Fetch the data sets of catalogues, look at what was fetched, and make room.

The functions lie in ``gasdet.data.remote.tasks``, which imports no torch: the command line takes them from there.
"""

from __future__ import annotations

from gasdet.data.remote.tasks import Planned, clean, download, verify

__all__ = ["Planned", "clean", "download", "verify"]
