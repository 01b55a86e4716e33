"""Evaluate the starter on thin inputs, those of a free plan, against two other models.

A free plan gives 365 daily closes with volume, and hourly points over the last 90 days, from which high and
low are computed. The starter is trained once on the full history before the test days, and its level is
corrected on the thin inputs, as in the product. It is compared with a model that is trained on the thin
inputs and forecasts from them, and with the full model, which is trained on the full history and forecasts
from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import REFERENCE_COINS, market_of
from coincast_modelkit.hourly.candles import HourlyPanel, hours_until
from coincast_modelkit.hourly.day_measures import HoursByDay
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models.base import ForecastModel
from coincast_modelkit.models.level import LevelAdjustable
from coincast_training.evaluation.metrics.significance import skill_interval, skill_percent
from coincast_training.pipeline import losses
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import cut, joined
from coincast_training.pipeline.metrics import coverage_percent, rows
from coincast_training.pipeline.pipeline import READ_HOURS
from coincast_training.starter.build import RECIPES, SEED
from coincast_training.starter.level import measured_level
from coincast_training.trainers.base import WalkForward
from coincast_training.trainers.config import default_folder, read_config
from coincast_training.trainers.params import merged
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.registry import find_fit

CLOSE_DAYS, RANGE_DAYS = 365, 90
MIN_DAYS = 120
# Number of origins between two measurements of the level: a month at the default distance of 8 days.
LEVEL_ORIGINS = 4
DAY = np.timedelta64(1, "D")
# Names of the compared models, in the order of the table.
CORRECTED, STARTER, THIN, FULL = "starter", "starter_uncorrected", "thin", "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinOptions:
    """Options of the comparison.

    Attributes:
        first: First test day.
        last: Last test day.
        models: Models to compare.
        horizons: Days ahead.
        refit_days: Days between retrainings of the thin and the full model.
        every_days: Days between forecasts.
        hours: Hourly candles, for models that read them.
        recipes: Recipe of each starter; None takes the built-in ones.
    """

    first: np.datetime64
    last: np.datetime64
    models: tuple[str, ...] = tuple(RECIPES)
    horizons: tuple[int, ...] = (1, 7, 14, 30)
    refit_days: int = 180
    every_days: int = 8
    hours: HourlyPanel = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] | None = None

    def recipe(self, model: str) -> dict[str, Any]:
        """Return the recipe of the starter of a model."""
        if self.recipes is not None:
            return dict(self.recipes[model])
        return merged(read_config(default_folder(), model), RECIPES[model])


def thin(candles: Candles, day: np.datetime64) -> Candles:
    """Reduce a history to the columns and days that a free plan gives on a day.

    Returns:
        The last 365 closes and volumes up to `day`; high and low of the last 90 days only, no open.
    """
    seen = candles.until(day).tail(CLOSE_DAYS)
    hidden = np.arange(len(seen)) < len(seen) - RANGE_DAYS
    return replace(
        seen,
        open=np.full(len(seen), np.nan),
        high=np.where(hidden, np.nan, seen.high),
        low=np.where(hidden, np.nan, seen.low),
    )


def thin_panel(panel: Panel, day: np.datetime64) -> dict[str, Candles]:
    """Apply `thin` to every coin; leave out coins with fewer than MIN_DAYS days."""
    seen = {coin_id: thin(candles, day) for coin_id, candles in panel.items() if len(candles.until(day))}
    return {coin_id: candles for coin_id, candles in seen.items() if len(candles) >= MIN_DAYS}


def thin_hours(hours: HourlyPanel) -> HourlyPanel:
    """Reduce hourly candles to closes.

    Older hours are kept: the features of a day read only its last 89 days.
    """
    return {coin_id: candles.closes_only() for coin_id, candles in hours.items()}


def evaluate_thin(panel: Panel, options: ThinOptions, progress: Progress) -> dict[str, Any]:
    """Compare each starter with a model trained on thin history, and with the full model.

    Args:
        panel: Full daily histories by coin.
        options: Test days, models and hours.
        progress: Called with the finished fraction and a text.

    Returns:
        For each model and horizon: the number of forecasts; the CRPS skill in percent of the corrected
        starter against the thin and the full model, each with its 95 % bootstrap interval; and the coverage
        of the 80 % interval of each of the compared models.
    """
    found: dict[str, Any] = {
        "inputs": {"close_days": CLOSE_DAYS, "range_days": RANGE_DAYS, "hours": sorted(options.hours)},
        "models": {},
    }
    for number, model in enumerate(options.models):

        def inner(fraction: float, stage: str, at: int = number) -> None:
            progress((at + fraction) / len(options.models), stage)

        found["models"][model] = _compare(_walk(model, panel, options, inner))
    progress(1.0, "compared")
    return found


def _walk(model: str, panel: Panel, options: ThinOptions, progress: Progress) -> dict[str, WalkForward]:
    """Forecast the same coins on the same days with each compared model, from the inputs of that model."""
    store: dict[Any, Any] = {}
    hours = options.hours if model in READ_HOURS else {}
    whole_rows, thin_rows = HoursByDay.of(hours), HoursByDay.of(thin_hours(hours))
    known = options.first - DAY
    progress(0.0, f"training the {model} starter up to {known}")
    starter = _fit(model, cut(panel, None, known), options, hours=hours_until(hours, known), store=store)
    level: dict[int, float] = {}
    walks: dict[str, list[WalkForward]] = {CORRECTED: [], STARTER: [], THIN: [], FULL: []}
    starts = _days(options.first, options.last, options.refit_days)
    done = 0
    for turn, start in enumerate(starts):
        progress((turn + 1) / (len(starts) + 1), f"training {model} on the history up to {start - DAY}")
        fresh = _fit(model, thin_panel(panel, start - DAY), options)
        full = _fit(
            model,
            cut(panel, None, start - DAY),
            options,
            hours=hours_until(hours, start - DAY),
            store=store,
        )
        last = min(start + (options.refit_days - 1) * DAY, options.last)
        for origin in _days(start, last, options.every_days):
            seen = thin_panel(panel, origin)
            if done % LEVEL_ORIGINS == 0 and isinstance(starter, LevelAdjustable):
                recent = hours_until(thin_hours(hours), origin)
                level = measured_level(starter, _data(seen, recent), options.first - DAY)
            done += 1
            corrected = starter.with_level(level) if isinstance(starter, LevelAdjustable) else starter
            models = {CORRECTED: corrected, STARTER: starter, THIN: fresh, FULL: full}
            whole = {c: k for c, k in cut(panel, None, origin).items() if c in seen}
            for name, side in models.items():
                given, table = (whole, whole_rows) if name == FULL else (seen, thin_rows)
                walks[name].append(
                    _forecast(
                        side,
                        given=given,
                        panel=panel,
                        origin=origin,
                        hours=table,
                        horizons=options.horizons,
                    )
                )
    every = {name: joined(parts) for name, parts in walks.items()}
    good = np.all([np.isfinite(part.log_return_quantiles).all(axis=1) for part in every.values()], axis=0)
    return {name: rows(part, good) for name, part in every.items()}


def _days(first: np.datetime64, last: np.datetime64, every: int) -> list[np.datetime64]:
    """Return the days from `first` to `last`, `every` days apart."""
    count = int((last - first).astype(np.int64)) // every + 1
    return [first + each * every * DAY for each in range(count)]


def _data(panel: Panel, hours: HourlyPanel) -> TrainingData:
    return TrainingData(panel, _reference(panel), "folder", hours=hours)


def _reference(panel: Panel) -> Panel:
    return {coin_id: candles for coin_id, candles in panel.items() if coin_id in REFERENCE_COINS}


def _fit(
    model: str,
    panel: Panel,
    options: ThinOptions,
    *,
    hours: HourlyPanel | None = None,
    store: dict[Any, Any] | None = None,
) -> ForecastModel:
    """Fit a model; `store` shares folds of the ensemble between fits on longer cuts of a panel."""
    extra: dict[str, Any] = {"hours": hours} if hours else {}
    if store is not None and model in READ_HOURS:
        extra["store"] = store
    fit: Callable[..., Any] = find_fit(model)
    recipe = options.recipe(model)
    fitted = fit(panel, recipe, SEED, progress=_ignore_progress, reference=_reference(panel), **extra)
    made: ForecastModel = fitted.model
    return made


def _forecast(
    model: ForecastModel,
    *,
    given: Panel,
    panel: Panel,
    origin: np.datetime64,
    hours: HoursByDay,
    horizons: Sequence[int],
) -> WalkForward:
    """Forecast the coins of `given` that have a candle on the origin, with outcomes of the whole `panel`."""
    market = market_of(_reference(given))
    made = []
    for coin_id, candles in sorted(given.items()):
        if candles.dates[-1] == origin:
            prepared = prepare(candles, market, model.spec, hours.row(coin_id, origin))
            made.append(_with_outcomes(model.predict([prepared], horizons), panel[coin_id], horizons))
    return joined(made)


def _with_outcomes(forecasts: Any, candles: Candles, horizons: Sequence[int]) -> WalkForward:
    """Turn the forecasts of one coin into rows with outcomes; leave out horizons without an outcome."""
    origin = np.datetime64(forecasts.as_of[0], "D")
    ahead = int(np.searchsorted(candles.dates, origin)) + np.asarray(horizons)
    known = ahead < len(candles)
    closes = candles.close[np.minimum(ahead, len(candles) - 1)]
    count = int(known.sum())
    return WalkForward(
        coin_ids=np.full(count, candles.coin_id),
        origins=np.full(count, origin),
        horizons=np.asarray(horizons)[known],
        last_prices=np.full(count, forecasts.last_price[0]),
        probabilities=forecasts.probabilities,
        log_return_quantiles=forecasts.log_return_quantiles[0][known],
        actual_log_returns=np.log(closes / forecasts.last_price[0])[known],
    )


def _compare(walks: Mapping[str, WalkForward]) -> dict[str, Any]:
    found = {}
    for horizon in np.unique(walks[CORRECTED].horizons):
        at = {name: rows(side, side.horizons == horizon) for name, side in walks.items()}
        loss = losses.crps(at[CORRECTED])
        one: dict[str, Any] = {"forecasts": len(at[CORRECTED])}
        for name in (THIN, FULL):
            other = losses.crps(at[name])
            one[f"starter_over_{name}_percent"] = skill_percent(loss, other)
            one[f"over_{name}_interval"] = skill_interval(loss, other, at[CORRECTED].origins, int(horizon))
        for name, side in at.items():
            one[f"{name}_coverage_80_percent"] = coverage_percent(side, 80)
        found[str(horizon)] = one
    return found


def table(found: Mapping[str, Any]) -> str:
    """Render the comparison as the Markdown table of the model card."""
    horizons = list(next(iter(found["models"].values())))
    lines = [
        f"| thin inputs | {' | '.join(f'{h} d' for h in horizons)} |",
        "|---" * (len(horizons) + 1) + "|",
    ]

    def over(name: str) -> Callable[[Mapping[str, Any]], str]:
        def cell(one: Mapping[str, Any]) -> str:
            low, high = one[f"over_{name}_interval"]
            return f"{one[f'starter_over_{name}_percent']:.2f} [{low:.2f}, {high:.2f}]"

        return cell

    def covered(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda one: f"{one[f'{name}_coverage_80_percent']:.1f}"

    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "CRPS of the starter against the model trained on thin history, % better": over(THIN),
        "CRPS of the starter against the full model, % better": over(FULL),
        **{
            f"coverage of the 80 % interval of {words}": covered(name)
            for name, words in (
                (CORRECTED, "the starter"),
                (STARTER, "the starter before its level is corrected"),
                (THIN, "the model trained on thin history"),
                (FULL, "the full model"),
            )
        },
        "forecasts": lambda one: str(one["forecasts"]),
    }
    for model, by_horizon in found["models"].items():
        for name, cell in cells.items():
            row = " | ".join(cell(by_horizon[h]) for h in horizons)
            lines.append(f"| `{model}`: {name} | {row} |")
    return "\n".join(lines) + "\n"


def write_report(found: Mapping[str, Any], out: Path) -> None:
    """Write thin_start.json and thin_start.md."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "thin_start.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (out / "thin_start.md").write_text(table(found), encoding="utf-8")


def _ignore_progress(fraction: float, stage: str) -> None:
    """Discard the progress of a fit; the evaluation reports its own."""
