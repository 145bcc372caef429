"""What a user chooses about a training; everything about the method is in the plugin's recipe."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.evaluation.options import RunOptions

if TYPE_CHECKING:
    from gasdet.training.splits import SplitBy


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of a training.

    Attributes:
        settings: Texts ``key=value`` that change the recipe, see ``Recipe.with_settings``.
        recipe_files: YAML files that change it before them.
        reward: Append a stage that tunes for the combined score; with ``weights``, make it the only stage.
        weights: A trained detector to start from, as ``gasdet evaluate --weights`` takes it; None for a new head.
        bases: Of ``weights`` that are a delta file: files of which one is its base.
        backbone: A file, or ``hf-hub:owner/name[@revision]/FILE``. None takes the detector's first published backbone,
            or what the recipe says for demo data.
        val_fraction: Over the recipe's own, for data without a validation split; None leaves it.
        split_by: What the validation part is made of, see ``split_samples``.
        hold_out: Generators or datasets for it.
        released_after: The first day of it, with ``split_by="released"``.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: Samples that go through a frozen backbone together. It does not change the result.
        workers: Decode processes; None chooses by the machine.
        decode_timeout: Seconds for one file.
        decode_cache: Where decoded samples are kept between runs, as ``gasdet evaluate`` does; None keeps none there. It does
            not change the result.
        cache: Folder of the caches of features and decoded samples; None is gasdet's cache folder.
        save_every: Most seconds between two checkpoints.
        offline: Fetch nothing.
        restart: Throw away what the folder holds of another training or an earlier start.
        allow_training_data: Choose and calibrate even on validation samples that ``weights`` are known to have been trained on.
    """

    settings: tuple[str, ...] = ()
    recipe_files: tuple[Path, ...] = ()
    reward: bool = False
    weights: str | None = None
    backbone: str | None = None
    bases: tuple[str, ...] = ()
    val_fraction: float | None = None
    split_by: SplitBy = "stated"
    hold_out: tuple[str, ...] = ()
    released_after: date | None = None
    device: str = "auto"
    batch_size: int = 8
    workers: int | None = None
    decode_timeout: float = 30.0
    decode_cache: DecodeCache | None = None
    cache: Path | None = None
    save_every: float = 300.0
    offline: bool = False
    restart: bool = False
    allow_training_data: bool = False

    @property
    def worker_count(self) -> int:
        """Decode processes to use."""
        return RunOptions(workers=self.workers).worker_count

    def session(self) -> dict[str, Any]:
        """The options that may differ from one session of a training to the next."""
        return {
            "device": self.device,
            "batch_size": self.batch_size,
            "workers": self.worker_count,
            "decode_timeout": self.decode_timeout,
            "allow_training_data": self.allow_training_data,
        }
