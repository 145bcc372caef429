"""``gasdet plugin new``: plugins to start from, written from the templates beside this file."""

from __future__ import annotations

from gasdet.scaffold.writing import KINDS, Scaffold, write_plugin

__all__ = ["KINDS", "Scaffold", "write_plugin"]
