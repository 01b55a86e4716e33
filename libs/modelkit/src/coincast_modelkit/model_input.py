"""One coin on its last closed day, with everything a model needs to forecast it."""

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
from coincast_modelkit.intervals.regimes import volatility_regimes
from coincast_modelkit.volatility import daily_variance, trailing_volatility

if TYPE_CHECKING:
    from coincast_modelkit.hourly.day_measures import DayRow

# As many candles as any model looks back for its classical scales and residuals.
TAIL_DAYS = 750
# The longest span over which a volatility outlook is compared with what was.
TRAILING_DAYS = 30


@dataclass(frozen=True, eq=False)
class ModelInput:
    """The input of a forecast of one coin; what depends on the day alone is computed once for all models.

    row (F,) are the features of as_of, window (WINDOW_DAYS, F) those of the days up to it (NaN rows before
    the first candle), candles the last TAIL_DAYS of them without calendar gaps. hours is what the hours of
    as_of tell; None where they are not known, and a model then does without.
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
        """Realised daily volatility over the last max(7, h) days, (H,), for horizons up to TRAILING_DAYS."""
        return np.asarray(self._trailing[np.asarray(horizons) - 1])

    @cached_property
    def _trailing(self) -> Floats:
        return trailing_volatility(self.variance, range(1, TRAILING_DAYS + 1))


def prepare(
    candles: Candles, reference: MarketOrPanel, spec: FeatureSpec, hours: DayRow | None = None
) -> ModelInput:
    """Prepare one coin.

    Args:
        candles: The coin's days.
        reference: The market, or the candles of the reference coins. Give a `Market` where many coins are
            prepared: it is then computed once.
        spec: The features of the model.
        hours: The row of hours of the candles' last day, where it is known.

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
