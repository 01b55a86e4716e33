"""The input of a forecast: one coin on its last closed day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features import WINDOW_DAYS, FeatureSpec, batch
from coincast_modelkit.features.market import MarketOrPanel
from coincast_modelkit.volatility import daily_variance, trailing_volatility, volatility_regimes

if TYPE_CHECKING:
    from coincast_modelkit.hourly.day_measures import DayRow

# The longest history, in days, that any model uses for its classical scales and residuals.
TAIL_DAYS = 750
# The longest span of trailing volatility.
TRAILING_DAYS = 30


@dataclass(frozen=True, eq=False)
class ModelInput:
    """The input of a forecast of one coin; all models share it, so that its parts are computed once.

    row (F,) holds the features of as_of. window (WINDOW_DAYS, F) holds those of the days up to as_of, with
    rows of NaN before the first candle. candles are the last TAIL_DAYS days without calendar gaps. hours
    holds the features from the hours of as_of; it is None if the hours are unknown, and models then forecast
    without them.
    """

    coin_id: str
    as_of: dt.date
    last_price: float
    row: Floats
    window: Floats
    candles: Candles
    hours: DayRow | None = None

    @cached_property
    def variance(self) -> Floats:
        """Return the daily variance of the candles, (T,)."""
        return daily_variance(self.candles)

    @cached_property
    def regime(self) -> int:
        """Return the volatility regime of as_of."""
        return int(volatility_regimes(self.variance, 1)[0])

    def trailing(self, horizons: Sequence[int]) -> Floats:
        """Return realised daily volatility over the last max(7, h) days, (H,), for h up to TRAILING_DAYS."""
        return np.asarray(self._trailing[np.asarray(horizons) - 1])

    @cached_property
    def _trailing(self) -> Floats:
        return trailing_volatility(self.variance, range(1, TRAILING_DAYS + 1))


def prepare(
    candles: Candles, reference: MarketOrPanel, spec: FeatureSpec, hours: DayRow | None = None
) -> ModelInput:
    """Compute the input of a forecast of one coin.

    Args:
        candles: The coin's days.
        reference: The market, or the candles of the reference coins. Pass a `Market` if you prepare many
            coins, so that it is computed once.
        spec: The features of the model.
        hours: The features from the hours of the candles' last day; None if they are unknown.

    Raises:
        ValueError: There are no candles.
    """
    days = candles.on_every_day().tail(max(TAIL_DAYS, spec.memory_days + WINDOW_DAYS))
    features = batch(days.tail(spec.memory_days + WINDOW_DAYS), reference, spec)
    window = np.full((WINDOW_DAYS, len(spec.names)), np.nan)
    known = features[-WINDOW_DAYS:]
    window[WINDOW_DAYS - len(known) :] = known
    return ModelInput(
        coin_id=candles.coin_id,
        as_of=days.as_of,
        last_price=days.last_price,
        row=window[-1].copy(),
        window=window,
        candles=days.tail(TAIL_DAYS),
        hours=hours,
    )
