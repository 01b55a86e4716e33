"""Train the hourly model: fit it, measure it out of sample, write a version, apply the promotion gate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Conflict, InvalidInput, NotReady
from coincast_modelkit.artifact import (
    GOLDEN,
    HorizonRecord,
    Manifest,
    Record,
    sweep_temporary,
    write_artifact,
)
from coincast_modelkit.artifact.hourly import FEATURES_HASH, hourly_data_window, hourly_golden_bytes
from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.hourly.candles import CLOSES, HOURS_A_DAY, RANGES, HourlyCandles, HourlyPanel
from coincast_modelkit.hourly.features import TERMS
from coincast_modelkit.hourly.model import ANCHORS, LEVELS, IntradayModel
from coincast_modelkit.intervals import symmetric_quantiles
from coincast_training.domain import Outcome, TrainingSpec
from coincast_training.hourly.baselines import GAUSSIAN_SIZES, gaussian_log_scales
from coincast_training.hourly.dataset import HourlyTable, build_table
from coincast_training.hourly.folder_loader import read_hourly_folder
from coincast_training.hourly.scores import crps
from coincast_training.hourly.walk import (
    MEMORY_DAYS,
    MIN_DAYS,
    REFIT_DAYS,
    Walk,
    calibrate_now,
    scored_rows,
)
from coincast_training.pipeline.artifact import library_versions
from coincast_training.pipeline.code_version import code_version
from coincast_training.pipeline.lock import model_lock
from coincast_training.pipeline.metrics import coverage_error
from coincast_training.pipeline.odd_coins import without_odd_hours
from coincast_training.ports import HourlyHistory, HourlyHistorySource
from coincast_training.registry.registry import Registry
from coincast_training.registry.walk_forward_file import save_walk_forward
from coincast_training.trainers.base import WalkForward
from coincast_training.trainers.progress import Progress, fetch_reported

MODEL = IntradayModel.name
GOLDEN_COINS = 3


@dataclass(frozen=True, slots=True)
class FolderHistory:
    """A source of hourly candles that reads a folder of Parquet files, one for each coin."""

    folder: Path

    async def fetch_hourly(self, ids: Sequence[str], days: int) -> HourlyHistory:
        """Read the files of the coins; see HourlyHistorySource."""
        panel = await asyncio.to_thread(lambda: read_hourly_folder(self.folder).panel)
        chosen = {c: panel[c].tail(days * HOURS_A_DAY) if days else panel[c] for c in ids if c in panel}
        missing = {c: f"{self.folder} has no {c}.parquet" for c in ids if c not in panel}
        return HourlyHistory(chosen, "folder", missing)


@dataclass(frozen=True, slots=True)
class FittedIntraday:
    """The hourly model fitted on all hours, with its walk-forward forecasts and their record."""

    model: IntradayModel
    walk_forward: WalkForward
    record: Record
    parameters: Mapping[str, Any]


def fit_intraday(panel: HourlyPanel, *, measured_at: float, progress: Progress) -> FittedIntraday:
    """Fit the hourly model, one regression on ranges and one on closes, on every hour of the panel.

    Args:
        panel: Hourly candles of each coin.
        measured_at: Time of the record, in UNIX seconds.
        progress: Called with the finished fraction and the stage.

    Raises:
        ValueError: No coin has MIN_DAYS of hours, or too few hours have an outcome.
    """
    if max((len(c) for c in panel.values()), default=0) < MIN_DAYS * HOURS_A_DAY:
        raise ValueError(f"no coin has {MIN_DAYS} days of hourly candles")
    progress(0.0, "building the hourly table")
    table = build_table(panel)
    progress(0.2, "walking the regression on ranges forward")
    ranges, walk = calibrate_now(table)
    progress(0.5, "walking the regression on closes forward")
    closes, _ = calibrate_now(build_table(panel, closes_only=True))
    progress(0.9, "measuring the walk-forward forecasts")
    model = IntradayModel(
        {RANGES: ranges, CLOSES: closes}, panel_profile=table.panel_profile, profiles=table.profiles
    )
    return FittedIntraday(
        model=model,
        walk_forward=midnight_forecasts(table, walk),
        record=measure_hours(table, walk, measured_at=measured_at),
        parameters={"refit_days": REFIT_DAYS, "memory_days": MEMORY_DAYS, "anchors_hours": list(ANCHORS)},
    )


def measure_hours(table: HourlyTable, walk: Walk, *, measured_at: float) -> Record:
    """Return the record of the walk at every anchor, against the 7-day Gaussian.

    Coverage counts all origins; the CRPS uses every sixth hour.
    """
    gaussian = gaussian_log_scales(table.step_returns)
    horizons, days = [], []
    for j, h in enumerate(ANCHORS):
        parts = [scored_rows(table, walk, fold, j) for fold in walk.folds]
        coin, row, scale, sizes = (np.concatenate(p) for p in zip(*parts, strict=True))
        known = np.isfinite(gaussian[coin, row, j])
        coin, row, scale, sizes = coin[known], row[known], scale[known], sizes[known]
        # The CRPS of every sixth hour is nearly the same, and takes a sixth of the time.
        some = table.origin_hours[row] % 6 == 0
        returns = table.returns[coin, row, j]
        own = crps(returns[some], scale[some], sizes[some])
        base = crps(returns[some], np.exp(gaussian[coin[some], row[some], j]), GAUSSIAN_SIZES)
        miss = float(np.mean(np.abs(np.expm1(-returns)))) * 100
        days.append(table.closes_at[row])
        inside = np.abs(returns) <= scale * sizes[:, int(np.argmin(np.abs(LEVELS - 0.8)))]
        standard_error, independent = coverage_error(inside, table.closes_at[row].astype(np.int64) // h)
        horizons.append(
            HorizonRecord(
                horizon_days=0,
                horizon_hours=h,
                forecasts=len(row),
                mape_percent=miss,
                random_walk_mape_percent=miss,
                skill_percent=0.0,
                crps_skill_percent=100 * (1 - float(own.mean() / base.mean())),
                coverage_80_percent=_coverage(returns, scale, sizes, 0.8),
                coverage_95_percent=_coverage(returns, scale, sizes, 0.95),
                coverage_80_standard_error=standard_error,
                independent_periods=independent,
            )
        )
    every = np.concatenate(days).astype("datetime64[D]")
    return Record(
        measured_at=measured_at,
        test_coins=tuple(sorted(table.coins)),
        test_from=str(every.min()),
        test_to=str(every.max()),
        horizons=tuple(horizons),
    )


def _coverage(returns: Floats, scale: Floats, sizes: Floats, level: float) -> float:
    at = int(np.argmin(np.abs(LEVELS - level)))
    return float(100 * np.mean(np.abs(returns) <= scale * sizes[:, at]))


def midnight_forecasts(table: HourlyTable, walk: Walk) -> WalkForward:
    """Return the forecasts that the walk made at midnight, with horizons in hours.

    They serve to compare versions. Versions are compared by coin, day and horizon, so one origin a day is
    kept.
    """
    parts = []
    for j, h in enumerate(ANCHORS):
        for fold in walk.folds:
            coin, row, scale, sizes = scored_rows(table, walk, fold, j)
            kept = table.origin_hours[row] == 0
            parts.append(
                (coin[kept], row[kept], scale[kept, None] * sizes[kept], np.full(int(kept.sum()), h), j)
            )
    coin, row = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    anchor = np.concatenate([np.full(len(p[0]), p[4]) for p in parts])
    return WalkForward(
        coin_ids=np.array(table.coins)[coin],
        origins=table.closes_at[row].astype("datetime64[D]"),
        horizons=np.concatenate([p[3] for p in parts]).astype(np.int64),
        last_prices=np.exp(table.log_close[coin, row]),
        probabilities=PROBABILITIES,
        log_return_quantiles=symmetric_quantiles(np.concatenate([p[2] for p in parts])),
        actual_log_returns=table.returns[coin, row, anchor],
    )


def write_intraday(
    registry: Registry,
    fitted: FittedIntraday,
    panel: HourlyPanel,
    *,
    source: str,
    created_at: float,
    golden_coins: Sequence[HourlyCandles] | None = None,
    notes: Mapping[str, Any] | None = None,
    with_forecasts: bool = True,
) -> str:
    """Write a fitted model as the next version and return its name.

    Args:
        registry: Registry that gets the version.
        fitted: The model and its record.
        panel: Candles that the model was fitted on.
        source: Name of the source of the candles.
        created_at: Time of the version, in UNIX seconds.
        golden_coins: Inputs of the golden forecasts; by default the coins with the longest histories.
        notes: Added to the manifest's metrics.
        with_forecasts: Whether the walk-forward forecasts are written as well.
    """
    longest = sorted(panel, key=lambda coin: (-len(panel[coin]), coin))[:GOLDEN_COINS]
    golden = hourly_golden_bytes(fitted.model, golden_coins or [panel[coin] for coin in longest])
    manifest = Manifest(
        model=MODEL,
        created_at=created_at,
        feature_names=TERMS,
        feature_spec_hash=FEATURES_HASH,
        data=hourly_data_window(panel),
        coins=tuple(sorted(panel)),
        seeds=(),
        library_versions=library_versions(),
        code_version=code_version(),
        parameters=dict(fitted.parameters),
        record=fitted.record,
        metrics={"source": source, "interval": "1h", **(notes or {})},
        golden=GOLDEN,
    )

    def save(folder: Path) -> None:
        fitted.model.save(folder)
        if with_forecasts:
            save_walk_forward(fitted.walk_forward, folder)
        (folder / GOLDEN).write_bytes(golden)

    return write_artifact(registry.root, manifest, save, key=registry.key)


@dataclass(frozen=True, slots=True)
class IntradayPipeline:
    """Run trainings of the hourly model, as `Pipeline` does for the daily models."""

    history: HourlyHistorySource
    registry: Registry
    clock: Clock
    keep_versions: int = 0

    async def run(self, spec: TrainingSpec, *, requested_by: str, run_id: str, progress: Progress) -> Outcome:
        """Train, write a version, and promote it if requested and allowed.

        Raises:
            CoincastError: The history is too short, the disk cannot be written, or the spec has an option
                that the hourly model does not support.
        """
        if spec.from_version or spec.tune_trials:
            wrong = "from_version" if spec.from_version else "tune_trials"
            raise InvalidInput(
                f"{wrong} must be left out for {MODEL}, which has no parameters to tune.", field=wrong
            )
        progress(0.0, f"fetching the hours of {len(spec.ids)} coins")
        async with fetch_reported(self.history, progress):
            history = await self.history.fetch_hourly(spec.ids, spec.days)
        if not history.panel:
            reasons = "; ".join(f"{c}: {why}" for c, why in list(history.problems.items())[:5])
            raise NotReady(f"No coin has hourly candles: {reasons or 'none were found'}.", field="ids")

        def report(fraction: float, stage: str) -> None:
            progress(0.08 + 0.84 * fraction, stage)

        def work() -> str:
            panel, odd = without_odd_hours(history.panel)
            with model_lock(self.registry.root, MODEL), threadpool_limits(limits=1):
                fitted = fit_intraday(panel, measured_at=self.clock.now(), progress=report)
                sweep_temporary(self.registry.root, MODEL)
                return write_intraday(
                    self.registry,
                    fitted,
                    panel,
                    source=history.source,
                    created_at=self.clock.now(),
                    notes={"run_id": run_id, "left_out": {**history.problems, **odd}},
                )

        try:
            version = await asyncio.to_thread(work)
        except ValueError as error:
            raise NotReady(f"{MODEL} cannot be trained on this history: {error}.") from error
        except OSError as error:
            raise NotReady(f"The version could not be written: {error.strerror or error}.") from error
        progress(0.98, f"wrote {MODEL} {version}")
        promotion, promoted = await asyncio.to_thread(self._promote, spec, version, requested_by)
        if self.keep_versions:
            await asyncio.to_thread(
                lambda: self.registry.clean(MODEL, keep=self.keep_versions, requested_by=requested_by)
            )
        progress(1.0, promotion)
        return Outcome(version=version, promoted=promoted, promotion=promotion)

    def _promote(self, spec: TrainingSpec, version: str, requested_by: str) -> tuple[str, bool]:
        if not spec.promote_if_better:
            return "Production was not changed: the job did not request a promotion.", False
        try:
            moved = self.registry.promote_if_better(MODEL, version, requested_by=requested_by)
        except (Conflict, NotReady) as error:
            return f"Production was not changed: {error.message}", False
        except CoincastError as error:
            return f"Production could not be changed: {error.message}", False
        return f"Production is now {version}. {moved.verdict}", True
