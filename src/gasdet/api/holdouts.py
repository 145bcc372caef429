"""Private holdouts beside, or instead of, public data: what is asked for, and how both become one dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasdet.data import Dataset
from gasdet.data.holdouts import HoldoutKey, joined, load_holdouts, read_key
from gasdet.errors import UsageError
from gasdet.evaluation.provenance import DEFAULT_SHARE, check_share
from gasdet.types import Provenance


@dataclass(frozen=True, slots=True)
class Private:
    """The holdouts that an evaluation is to take.

    Attributes:
        file: The catalogue; None where there are none.
        key: What their names are made with; None where there are none.
        only: Whether nothing else is taken.
        share: Of the holdouts in the shared score.
    """

    file: Path | None = None
    key: HoldoutKey | None = None
    only: bool = False
    share: float = DEFAULT_SHARE

    @classmethod
    def of(
        cls,
        file: str | Path | None,
        key: str | Path | HoldoutKey | None = None,
        *,
        only: bool = False,
        share: float | None = None,
        provenance: Provenance | str | None = None,
    ) -> Private:
        """What is asked for, checked before any work is done.

        ``provenance`` "holdout" is another way to ask for the holdouts alone; "public" leaves them out, and needs no key.

        Raises:
            UsageError: Something about holdouts is asked for without any, or there is no key that can be used.
        """
        if provenance == Provenance.PUBLIC and only:
            raise UsageError("--holdouts-only and --provenance public exclude each other.")
        if file is None:
            idle = {
                "--holdout-key": key is not None,
                "--holdouts-only": only,
                "--holdout-share": share is not None,
                "--provenance holdout": provenance == Provenance.HOLDOUT,
            }
            if asked := [name for name, given in idle.items() if given]:
                raise UsageError(f"{' and '.join(asked)} can only stand beside --holdout, which names the holdouts.")
            return cls()
        if provenance == Provenance.PUBLIC:
            return cls()
        chosen = DEFAULT_SHARE if share is None else check_share(share)
        own_key = key if isinstance(key, HoldoutKey) else read_key(key)
        return cls(Path(file), own_key, only or provenance == Provenance.HOLDOUT, chosen)

    @property
    def asked(self) -> bool:
        """Whether there are any."""
        return self.file is not None

    def added_to(
        self, public: Dataset | None, *, limit: int | None, datasets: Sequence[str], seed: int, **selection: Any
    ) -> tuple[Dataset, Mapping[str, str]]:
        """The public data together with the holdouts, and the holdouts' keyed ids with the ids that they have as public data.

        Args:
            public: Loaded without a limit where there are holdouts; None for the holdouts alone.
            limit: At most so many samples of both together.
            datasets: Patterns of the holdouts' keyed names.
            seed: Of the choice.
            selection: Further arguments of ``load_holdouts``.

        Raises:
            DataError: The holdouts cannot be read, or none is left.
            ConfigError: Their catalogue has unknown keys or unusable values.
        """
        if self.file is None or self.key is None:
            assert public is not None
            return public, {}
        holdouts = load_holdouts(self.file, self.key, seed=seed, **selection).matching(datasets)
        return joined(public, holdouts, limit=limit, seed=seed), holdouts.originals
