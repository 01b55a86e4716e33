"""Evaluate the starter on inputs as thin as a free plan's, against a model trained on those inputs.

A free plan gives 365 daily closes with volume, and hourly points over the last 90 days, from which high and
low follow. Both models forecast from the same thin inputs; the starter is trained once, before the test
days.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import REFERENCE_COINS, market_of
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models.base import ForecastModel
from coincast_training.evaluation.metrics.significance import skill_interval, skill_percent
from coincast_training.pipeline import losses
from coincast_training.pipeline.folds import cut, joined
from coincast_training.pipeline.metrics import coverage_percent, rows
from coincast_training.starter.build import RECIPES, SEED
from coincast_training.trainers.base import WalkForward
from coincast_training.trainers.config import default_folder, read_config
from coincast_training.trainers.params import merged
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.registry import find_fit

CLOSE_DAYS, RANGE_DAYS = 365, 90
MIN_DAYS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinOptions:
    """Options of the comparison: test days, days between forecasts and between retrainings."""

    first: np.datetime64
    last: np.datetime64
    models: tuple[str, ...] = tuple(RECIPES)
    horizons: tuple[int, ...] = (1, 7, 14, 30)
    refit_days: int = 180
    every_days: int = 8
    recipes: Mapping[str, Mapping[str, Any]] | None = None

    def recipe(self, model: str) -> dict[str, Any]:
        """Return the recipe that the starter of a model is built with."""
        if self.recipes is not None:
            return dict(self.recipes[model])
        return merged(read_config(default_folder(), model), RECIPES[model])


def thin(candles: Candles, day: np.datetime64) -> Candles:
    """Reduce a history to what a free plan shows on a day.

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
    """Reduce every coin that has enough days on a day."""
    seen = {coin_id: thin(candles, day) for coin_id, candles in panel.items() if len(candles.until(day))}
    return {coin_id: candles for coin_id, candles in seen.items() if len(candles) >= MIN_DAYS}


def evaluate_thin(panel: Panel, options: ThinOptions, progress: Progress) -> dict[str, Any]:
    """Compare each starter with the model of the same kind trained on thin history.

    Args:
        panel: Full daily histories by coin.
        options: Test days and models.
        progress: Called with the progress.

    Returns:
        By model and horizon: the number of forecasts, the CRPS skill of the starter against the thin model in
        percent with its 95 % bootstrap interval, and both coverages of the 80 % interval.
    """
    day = np.timedelta64(1, "D")
    found: dict[str, Any] = {"inputs": {"close_days": CLOSE_DAYS, "range_days": RANGE_DAYS}, "models": {}}
    for number, model in enumerate(options.models):
        known = cut(panel, None, options.first - day)
        progress(number / len(options.models), f"trains the {model} starter up to {options.first - day}")
        starter = _fit(model, known, options)
        pairs = []
        length = int((options.last - options.first).astype(np.int64)) + 1
        starts = [
            options.first + np.timedelta64(offset, "D") for offset in range(0, length, options.refit_days)
        ]
        for turn, start in enumerate(starts):
            share = (number + (turn + 1) / (len(starts) + 1)) / len(options.models)
            progress(share, f"trains {model} on the thin history up to {start - day}")
            fresh = _fit(model, thin_panel(panel, start - day), options)
            end = min(start + np.timedelta64(options.refit_days, "D"), options.last + day)
            origins = np.arange(start, end, np.timedelta64(options.every_days, "D"))
            pairs.append(_forecast_both((starter, fresh), panel, origins, options.horizons))
        found["models"][model] = _compare(*(joined(side) for side in zip(*pairs, strict=True)))
    progress(1.0, "compared")
    return found


def _fit(model: str, panel: Panel, options: ThinOptions) -> ForecastModel:
    reference = {coin_id: candles for coin_id, candles in panel.items() if coin_id in REFERENCE_COINS}
    return find_fit(model)(
        panel, options.recipe(model), SEED, progress=_ignore_progress, reference=reference
    ).model


def _forecast_both(
    models: tuple[ForecastModel, ForecastModel],
    panel: Panel,
    origins: np.ndarray,
    horizons: Sequence[int],
) -> tuple[WalkForward, WalkForward]:
    """Forecast the same coins on the same days from the same thin inputs with both models."""
    made: tuple[list[WalkForward], list[WalkForward]] = ([], [])
    for origin in origins:
        seen = thin_panel(panel, origin)
        market = market_of({c: candles for c, candles in seen.items() if c in REFERENCE_COINS})
        for coin_id, candles in seen.items():
            if candles.dates[-1] == origin:
                for model, side in zip(models, made, strict=True):
                    given = prepare(candles, market, model.spec)
                    side.append(_scored(model.predict([given], horizons), panel[coin_id], horizons))
    first, second = joined(made[0]), joined(made[1])
    both = np.isfinite(first.log_return_quantiles).all(1) & np.isfinite(second.log_return_quantiles).all(1)
    chosen = np.asarray(both, dtype=np.bool_)
    return rows(first, chosen), rows(second, chosen)


def _scored(forecasts: Any, candles: Candles, horizons: Sequence[int]) -> WalkForward:
    """Turn the forecasts of one coin into rows with outcomes; horizons without an outcome are left out."""
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


def _compare(starter: WalkForward, fresh: WalkForward) -> dict[str, Any]:
    found = {}
    for horizon in np.unique(starter.horizons):
        at = starter.horizons == horizon
        a, b = rows(starter, at), rows(fresh, at)
        loss, baseline = losses.crps(a), losses.crps(b)
        found[str(horizon)] = {
            "forecasts": int(at.sum()),
            "starter_over_thin_percent": skill_percent(loss, baseline),
            "interval": skill_interval(loss, baseline, a.origins, int(horizon)),
            "starter_coverage_80_percent": coverage_percent(a, 80),
            "thin_coverage_80_percent": coverage_percent(b, 80),
        }
    return found


def table(found: Mapping[str, Any]) -> str:
    """Render the comparison as the model card's Markdown table."""
    horizons = list(next(iter(found["models"].values())))
    lines = [
        f"| thin inputs | {' | '.join(f'{h} d' for h in horizons)} |",
        "|---" * (len(horizons) + 1) + "|",
    ]
    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "CRPS of the starter against the model trained on thin history, % better": lambda e: (
            f"{e['starter_over_thin_percent']:.2f} [{e['interval'][0]:.2f}, {e['interval'][1]:.2f}]"
        ),
        "coverage of the starter's 80 % interval": lambda e: f"{e['starter_coverage_80_percent']:.1f}",
        "coverage of the thin model's 80 % interval": lambda e: f"{e['thin_coverage_80_percent']:.1f}",
        "forecasts": lambda e: str(e["forecasts"]),
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
