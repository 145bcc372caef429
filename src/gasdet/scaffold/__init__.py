"""``gasdet plugin new``: plugins to start from, written from the templates beside this file."""

from __future__ import annotations

from gasdet.scaffold.writing import Scaffold, write_plugin
from gasdet.types import KINDS

__all__ = ["KINDS", "Scaffold", "write_plugin"]
