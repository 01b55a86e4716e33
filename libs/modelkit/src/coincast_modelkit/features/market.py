"""Daily series of the market: returns and volatilities of the reference coins, shared by all coins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Candles, Dates, Floats, Panel
from coincast_modelkit.volatility import daily_variance

# Bitcoin is the leader; the others are large coins with the longest histories. Training and serving fetch all
# of them, whichever coin is forecast.
REFERENCE_COINS = (
    "bitcoin",
    "ethereum",
    "binancecoin",
    "ripple",
    "cardano",
    "litecoin",
    "chainlink",
    "solana",
)

MIN_DISPERSION_COINS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Daily market series on one calendar: dates (d,), each series (d,), NaN where no reference coin traded.

    leader_return, leader_log_variance and leader_log_variance_long are bitcoin's. mean_return is the mean of
    the reference coins' returns, dispersion their standard deviation, breadth the share of the coins that
    rose over 30 days. log_variance is the mean over the coins of the log of the 7-day mean variance;
    log_variance_long uses 30 days.
    """

    dates: Dates
    leader_return: Floats
    leader_log_variance: Floats
    leader_log_variance_long: Floats
    mean_return: Floats
    dispersion: Floats
    log_variance: Floats
    log_variance_long: Floats
    breadth: Floats

    @classmethod
    def of(cls, reference: Panel) -> Self:
        """Compute the market from the reference coins of a panel; empty if the panel holds none."""
        panel = {
            c: reference[c].on_every_day() for c in REFERENCE_COINS if c in reference and len(reference[c])
        }
        if not panel:
            return cls(np.array([], dtype="datetime64[D]"), *(np.array([]) for _ in range(8)))
        first = min(c.dates[0] for c in panel.values())
        dates = np.arange(first, max(c.dates[-1] for c in panel.values()) + np.timedelta64(1, "D"))
        table = {
            name: np.stack([_placed(c, f(c), dates) for c in panel.values()]) for name, f in _SERIES.items()
        }
        leader = list(panel).index("bitcoin") if "bitcoin" in panel else None
        absent = np.full(len(dates), np.nan)
        mean = k.column_mean(table["returns"])
        spread = np.sqrt(k.column_mean((table["returns"] - mean) ** 2))
        month = table["month"]
        return cls(
            dates=dates,
            leader_return=absent if leader is None else table["returns"][leader],
            leader_log_variance=absent if leader is None else table["short"][leader],
            leader_log_variance_long=absent if leader is None else table["long"][leader],
            mean_return=mean,
            dispersion=np.where(
                np.isfinite(table["returns"]).sum(axis=0) >= MIN_DISPERSION_COINS, spread, np.nan
            ),
            log_variance=k.column_mean(table["short"]),
            log_variance_long=k.column_mean(table["long"]),
            breadth=k.column_mean(np.where(np.isnan(month), np.nan, month > 0)),
        )

    def on(self, dates: Dates) -> Self:
        """Return the series on a coin's days; NaN on days that the market lacks."""
        at = np.searchsorted(self.dates, dates)
        inside = (
            (at < len(self.dates)) & (dates >= self.dates[0])
            if len(self.dates)
            else np.zeros(len(dates), bool)
        )
        rows = np.where(inside, at, 0)

        def take(x: Floats) -> Floats:
            return np.where(inside, x[rows], np.nan) if len(x) else np.full(len(dates), np.nan)

        names = [f for f in self.__slots__ if f != "dates"]
        return type(self)(dates, *(take(getattr(self, f)) for f in names))


def _returns(candles: Candles) -> Floats:
    return k.difference(np.log(candles.close), 1)


def _log_variance(candles: Candles, window: int) -> Floats:
    return k.log_of(k.rolling_mean(daily_variance(candles), window))


_SERIES: dict[str, Callable[[Candles], Floats]] = {
    "returns": _returns,
    "short": lambda c: _log_variance(c, 7),
    "long": lambda c: _log_variance(c, 30),
    "month": lambda c: k.difference(np.log(c.close), 30),
}


def _placed(candles: Candles, series: Floats, dates: Dates) -> Floats:
    """Return a coin's series on the market's calendar."""
    out = np.full(len(dates), np.nan)
    start = int((candles.dates[0] - dates[0]).astype(int))
    out[start : start + len(series)] = series
    return out


MarketOrPanel = Market | Mapping[str, Candles]


def market_of(reference: MarketOrPanel) -> Market:
    """Return a Market unchanged, or compute that of a panel. Compute it once if you prepare many coins."""
    return reference if isinstance(reference, Market) else Market.of(reference)
