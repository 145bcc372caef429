"""Heat maps over the pictures that detect scores, a PNG for each picture and detector."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gasdet.bundle import Detector
from gasdet.bundle.details import HEATMAP
from gasdet.errors import RunError, UsageError
from gasdet.evaluation.progress import ProgressSink
from gasdet.reporting.heatmap import write_heatmap
from gasdet.types import Modality, Sample

_LONGEST_NAME = 80


class Heatmaps:
    """The folder of one call.

    Attributes:
        files: For (sample_id, detector's name), the PNG that was written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder).expanduser()
        self.files: dict[tuple[str, str], str] = {}

    def prepare(self, detectors: Sequence[Detector], sink: ProgressSink) -> None:
        """Make the folder, unless none of the detectors gives a heat map of a picture.

        Raises:
            UsageError: None does, or the folder cannot be made.
        """
        without = [detector.name for detector in detectors if not _gives_heatmaps(detector)]
        if detectors and len(without) == len(detectors):
            raise UsageError(
                f"a heat map of a picture is given by none of the detectors that run ({', '.join(without)}); choose one that "
                "has them, or leave --heatmap out."
            )
        for name in without:
            sink.note(f"{name} gives no heat maps of pictures.")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder {self._folder} for heat maps cannot be made ({error.strerror}); name another."
            ) from error

    def observe(self, sample: Sample, detector: str, given: np.ndarray, details: Mapping[str, Any]) -> None:
        """Write the heat map of a picture, where the details hold one.

        Raises:
            RunError: It cannot be written.
        """
        heatmap = details.get(HEATMAP)
        if heatmap is None or sample.modality is not Modality.IMAGE or heatmap.ndim != 2:
            return
        path = self._folder / file_name(sample, detector)
        try:
            write_heatmap(path, given, heatmap)
        except OSError as error:
            raise RunError(
                f"the heat map {path} cannot be written ({error.strerror or error}); free space, or name another folder."
            ) from error
        self.files[sample.sample_id, detector] = str(path)


def file_name(sample: Sample, detector: str) -> str:
    """``photo.jpg.DETECTOR.0123456789ab.png``: the digits are of the sample's id, which differs where a name occurs twice."""
    return ".".join([_plain(PurePosixPath(sample.member).name), _plain(detector), sample.sample_id[:12], "png"])


def _plain(name: str) -> str:
    """A name with only what every file system and terminal takes."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-") or "file"
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 20]}_{plain[-19:]}"


def _gives_heatmaps(detector: Detector) -> bool:
    """Whether a detector gives a heat map of a picture, as it does or does not of a black one."""
    if detector.modality is not Modality.IMAGE or not detector.has_details:
        return False
    try:
        _, details = detector.logits_with_details(np.zeros((1, 3, *detector.preprocessing.resize), np.uint8))
    except Exception:  # what the model makes of a black picture says nothing of others; they will tell
        return True
    return HEATMAP in details and details[HEATMAP].ndim == 3
