"""A table of forecasts: one row for each coin, origin, horizon and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.forecasts import PROBABILITIES, Forecasts

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n forecasts; all columns are (n,), except `quantiles`.

    A value that a model does not forecast is NaN.

    Attributes:
        coin: Coin of the forecast.
        origin: Day of the last known close.
        horizon: Days ahead.
        model: Name of the model.
        last_price: Close of the origin.
        point: Point forecast, a price.
        quantiles: Log returns at PROBABILITIES, (n, Q).
        variance: Forecast of the realised variance of the log return over the horizon.
        volatility_rise: Probability that the realised volatility is above the trailing one.
        price_rise: Probability that the price rises.
    """

    coin: NDArray[np.str_]
    origin: NDArray[np.datetime64]
    horizon: NDArray[np.int64]
    model: NDArray[np.str_]
    last_price: Floats
    point: Floats
    quantiles: NDArray[np.float32]
    variance: Floats
    volatility_rise: Floats
    price_rise: Floats

    def __len__(self) -> int:
        return len(self.coin)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return the chosen rows."""
        return type(self)(*(getattr(self, f.name)[chosen] for f in fields(self)))


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Concatenate rows.

    Raises:
        ValueError: There are no parts.
    """
    if not parts:
        raise ValueError("no forecasts were made")
    return Rows(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)))


def rows_of_forecasts(model: str, made: Forecasts) -> Rows:
    """Turn the forecasts of a product model into rows; leave out coins without a usable forecast."""
    good = np.flatnonzero(made.usable())
    made = made.coins(list(good))
    n, h = len(made), len(made.horizons)
    days = np.asarray(made.horizons, dtype=np.float64)

    def by_coin(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.repeat(values, h)

    price_rise = made.probability_of_rise()
    return Rows(
        coin=np.repeat(np.array(made.coin_ids, dtype=np.str_), h),
        origin=np.repeat(np.array(made.as_of, dtype="datetime64[D]"), h),
        horizon=np.tile(np.asarray(made.horizons, dtype=np.int64), n),
        model=np.full(n * h, model),
        last_price=np.repeat(made.last_price, h),
        point=made.median_prices().reshape(-1),
        quantiles=made.log_return_quantiles.reshape(n * h, -1).astype(np.float32),
        variance=(made.volatility**2 * days).reshape(-1),
        volatility_rise=made.rise_of_volatility.reshape(-1),
        price_rise=price_rise.reshape(-1),
    )


def point_rows(
    model: str,
    coin: str,
    *,
    origin: NDArray[np.datetime64],
    horizon: int,
    last_price: Floats,
    point: Floats,
    quantiles: Floats | None = None,
    variance: Floats | None = None,
    volatility_rise: Floats | None = None,
) -> Rows:
    """Build the rows of one coin at one horizon, of a baseline or a reference model.

    Arrays are (n,), `quantiles` is (n, Q); an absent one becomes NaN. See `Rows` for their meaning.
    """
    n, absent = len(origin), np.full(len(origin), np.nan)
    table = np.full((n, len(PROBABILITIES)), np.nan) if quantiles is None else quantiles
    return Rows(
        coin=np.full(n, coin),
        origin=origin.astype("datetime64[D]"),
        horizon=np.full(n, horizon, dtype=np.int64),
        model=np.full(n, model),
        last_price=last_price,
        point=point,
        quantiles=table.astype(np.float32),
        variance=absent if variance is None else variance,
        volatility_rise=absent if volatility_rise is None else volatility_rise,
        price_rise=np.full(n, np.nan),
    )
