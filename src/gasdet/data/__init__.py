"""Data: folders, archives, tables and catalogues to samples, and a sample's bytes."""

from __future__ import annotations

from gasdet.cachedir import cache_dir
from gasdet.data.dataset import Dataset
from gasdet.data.files import samples_of_files
from gasdet.data.loading import load_csv_pair, load_data
from gasdet.data.reading import read_head, read_source

__all__ = ["Dataset", "cache_dir", "load_csv_pair", "load_data", "read_head", "read_source", "samples_of_files"]
