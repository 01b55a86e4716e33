"""Walk the models of the product forward, with the same fit, `prepare` and `predict` as in production."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import REFERENCE_COINS, Market
from coincast_modelkit.hourly.candles import HourlyPanel, hours_until
from coincast_modelkit.hourly.day_measures import HoursByDay
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models import EnsembleModel, ForecastModel, TechnicalModel
from coincast_training.evaluation.options import MIN_HISTORY_DAYS, EvaluationPlan
from coincast_training.evaluation.rows import Rows, join_rows, rows_of_forecasts
from coincast_training.pipeline.odd_coins import without_odd_coins
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.ensemble.rnn_params import switch_mapping
from coincast_training.trainers.params import merged
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.registry import find_fit

# Forecasts of a model that also reads the hours of the day are named after the model plus this suffix.
WITH_HOURS = "_hours"
# Number of days that `prepare` and the models look back; more would only be copied.
TAIL_DAYS = 1200
ONE_DAY = np.timedelta64(1, "D")


def walk_model(
    model: str,
    panel: Panel,
    plan: EvaluationPlan,
    progress: Progress,
    params: Mapping[str, Any] | None = None,
) -> Rows:
    """Return the forecasts of one model on every day of the plan.

    If the plan has hourly candles and the model reads them, the result also has the forecasts with hours,
    named after the model plus WITH_HOURS.

    Args:
        model: Name of the model.
        panel: Candles of the coins to forecast.
        plan: Days, horizons, seed and recipes.
        progress: Called with the finished fraction and a text.
        params: Parameters that replace those of the recipe.

    Raises:
        ValueError: The model could not be fitted on any day.
    """
    # Coins that a training leaves out, since their history is odd, are forecast but not used to fit.
    sound, _ = without_odd_coins(panel)
    settings = {**settings_of(model, plan), **(params or {})}
    return _walk(model, panel, plan, progress, forecast=panel, learnt=sound, settings=settings)


def walk_unseen(
    model: str,
    coin: str,
    panel: Panel,
    plan: EvaluationPlan,
    progress: Progress,
) -> Rows:
    """Return the forecasts of one coin by one model that is fitted on the other coins only.

    Args:
        model: Name of the model.
        coin: Id of the coin to forecast.
        panel: Candles of that coin and of the others.
        plan: Days, horizons, seed and recipes.
        progress: Called with the finished fraction and a text.

    Raises:
        ValueError: The model could not be fitted on any day.
    """
    sound, _ = without_odd_coins(panel)
    others = {other: sound[other] for other in sound if other != coin}
    forecast = {coin: panel[coin]}
    return _walk(
        model, panel, plan, progress, forecast=forecast, learnt=others, settings=settings_of(model, plan)
    )


def _walk(
    model: str,
    panel: Panel,
    plan: EvaluationPlan,
    progress: Progress,
    *,
    forecast: Panel,
    learnt: Panel,
    settings: Mapping[str, Any],
) -> Rows:
    """Return the forecasts of the coins `forecast` by a model that is fitted on the coins `learnt`.

    The features of the market use the whole panel, as serving does for a coin that no training had.
    """
    cuts = plan.cuts()
    market = Market.of({**plan.reference, **panel})
    store: dict[tuple[Any, ...], Any] = {}
    parts: list[Rows] = []
    table = HoursByDay.of(plan.hours)
    for i, cut in enumerate(cuts):

        def inner(fraction: float, stage: str, at: int = i) -> None:
            progress((at + 0.7 * fraction) / len(cuts), f"{model}: {stage}, {cuts[at]}")

        fitted = _fit(
            model,
            panel=known_by(learnt, cut),
            reference=known_by(reference_of(panel, learnt, plan), cut),
            seed=plan.seed,
            progress=inner,
            store=store,
            params=settings,
            hours=hours_until(plan.hours, cut),
        )
        if fitted is None:
            continue
        for day in plan.days_of(cut):
            coins = prepared_on(forecast, market, day, fitted)
            if coins:
                parts.append(rows_of_forecasts(model, fitted.predict(coins, plan.horizons)))
            if coins and isinstance(fitted, EnsembleModel) and fitted.reads_hours:
                seen = [replace(coin, hours=table.row(coin.coin_id, day)) for coin in coins]
                parts.append(rows_of_forecasts(model + WITH_HOURS, fitted.predict(seen, plan.horizons)))
        progress((i + 1) / len(cuts), f"{model}: forecast to {cut}")
    if not parts:
        raise ValueError(f"{model} could not be fitted on any day of the walk")
    return join_rows(parts)


def reference_of(panel: Panel, learnt: Panel, plan: EvaluationPlan) -> Panel:
    """Return the reference coins that count in the market features but are not trained on."""
    others = {coin: panel[coin] for coin in REFERENCE_COINS if coin in panel and coin not in learnt}
    return {**plan.reference, **others}


def settings_of(model: str, plan: EvaluationPlan) -> dict[str, Any]:
    """Return the recipe of a model, adapted to the walk.

    The anchors of the ensemble are fitted independently: if all requested horizons are anchors, only these
    are fitted. The ensemble takes the latest network of the walk, which is up to 240 days old; the product
    fits a network on the last day.
    """
    recipe = dict(plan.recipes.get(model, {}))
    if model != "ml_ensemble":
        return recipe
    if "lstm" in recipe:
        recipe["lstm"] = switch_mapping(recipe["lstm"])
    anchors = EnsembleParams.of(recipe).anchors
    fitted = plan.horizons if set(plan.horizons) <= set(anchors) else anchors
    return merged(recipe, {"anchors": list(fitted), "lstm": {"refit": False}})


def known_by(panel: Panel, day: np.datetime64) -> Panel:
    """Return the panel up to the close of a day, without coins that have no candle by then."""
    cut = {coin: candles.until(day) for coin, candles in panel.items()}
    return {coin: candles for coin, candles in cut.items() if len(candles)}


def prepared_on(panel: Panel, market: Market, day: np.datetime64, model: ForecastModel) -> list[ModelInput]:
    """Return the model inputs of coins with a candle on `day` and MIN_HISTORY_DAYS of history."""
    coins = []
    for candles in panel.values():
        stop = int(np.searchsorted(candles.dates, day, side="right"))
        if stop >= MIN_HISTORY_DAYS and candles.dates[stop - 1] == day:
            coins.append(prepare(candles.rows(max(0, stop - TAIL_DAYS), stop), market, model.spec))
    return coins


def _fit(
    model: str,
    *,
    panel: Panel,
    reference: Panel,
    seed: int,
    progress: Progress,
    store: dict[tuple[Any, ...], Any],
    params: Mapping[str, Any],
    hours: HourlyPanel,
) -> ForecastModel | None:
    """Return the model fitted on a panel; None if the panel is too short for the model."""
    if model == "technical":
        return TechnicalModel()
    fit: Callable[..., Any] = find_fit(model)
    extra: dict[str, Any] = {"store": store}
    if model == "ml_ensemble":
        extra["hours"] = hours
    if reference:
        extra["reference"] = {**reference, **panel}
    try:
        fitted: ForecastModel = fit(panel, params, seed, progress=progress, **extra).model
    except ValueError:
        return None
    return fitted
