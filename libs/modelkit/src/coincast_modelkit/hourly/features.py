"""Terms of the hourly regression: deseasonalised volatility of coin, bitcoin and market over several spans.

Row i depends only on the hours up to i. A span with too many missing hours takes the value of the next longer
known span, or else of the next shorter one, so that a gap or a short history still gives a row. Without the
hours of the last day there is no row, and the caller falls back to daily measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.volatility import FLOOR_HOURLY_VARIANCE, TrailingMeans

SPANS = (1, 3, 6, 12, 24, 72, 168, 720)
REFERENCE_SPANS = (1, 6, 24, 168)
LEVERAGE_SPANS = (1, 6, 24)
LEADER = "bitcoin"
DAY_SPAN = SPANS.index(24)
WEEK_SPAN = SPANS.index(168)
LEVERAGE_CLIP = 5.0
MEMORY_HOURS = max(SPANS)
TERMS = (
    *(f"volatility_{k}h" for k in SPANS),
    *(f"leader_volatility_{k}h" for k in REFERENCE_SPANS),
    *(f"market_volatility_{k}h" for k in REFERENCE_SPANS),
    *(f"leverage_{k}h" for k in LEVERAGE_SPANS),
)


def volatility_spans(deseasonalised: Floats, last: int | None = None) -> Floats:
    """Return half the log of the mean deseasonalised variance over each of SPANS, (n, 8).

    A span with too many missing hours takes the value of a neighbouring span; a row is NaN where the last day
    is unknown.

    Args:
        deseasonalised: Hourly variance divided by the profile of the week, (n,).
        last: Return only this many of the last rows; None returns all.
    """
    means = TrailingMeans(deseasonalised)
    # A difference of cumulative sums may round to less than the minimum variance of an hour.
    floor = FLOOR_HOURLY_VARIANCE / 16
    columns = [0.5 * np.log(np.maximum(means.over(k, last=last), floor)) for k in SPANS]
    day = columns[DAY_SPAN]
    for i in range(len(SPANS) - 2, -1, -1):
        columns[i] = np.where(np.isfinite(columns[i]), columns[i], columns[i + 1])
    for i in range(1, len(SPANS)):
        columns[i] = np.where(np.isfinite(columns[i]), columns[i], columns[i - 1])
    return np.where(np.isfinite(day)[:, None], np.stack(columns, axis=1), np.nan)


def leverage_terms(log_close: Floats, spans: Floats) -> Floats:
    """Return the falls over LEVERAGE_SPANS in units of the last week's volatility, (m, 3); zero for rises.

    Args:
        log_close: Log closes, (n,).
        spans: Log volatility over SPANS of the last m of those hours, (m, 8).
    """
    week = np.exp(spans[:, WEEK_SPAN])
    out = np.zeros((len(spans), len(LEVERAGE_SPANS)))
    for j, k in enumerate(LEVERAGE_SPANS):
        moved = np.concatenate([np.zeros(k), log_close[k:] - log_close[:-k]])[: len(log_close)]
        out[:, j] = np.clip(moved[len(log_close) - len(spans) :] / (week * np.sqrt(k)), -LEVERAGE_CLIP, 0.0)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class CoinTerms:
    """The terms from the coin's own hours: log volatility over SPANS (n, 8) and leverage (n, 3)."""

    spans: Floats
    leverage: Floats

    @classmethod
    def of(cls, deseasonalised: Floats, log_close: Floats, last: int | None = None) -> CoinTerms:
        """Compute the terms from deseasonalised variance and log closes, (n,) each, or only the last rows."""
        spans = volatility_spans(deseasonalised, last)
        return cls(spans, leverage_terms(log_close, spans))


def reference_spans(spans: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Return the log volatility of the leader and the mean of all coins over REFERENCE_SPANS, (n, 4) each.

    Args:
        spans: Log volatility over SPANS of every coin on the same hours, (n, 8), NaN where a coin has no
            hours.
    """
    at = [SPANS.index(k) for k in REFERENCE_SPANS]
    table = np.stack([s[:, at] for s in spans.values()])
    known = np.isfinite(table)
    count = known.sum(axis=0)
    mean = np.where(known, table, 0.0).sum(axis=0) / np.maximum(count, 1)
    market = np.where(count > 0, mean, np.nan)
    leader = spans[LEADER][:, at] if LEADER in spans else np.full_like(market, np.nan)
    return np.where(np.isfinite(leader), leader, market), market


def design(own: CoinTerms, leader: Floats, market: Floats) -> Floats:
    """Return the rows (n, 19) of TERMS; where leader or market is NaN, the coin's own volatility is used."""
    at = [SPANS.index(k) for k in REFERENCE_SPANS]
    self_spans = own.spans[:, at]
    return np.concatenate(
        [
            own.spans,
            np.where(np.isfinite(leader), leader, self_spans),
            np.where(np.isfinite(market), market, self_spans),
            own.leverage,
        ],
        axis=1,
    )
