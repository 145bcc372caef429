"""A run: detectors over a dataset, in a folder that survives any interruption and answers again at once when complete.

The folder's layout is in docs/formats.md. Everything in it is written atomically; a run goes on at the first part of its
records that is absent or damaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.atomic_files import locked, remove_pending, write_json
from gasdet.data import Dataset
from gasdet.errors import DataError, RunError, UsageError
from gasdet.evaluation import plan
from gasdet.evaluation.configuration import RUN_VERSION, configuration_id, differences, run_configuration
from gasdet.evaluation.decode_cache import CacheCounts, DecodeCache
from gasdet.evaluation.environment import code_sha256, environment
from gasdet.evaluation.finished import (
    PARTS,
    PLAN,
    RECORDS,
    RUN,
    SUMMARY,
    Run,
    make_folder,
    read_config,
    read_json,
)
from gasdet.evaluation.inference import Scorer, placed
from gasdet.evaluation.options import RunOptions, resolve_device
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.processors import share_processors
from gasdet.evaluation.provenance import DEFAULT_SHARE, check_share
from gasdet.evaluation.records import (
    belongs,
    check_accounts,
    merged,
    read_records,
    table_of,
    write_records,
)
from gasdet.evaluation.scoring import Group, blocks_of, groups_of, score_blocks
from gasdet.evaluation.summary import summarise
from gasdet.progress import ProgressSink, Silent
from gasdet.types import Provenance, Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from gasdet.bundle import Detector

__all__ = ["Run", "RunOptions", "configuration_id", "evaluate_run", "run_configuration"]

_MAX_DIFFERENCES = 6


def evaluate_run(
    detectors: Sequence[Detector],
    dataset: Dataset,
    out: Path,
    options: RunOptions = RunOptions(),  # noqa: B008 (frozen)
    progress: ProgressSink | None = None,
    *,
    metrics: Mapping[str, Any] | None = None,
    holdout_share: float = DEFAULT_SHARE,
    decode_cache: DecodeCache | None = None,
) -> Run:
    """Evaluate detectors on a dataset, or take an interrupted evaluation up again, or answer from a complete one.

    Args:
        detectors: With different names. Their order does not matter: a run has them in the order of their names.
        dataset: Its samples are the plan. A detector gets those of its modality.
        out: The run's folder; made where it is absent.
        options: See :class:`RunOptions`.
        progress: Told what happens.
        metrics: Metrics from plugins for the summary, name to function of (labels, scores, weights).
        holdout_share: Share of the holdouts in the shared score, 0 to 1. As ``resamples``, it may change: the summary is then
            computed anew from the records.
        decode_cache: Where decoded samples are kept between runs; it changes no score.

    Raises:
        RunError: The folder is in use, holds something else or a run of another configuration, decoding cannot work, or the
            device is lost.
        DataError: The dataset holds nothing for any of the detectors, or a sample twice.
        UsageError: Two detectors have the same name, or the device does not exist.
    """
    share_processors()
    progress = progress if progress is not None else Silent()
    detectors = sorted(detectors, key=lambda detector: detector.name)
    names = [detector.name for detector in detectors]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"A run needs detectors with different names, not {names}.")
    samples = plan.check(dataset.samples)
    device = resolve_device(options.device)
    make_folder(out)
    with locked(out):
        evaluation = _Evaluation(
            detectors,
            dataset,
            samples,
            out,
            options,
            device,
            progress,
            dict(metrics or {}),
            check_share(holdout_share),
            decode_cache,
        )
        return evaluation.run()


@dataclass(frozen=True)
class _Part:
    """A fixed block of plan rows for one group of detectors, and the file of its records."""

    path: Path
    group: Group
    rows: tuple[int, ...]

    @property
    def places(self) -> list[tuple[int, int]]:
        """(row of the plan, position of the detector) of each record, in the file's order."""
        return [(row, detector) for row in self.rows for detector in self.group.detectors]


class _Evaluation:
    """One session in a run's folder, which it holds."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        dataset: Dataset,
        samples: tuple[Sample, ...],
        out: Path,
        options: RunOptions,
        device: str,
        progress: ProgressSink,
        metrics: dict[str, Any],
        holdout_share: float,
        decode_cache: DecodeCache | None,
    ) -> None:
        self._detectors = list(detectors)
        self._dataset = dataset
        self._samples = samples
        self._out = out
        self._options = options
        self._device = device
        self._progress = progress
        self._metrics = metrics
        self._holdout_share = holdout_share
        self._decode_cache = decode_cache
        self._cache_counts: CacheCounts | None = None
        self._groups = groups_of(detectors, samples)
        self._planned = {
            detectors[position].name: len(group.rows)
            for group in self._groups
            for position in group.detectors
            if group.rows
        }
        self._configuration = run_configuration(detectors, dataset, options)
        self._run_id = configuration_id(self._configuration)

    def run(self) -> Run:
        if not self._planned:
            wanted = " or ".join(sorted({d.modality.value for d in self._detectors}))
            raise DataError(f"{self._dataset.description}: there is no {wanted} in this data.")
        stored = self._accepted_config()
        self._tell_unplanned()
        if stored is not None and stored.get("state") == "complete" and self._records_complete():
            return self._answer(stored)
        config = self._begin(stored)
        tables = self._compute_parts()
        if self._cache_counts is not None:
            config["sessions"][-1]["decode_cache"] = asdict(self._cache_counts)
        table = merged(list(tables.values()), [part.places for part in self._parts()])
        check_accounts(table, self._planned)
        write_records(self._out / RECORDS, table)
        return self._finish(config, table)

    # The folder

    def _accepted_config(self) -> dict[str, Any] | None:
        """What run.json holds, if it is of this configuration; otherwise refuse it or start over."""
        if self._options.restart:
            self._clear()
            return None
        stored = read_config(self._out)
        if stored is None:
            return None
        changed = differences(stored.get("configuration"), self._configuration)
        if changed:
            shown = "; ".join(changed[:_MAX_DIFFERENCES])
            more = f"; and {len(changed) - _MAX_DIFFERENCES} more" if len(changed) > _MAX_DIFFERENCES else ""
            raise RunError(
                f"{self._out}: this run was made with another configuration ({shown}{more}); "
                "choose another folder, or start over with --restart."
            )
        return stored

    def _clear(self) -> None:
        """Remove what a run leaves in its folder, and nothing else."""
        for name in (SUMMARY, RECORDS, RUN, PLAN, "report.html"):
            (self._out / name).unlink(missing_ok=True)
        for path in (self._out / PARTS).glob("part-*.parquet"):
            path.unlink()

    def _begin(self, stored: dict[str, Any] | None) -> dict[str, Any]:
        """Describe the run and this session before anything is computed."""
        (self._out / PARTS).mkdir(exist_ok=True)
        remove_pending(self._out)
        remove_pending(self._out / PARTS)
        self._tell_changed_code(stored)
        if stored is None or not (self._out / PLAN).exists():
            plan.write_plan(self._out / PLAN, self._samples)
        config = {
            "schema_version": RUN_VERSION,
            "run_id": self._run_id,
            "state": "unfinished",
            "configuration": self._configuration,
            "data": {
                "description": self._dataset.description,
                "is_demo": self._dataset.is_demo,
                "notes": list(self._dataset.notes),
                "sources": [dict(source) for source in self._dataset.sources],
            },
            "planned": self._planned,
            "sessions": [*(stored or {}).get("sessions", []), self._session()],
        }
        write_json(self._out / RUN, config)
        return config

    def _tell_changed_code(self, stored: dict[str, Any] | None) -> None:
        """Say that a run goes on with other code of the same version, as in a checkout that is being worked on."""
        sessions = (stored or {}).get("sessions") or [{}]
        before = sessions[-1].get("environment", {}).get("code_sha256")
        if before is not None and before != code_sha256():
            self._progress.note(
                "gasdet's own code has changed since the last session of this run, whose records are kept; "
                "--restart computes them again."
            )

    def _session(self) -> dict[str, Any]:
        return {"started": _now(), "options": self._options.session(), "environment": environment(self._device)}

    def _records_complete(self) -> bool:
        try:
            stored: int = read_records(self._out / RECORDS).num_rows
            return stored == sum(self._planned.values())
        except RunError:
            self._progress.note(f"{RECORDS} is absent or damaged and is put together again from its parts.")
            return False

    def _answer(self, config: dict[str, Any]) -> Run:
        """A complete run; its summary is computed anew where it is asked for differently."""
        summary = read_json(self._out / SUMMARY)
        if summary is not None and config.get("summary") == self._asked_of_the_summary():
            return Run(self._out, config, summary)
        return self._finish(config, read_records(self._out / RECORDS))

    def _asked_of_the_summary(self) -> dict[str, Any]:
        """What the summary depends on beside the records: a metric of other options is another metric."""
        options = {name: getattr(metric, "keywords", {}) for name, metric in self._metrics.items()}
        holdouts = any(sample.provenance is Provenance.HOLDOUT for sample in self._samples)
        return {
            "resamples": self._options.resamples,
            **({"holdout_share": self._holdout_share} if holdouts else {}),
            "metrics": {name: {key: repr(value) for key, value in of.items()} for name, of in sorted(options.items())},
        }

    def _finish(self, config: dict[str, Any], table: pa.Table) -> Run:
        summary = summarise(
            table,
            resamples=self._options.resamples,
            seed=self._options.seed,
            planned=self._planned,
            modalities={detector.name: detector.modality.value for detector in self._detectors},
            extra=self._metrics,
            holdout_share=self._holdout_share,
        )
        write_json(self._out / SUMMARY, summary)
        asked = self._asked_of_the_summary()
        described = {detector.name: detector.describe() for detector in self._detectors}
        config = {**config, "state": "complete", "finished": _now(), "summary": asked, "detectors": described}
        write_json(self._out / RUN, config)
        return Run(self._out, config, summary)

    # The computing

    def _parts(self) -> list[_Part]:
        blocks = [(group, rows) for group in self._groups for rows in blocks_of(group.rows, self._options.part_size)]
        folder = self._out / PARTS
        return [
            _Part(folder / f"part-{number:05d}.parquet", group, rows) for number, (group, rows) in enumerate(blocks)
        ]

    def _compute_parts(self) -> dict[Path, pa.Table]:
        """The records of every part, in order: read where they are there, else computed and written."""
        parts = self._parts()
        tables: dict[Path, pa.Table | None] = {part.path: self._stored_part(part) for part in parts}
        missing = [part for part in parts if tables[part.path] is None]
        if len(missing) < len(parts):
            done = sum(len(part.places) for part in parts) - sum(len(part.places) for part in missing)
            self._progress.note(
                f"{done:,} records of {done + sum(len(p.places) for p in missing):,} are there already."
            )
        if missing:
            with self._stage(missing), self._pool() as pool:
                for group in self._groups:
                    todo = [part for part in missing if part.group is group]
                    if todo:
                        tables.update(self._compute_group(group, todo, pool))
            if self._decode_cache is not None:
                self._cache_counts = pool.cache_counts
                self._progress.note(pool.cache_counts.line(self._decode_cache))
        return {path: table for path, table in tables.items() if table is not None}

    def _stored_part(self, part: _Part) -> pa.Table | None:
        if not part.path.exists():
            return None
        keys = [(self._samples[row].sample_id, self._detectors[position].name) for row, position in part.places]
        try:
            table = read_records(part.path)
            if belongs(table, self._run_id, keys):
                return table
        except RunError:
            pass
        self._progress.note(f"{PARTS}/{part.path.name} is damaged and is computed again.")
        return None

    def _compute_group(self, group: Group, parts: Sequence[_Part], pool: DecodePool) -> Iterator[tuple[Path, pa.Table]]:
        """Compute and write parts of one group, whose models are on the device meanwhile."""
        detectors = [placed(self._detectors[p], self._device, self._options.dtype) for p in group.detectors]
        scorers = [
            Scorer(detector, time_limit_ms=self._options.time_limit_ms, seed=self._options.seed)
            for detector in detectors
        ]
        blocks = score_blocks(
            scorers,
            group.preprocessing,
            self._samples,
            [part.rows for part in parts],
            pool,
            batch_size=self._options.batch_size_for(group.preprocessing.modality),
            run_id=self._run_id,
            advance=self._progress.advance,
        )
        for part, records in zip(parts, blocks, strict=True):
            table = table_of(records)
            write_records(part.path, table)
            yield part.path, table
        if self._device != "cpu":
            for detector in detectors:
                detector.to("cpu")

    def _pool(self) -> DecodePool:
        return DecodePool(
            workers=self._options.worker_count,
            timeout=self._options.decode_timeout,
            limits=self._options.limits,
            cache=self._decode_cache,
        )

    @contextmanager
    def _stage(self, parts: Sequence[_Part]) -> Iterator[None]:
        self._progress.start("scoring", sum(len(part.places) for part in parts))
        try:
            yield
        finally:
            self._progress.finish()

    def _tell_unplanned(self) -> None:
        """Say which samples no detector of the run takes, and which detector has none to take."""
        taken = {group.preprocessing.modality for group in self._groups}
        for group in self._groups:
            if not group.rows:
                names = ", ".join(self._detectors[p].name for p in group.detectors)
                modality = group.preprocessing.modality.value
                self._progress.note(f"{names}: left out, since there is no {modality} in this data.")
        others = Counter(s.modality.value for s in self._samples if s.modality is not None and s.modality not in taken)
        if others:
            told = " and ".join(f"{count:,} {name}" for name, count in sorted(others.items()))
            self._progress.note(f"{told} samples are not planned: no detector of this run takes them.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
