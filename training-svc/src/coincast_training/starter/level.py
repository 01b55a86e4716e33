"""Correct the level of a starter version, on days of the user after the training of the starter.

The outcomes of these days show whether the intervals of the starter are too wide or too narrow. The corrected
starter is a new version with the starter as its parent. It replaces the starter until a version that is
trained on the data of the user is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.error_text import without_path
from coincast_modelkit.artifact import (
    GOLDEN,
    SCENARIOS,
    ArtifactError,
    golden_bytes,
    read_artifact,
    version_folder,
    write_artifact,
)
from coincast_modelkit.artifact.golden import golden_inputs
from coincast_modelkit.artifact.read import verified_files
from coincast_modelkit.candles import Floats, Panel
from coincast_modelkit.features import market_of
from coincast_modelkit.forecasts import expected_sizes
from coincast_modelkit.hourly.day_measures import HoursByDay
from coincast_modelkit.models.level import LevelAdjustable, level_of
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import forecast_days, prepared_on
from coincast_training.registry.registry import Registry
from coincast_training.starter.install import is_starter

log = structlog.get_logger(__name__)
DAY = np.timedelta64(1, "D")
# The first days of a coin have few features, so their widths are not comparable with later ones.
WARM_UP_DAYS = 90
# With fewer coins the level would be that of these coins and not of the market. A job on one coin must not
# change the level of all coins.
MIN_COINS = 3
# With fewer days the level of the years of the training is the better estimate.
MIN_DAYS = 120
# Number of last days on which forecasts from closes only are compared with the served forecasts.
SERVED_DAYS = 40
# With a smaller change of the level no version is written, since the change may be noise.
LEAST_CHANGE = float(np.log(1.02))
LEVEL = "level"


def measured_level(model: LevelAdjustable, data: TrainingData, learnt_to: np.datetime64) -> dict[int, float]:
    """Measure the level of a model on the days after its training.

    A free plan only gives highs, lows and hours of the last months. Forecasts of older days would have other
    inputs than served forecasts, and therefore other widths. So all days are forecast from closes only. The
    last SERVED_DAYS are also forecast from all inputs, and the mean difference of both widths corrects the
    level.

    Args:
        model: The model; its current level has no effect.
        data: Candles of the coins and of the reference coins, and their hours.
        learnt_to: The last day that the model was trained on.

    Returns:
        The log factor of each anchor horizon; empty with fewer than MIN_COINS coins or MIN_DAYS days.
    """
    first = max(learnt_to + DAY, min(c.dates[0] for c in data.panel.values()) + WARM_UP_DAYS * DAY)
    last = max(c.dates[-1] for c in data.panel.values())
    if len(data.panel) < MIN_COINS or int((last - first) / DAY) + 1 < MIN_DAYS:
        return {}
    model = model.with_level({})
    bare = replace(data, panel=_closes(data.panel), reference=_closes(data.reference))
    found = forecast_days(model, bare, first, last, model.level_anchors)
    recent = last - SERVED_DAYS * DAY
    hours = HoursByDay.of(data.hours) if data.hours else None
    of_closes, served = _log_widths(model, bare, recent, None), _log_widths(model, data, recent, hours)
    narrower = np.nanmean(of_closes - served, axis=0)
    level = {}
    for horizon, moved in zip(model.level_anchors, narrower, strict=True):
        at = found.horizons == horizon
        level[horizon] = level_of(
            expected_sizes(found.log_return_quantiles[at]) * np.exp(-moved),
            np.abs(found.actual_log_returns[at]),
            horizon=horizon,
            days=len(np.unique(found.origins[at])),
        )
    return level


def _closes(panel: Panel) -> Panel:
    """Return the panel without opens, highs and lows."""
    nothing = {c: np.full(len(candles), np.nan) for c, candles in panel.items()}
    return {
        coin_id: replace(candles, open=nothing[coin_id], high=nothing[coin_id], low=nothing[coin_id])
        for coin_id, candles in panel.items()
    }


def _log_widths(
    model: LevelAdjustable, data: TrainingData, first: np.datetime64, hours: HoursByDay | None
) -> Floats:
    """Return the logs of the expected absolute returns of forecasts from `first` on, (n, A), coin by coin."""
    market, parts = market_of(data.reference), []
    for coin_id, candles in sorted(data.panel.items()):
        days = candles.on_every_day()
        prepared = prepared_on(days, market, model.spec, first, days.dates[-1])
        if hours is not None:
            prepared = [replace(p, hours=hours.row(coin_id, np.datetime64(p.as_of, "D"))) for p in prepared]
        if prepared:
            parts.append(expected_sizes(model.predict(prepared, model.level_anchors).log_return_quantiles))
    return np.log(np.concatenate(parts))


def correct_starter(registry: Registry, model: str, data: TrainingData, *, created_at: float) -> str:
    """Write and promote a corrected version of the starter in production.

    Args:
        registry: Registry with the starter.
        model: Name of the model.
        data: The history to measure on.
        created_at: Time of the version, in UNIX seconds.

    Returns:
        The new version. It is empty if production is not a starter, if there are too few coins or days, or if
        the level would hardly change.

    Raises:
        CoincastError: Production was changed in the meantime.
    """
    table = registry.table(model)
    if not table.production:
        return ""
    try:
        manifest, _ = registry.versions.manifest(model, table.production)
        if not is_starter(manifest):
            return ""
        loaded = read_artifact(
            registry.root,
            model,
            table.production,
            key=registry.key,
            require_signature=registry.require_signature,
        )
    except (ArtifactError, CoincastError) as error:
        log.warning("starter_not_corrected", model=model, reason=without_path(error))
        return ""
    if not isinstance(loaded.model, LevelAdjustable):
        return ""
    level = measured_level(loaded.model, data, np.datetime64(manifest.data.to_date, "D"))
    if not _differs(level, loaded.model.level):
        return ""
    corrected = loaded.model.with_level(level)
    notes = {
        "log_factors": {str(horizon): round(shift, 6) for horizon, shift in corrected.level.items()},
        "coins": sorted(data.panel),
        "days_after": manifest.data.to_date,
        "to_date": str(max(c.dates[-1] for c in data.panel.values())),
    }
    new = replace(
        manifest,
        version="",
        files={},
        created_at=created_at,
        golden=GOLDEN,
        parent=manifest.version,
        metrics={**manifest.metrics, LEVEL: notes},
    )
    files = verified_files(version_folder(registry.root, model, table.production), manifest)
    prepared, _ = golden_inputs(files[manifest.golden])

    def save(folder: Path) -> None:
        corrected.save(folder)
        (folder / GOLDEN).write_bytes(golden_bytes(corrected, prepared))
        if SCENARIOS in files:
            (folder / SCENARIOS).write_bytes(files[SCENARIOS])

    version = write_artifact(registry.root, new, save, key=registry.key)
    registry.promote(
        model,
        version,
        expected_revision=table.revision,
        force=True,
        reason=f"The starter {table.production} with its widths corrected: {sentence(level)}",
        requested_by="starter",
    )
    log.info("starter_corrected", model=model, version=version, level=level)
    return version


def sentence(level: Mapping[int, float]) -> str:
    """Describe the effect of a level on the widths, like "1 day +3 %, 7 days -8 %."."""
    parts = (
        f"{h} {'day' if h == 1 else 'days'} {100 * np.expm1(x):+.0f} %" for h, x in sorted(level.items())
    )
    return ", ".join(parts) + "."


def _differs(level: Mapping[int, float], current: Mapping[int, float]) -> bool:
    return any(abs(shift - current.get(horizon, 0.0)) >= LEAST_CHANGE for horizon, shift in level.items())
