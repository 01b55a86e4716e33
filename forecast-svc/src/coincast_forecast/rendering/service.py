"""Render predictions as forecasts: columns of prices, intervals, quantiles and volatility, with attributions.

Rendered forecasts are cached. Attributions are computed on request and cached too.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast.domain import (
    Attribution,
    CoinForecast,
    ForecastColumns,
    IntervalColumn,
    QuantileColumn,
    RenderOptions,
    Start,
)
from coincast_forecast.fallback import naive
from coincast_forecast.fallback.executor import Prediction, step_limit_seconds
from coincast_forecast.inference.predictor import PredictionRef
from coincast_modelkit.candles import Candles
from coincast_modelkit.forecasts import Forecasts

YEAR_DAYS = 365


@lru_cache(maxsize=128)
def dates_ahead(day: dt.date, days: int) -> tuple[str, ...]:
    """Return the ISO dates of the `days` days after `day`."""
    return tuple((day + dt.timedelta(days=h)).isoformat() for h in range(1, days + 1))


@lru_cache(maxsize=128)
def output_probabilities(options: RenderOptions) -> tuple[float, ...]:
    """Return the probabilities of the median, both ends of each interval and the quantiles, in this order."""
    ends = [p for level in options.levels_percent for p in (0.5 - level / 200, 0.5 + level / 200)]
    return (0.5, *ends, *options.quantile_probabilities)


def curves(rows: Sequence[PredictionRef], options: RenderOptions) -> list[ForecastColumns]:
    """Return the columns of the first `options.days` horizons of predictions of one version."""
    return columns_of(stack(rows), options)


def columns_of(forecasts: Forecasts, options: RenderOptions) -> list[ForecastColumns]:
    """Return the columns of each coin of a batch at its first `options.days` horizons.

    Raises:
        ValueError: The batch lacks one of these horizons.
    """
    part = first_horizons(forecasts, options.days)
    prices = part.quantile_prices(output_probabilities(options)).transpose(0, 2, 1).tolist()
    rise = part.probability_of_rise().tolist()
    to_year = 100 * math.sqrt(YEAR_DAYS)
    volatility = (part.volatility * to_year).tolist()
    trailing = (part.trailing_volatility * to_year).tolist()
    increase = part.rise_of_volatility.tolist()
    return [
        _curve(
            options,
            prices[i],
            rise=rise[i],
            volatility=volatility[i],
            trailing=trailing[i],
            increase=increase[i],
        )
        for i in range(len(part))
    ]


def stack(rows: Sequence[PredictionRef]) -> Forecasts:
    """Combine predictions of one version, from any batches, into one batch."""
    batch = rows[0].forecasts
    if all(row.forecasts is batch for row in rows):
        return batch.coins([row.index for row in rows])
    return Forecasts(
        coin_ids=tuple(row.prepared.coin_id for row in rows),
        as_of=tuple(row.prepared.as_of for row in rows),
        last_price=np.array([row.forecasts.last_price[row.index] for row in rows]),
        horizons=batch.horizons,
        probabilities=batch.probabilities,
        log_return_quantiles=np.stack([row.forecasts.log_return_quantiles[row.index] for row in rows]),
        volatility=np.stack([row.forecasts.volatility[row.index] for row in rows]),
        trailing_volatility=np.stack([row.forecasts.trailing_volatility[row.index] for row in rows]),
        rise_of_volatility=np.stack([row.forecasts.rise_of_volatility[row.index] for row in rows]),
    )


def first_horizons(forecasts: Forecasts, count: int) -> Forecasts:
    """Return the forecasts at horizons 1 to `count`, in days or in hours like the forecasts.

    Raises:
        ValueError: The forecasts lack one of these horizons.
    """
    if forecasts.horizons[:count] != tuple(range(1, count + 1)):
        raise ValueError(f"forecasts lack a horizon from 1 to {count}")
    return Forecasts(
        coin_ids=forecasts.coin_ids,
        as_of=forecasts.as_of,
        last_price=forecasts.last_price,
        horizons=forecasts.horizons[:count],
        probabilities=forecasts.probabilities,
        log_return_quantiles=forecasts.log_return_quantiles[:, :count],
        volatility=forecasts.volatility[:, :count],
        trailing_volatility=forecasts.trailing_volatility[:, :count],
        rise_of_volatility=forecasts.rise_of_volatility[:, :count],
    )


def ledger_quantiles(row: PredictionRef, probabilities: Sequence[float]) -> np.ndarray:
    """Return one coin's price quantiles at every horizon: (H, len(probabilities))."""
    return np.asarray(row.forecasts.coins([row.index]).quantile_prices(probabilities)[0])


def rehearse() -> None:
    """Render a dummy forecast, so that the first request does not wait for imports."""
    one = Candles.of("rehearsal", np.array(["2000-01-01", "2000-01-02"], dtype="datetime64[D]"), [1.0, 1.0])
    row = PredictionRef(naive.without_features(one), naive.forecast([naive.without_features(one)], (1,)), 0)
    curves([row], RenderOptions(1, (80.0,), ()))


def _curve(
    options: RenderOptions,
    prices: list[list[float]],
    *,
    rise: list[float],
    volatility: list[float],
    trailing: list[float],
    increase: list[float],
) -> ForecastColumns:
    intervals = tuple(
        IntervalColumn(level, tuple(prices[1 + 2 * i]), tuple(prices[2 + 2 * i]))
        for i, level in enumerate(options.levels_percent)
    )
    first = 1 + 2 * len(intervals)
    quantiles = tuple(
        QuantileColumn(p, tuple(prices[first + i])) for i, p in enumerate(options.quantile_probabilities)
    )
    return ForecastColumns(
        prices=tuple(prices[0]),
        intervals=intervals,
        quantiles=quantiles,
        rise_probability=_known(rise),
        volatility_annualised_percent=tuple(volatility),
        trailing_annualised_percent=_known(trailing),
        volatility_rise_probability=_known(increase),
    )


def _known(values: list[float]) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values)


ExplanationKey = tuple[PredictionRef, int, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The attributions of a forecast, or the reason why there are none."""

    attributions: tuple[Attribution, ...] = ()
    reason: str = ""


NO_EXPLANATION = Explanation()


class Explainer:
    """Computes and caches attributions by forecast, horizon and number of features."""

    def __init__(
        self, cache_size: int, limit_seconds: float, remaining_seconds: Callable[[], float | None]
    ) -> None:
        self._cache: Lru[ExplanationKey, Explanation] = Lru(cache_size)
        self._limit_seconds = limit_seconds
        self._remaining_seconds = remaining_seconds

    async def explain(
        self, predictions: Collection[Prediction], days: int, top: int
    ) -> dict[str, Explanation]:
        """Return each coin's attributions at the longest requested day, computed one coin after another.

        Coins that are not reached within the time limit get a reason.
        """
        limit = step_limit_seconds(self._limit_seconds, len(predictions), self._remaining_seconds())
        until = time.monotonic() + limit
        late = Explanation(
            reason=f"not all {len(predictions)} forecasts were explained within {limit:.2g} s: retry"
        )
        found: dict[str, Explanation] = {}
        for prediction in predictions:
            key = (prediction.ref, days, top)
            explanation = self._cache.get(key)
            if explanation is None:
                explanation = await _explain_one(prediction, days, top, until - time.monotonic()) or late
                if not explanation.reason:
                    self._cache.put(key, explanation)
            found[prediction.ref.prepared.coin_id] = explanation
        return found


async def _explain_one(
    prediction: Prediction, days: int, top: int, left_seconds: float
) -> Explanation | None:
    """Return the explanation of one prediction; None if the time limit is exceeded."""
    if prediction.version is None:
        return Explanation(reason=f"{prediction.served_by} has no attributions")
    if left_seconds <= 0:
        return None
    try:
        async with asyncio.timeout(left_seconds):
            found = await prediction.version.predictor.explain(prediction.ref.prepared, days, top)
    except TimeoutError:
        return None
    except Exception as error:  # an explanation is optional: its failure must not fail the forecast
        return Explanation(reason=f"{prediction.served_by} could not be explained ({type(error).__name__})")
    return Explanation(found, "" if found else f"{prediction.served_by} has no attributions")


RenderKey = tuple[PredictionRef, RenderOptions, str, str, str, Explanation, Start]


class ForecastRenderer:
    """Renders forecasts; all coins of one version are rendered together."""

    def __init__(self, cache_size: int) -> None:
        self._cache: Lru[RenderKey, CoinForecast] = Lru(cache_size)

    def render(
        self,
        predictions: Mapping[str, Prediction],
        reasons: Mapping[str, str],
        explanations: Mapping[str, Explanation],
        options: RenderOptions,
    ) -> dict[str, CoinForecast]:
        """Return each coin's forecast.

        Args:
            predictions: Predictions by coin.
            reasons: Why the forecast is degraded, by coin; an empty reason means that it is not.
            explanations: Attributions by coin; coins without an entry have none.
            options: Horizon, interval levels and quantile probabilities.
        """
        forecasts: dict[str, CoinForecast] = {}
        missing: dict[str, list[tuple[str, RenderKey]]] = defaultdict(list)
        for coin, prediction in predictions.items():
            explanation = explanations.get(coin, NO_EXPLANATION)
            key = (
                prediction.ref,
                options,
                prediction.model,
                prediction.variant,
                reasons[coin],
                explanation,
                prediction.start,
            )
            cached = self._cache.get(key)
            if cached is not None:
                forecasts[coin] = cached
            else:
                missing[prediction.server_name].append((coin, key))
        for group in missing.values():
            for coin, key, forecast in _render_group(predictions, group, options):
                self._cache.put(key, forecast)
                forecasts[coin] = forecast
        return forecasts


def _render_group(
    predictions: Mapping[str, Prediction], group: Sequence[tuple[str, RenderKey]], options: RenderOptions
) -> Iterable[tuple[str, RenderKey, CoinForecast]]:
    rendered = curves([key[0] for _, key in group], options)
    for (coin, key), curve in zip(group, rendered, strict=True):
        prediction, reason, explanation = predictions[coin], key[4], key[5]
        model_input = prediction.ref.prepared
        forecast = CoinForecast(
            coin_id=coin,
            vs_currency=prediction.vs_currency,
            day=model_input.as_of,
            last_price=prediction.ref.last_price,
            model=prediction.model,
            version=prediction.version_name,
            served_by=prediction.served_by,
            degraded=bool(reason),
            reason=reason,
            variant=prediction.variant,
            forecast_id=prediction.forecast_id,
            curve=curve,
            record=prediction.version.record if prediction.version is not None else None,
            attributions=explanation.attributions,
            attributions_reason=explanation.reason,
            start=prediction.start,
        )
        yield coin, key, forecast
