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
from gasdet.progress import ProgressSink, Silent
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
        self._names: list[str] = []
        self._sink: ProgressSink = Silent()

    def prepare(self, detectors: Sequence[Detector], sink: ProgressSink) -> None:
        """Refuse detectors of which none can give a heat map of a picture, as far as can be said without running them.

        Raises:
            UsageError: None can.
        """
        self._names, self._sink = [detector.name for detector in detectors], sink
        if detectors and not any(d.modality is Modality.IMAGE and d.has_details for d in detectors):
            raise self._none()

    def rehearsed(self, given: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Make the folder, unless none of the detectors gave a heat map of noise; name those that did not.

        Args:
            given: The side outputs [1, ...] of each detector of images, None where it failed: real pictures will tell.

        Raises:
            UsageError: None did, or the folder cannot be made.
        """
        having = {name for name, details in given.items() if details is None or _has_heatmap(details)}
        if not having:
            raise self._none()
        for name in self._names:
            if name not in having:
                self._sink.note(f"{name} gives no heat maps of pictures.")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder {self._folder} for heat maps cannot be made ({error.strerror}); name another."
            ) from error

    def _none(self) -> UsageError:
        return UsageError(
            f"a heat map of a picture is given by none of the detectors that run ({', '.join(self._names)}); choose one that "
            "has them, or leave --heatmap out."
        )

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
        except RunError as error:
            cause = error.__cause__
            why = cause.strerror if isinstance(cause, OSError) else str(error)
            raise RunError(
                f"the heat map {path} cannot be written ({why}); free space, or name another folder."
            ) from error
        self.files[sample.sample_id, detector] = str(path)


def file_name(sample: Sample, detector: str) -> str:
    """``photo.jpg.DETECTOR.0123456789ab.png``: the digits are of the sample's id, which differs where a name occurs twice."""
    return ".".join([_plain(PurePosixPath(sample.member).name), _plain(detector), sample.sample_id[:12], "png"])


def _plain(name: str) -> str:
    """A name with only what every file system and terminal takes."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-") or "file"
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 20]}_{plain[-19:]}"


def _has_heatmap(details: Mapping[str, Any]) -> bool:
    return HEATMAP in details and details[HEATMAP].ndim == 2
