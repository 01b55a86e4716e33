"""One coin on its last closed day, with everything a model needs to forecast it."""

import datetime as dt
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features import WINDOW_DAYS, FeatureSpec, batch
from coincast_modelkit.features.market import MarketOrPanel

# As many candles as any model looks back for its classical scales and residuals.
TAIL_DAYS = 750


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A coin ready to be forecast.

    row (F,) are the features of as_of, window (WINDOW_DAYS, F) those of the days up to it (NaN rows before
    the first candle), candles the last TAIL_DAYS of them without calendar gaps.
    """

    coin_id: str
    as_of: dt.date
    last_price: float
    row: Floats
    window: Floats
    candles: Candles


def prepare(candles: Candles, reference: MarketOrPanel, spec: FeatureSpec) -> Prepared:
    """Prepare one coin. Raises ValueError where there are no candles.

    Give a `Market` as the reference where many coins are prepared: it is then computed once.
    """
    days = candles.on_every_day().tail(max(TAIL_DAYS, spec.memory_days + WINDOW_DAYS))
    features = batch(days.tail(spec.memory_days + WINDOW_DAYS), reference, spec)
    window = np.full((WINDOW_DAYS, len(spec.names)), np.nan)
    known = features[-WINDOW_DAYS:]
    window[WINDOW_DAYS - len(known) :] = known
    return Prepared(
        candles.coin_id, days.as_of, days.last_price, window[-1].copy(), window, days.tail(TAIL_DAYS)
    )
