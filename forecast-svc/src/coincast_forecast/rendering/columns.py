"""Render distributions as columns of prices: points, intervals, quantiles and volatility. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from coincast_forecast.domain import ForecastColumns, IntervalColumn, QuantileColumn, RenderOptions
from coincast_forecast.fallback import naive
from coincast_forecast.inference.predictor import PredictionRef
from coincast_modelkit.candles import Candles
from coincast_modelkit.forecasts import Forecasts

YEAR_DAYS = 365


@lru_cache(maxsize=128)
def dates_ahead(day: dt.date, days: int) -> tuple[str, ...]:
    """Return the ISO dates whose closes are forecast."""
    return tuple((day + dt.timedelta(days=h)).isoformat() for h in range(1, days + 1))


@lru_cache(maxsize=128)
def output_probabilities(options: RenderOptions) -> tuple[float, ...]:
    """Return the median, both ends of each interval and the requested quantiles, in this order."""
    ends = [p for level in options.levels_percent for p in (0.5 - level / 200, 0.5 + level / 200)]
    return (0.5, *ends, *options.quantile_probabilities)


def curves(rows: Sequence[PredictionRef], options: RenderOptions) -> list[ForecastColumns]:
    """Return the columns of the first `options.days` horizons of predictions of one version."""
    part = first_days(stack(rows), options.days)
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
    """Return predictions from any batches of one version as one batch."""
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


def first_days(forecasts: Forecasts, days: int) -> Forecasts:
    """Return the horizons 1 to `days`. Raises ValueError where the forecasts do not hold them."""
    if forecasts.horizons[:days] != tuple(range(1, days + 1)):
        raise ValueError(f"forecasts hold no {days} whole days")
    return Forecasts(
        coin_ids=forecasts.coin_ids,
        as_of=forecasts.as_of,
        last_price=forecasts.last_price,
        horizons=forecasts.horizons[:days],
        probabilities=forecasts.probabilities,
        log_return_quantiles=forecasts.log_return_quantiles[:, :days],
        volatility=forecasts.volatility[:, :days],
        trailing_volatility=forecasts.trailing_volatility[:, :days],
        rise_of_volatility=forecasts.rise_of_volatility[:, :days],
    )


def ledger_quantiles(row: PredictionRef, probabilities: Sequence[float]) -> np.ndarray:
    """Return one coin's price quantiles at every horizon: (H, len(probabilities))."""
    return np.asarray(row.forecasts.coins([row.index]).quantile_prices(probabilities)[0])


def rehearse() -> None:
    """Draw a forecast of nothing once, so that the first caller does not wait for imports."""
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
