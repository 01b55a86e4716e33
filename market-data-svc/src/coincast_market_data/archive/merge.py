"""Merging of candles: which of two candles of one day is stored. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from coincast_market_data.domain import Candle


def merge_candles(kept: Sequence[Candle], new: Iterable[Candle]) -> tuple[list[Candle], int]:
    """Merge new candles into the stored ones.

    Returns the candles in order of days, and how many days are new or richer. A stored day never changes,
    except that a whole candle replaces a bare close and an absent figure is filled in.

    Args:
        kept: Stored candles, in order of days.
        new: New candles, in order of days.
    """
    days: dict[date, Candle] = {candle.day: candle for candle in kept}
    changed: set[date] = set()
    for candle in new:
        before = days.get(candle.day)
        after = candle if before is None else richer(before, candle)
        if after != before:
            days[candle.day] = after
            changed.add(candle.day)
    return [days[day] for day in sorted(days)], len(changed)


def richer(kept: Candle, new: Candle) -> Candle:
    """Return the candle with more figures; the stored one where both have as many."""
    if new.is_whole and not kept.is_whole:
        base, other = new, kept
    else:
        base, other = kept, new
    return Candle(
        base.day,
        base.close,
        open=base.open if base.open is not None or not _fits(other.open, base) else other.open,
        high=base.high,
        low=base.low,
        volume=base.volume if base.volume is not None else other.volume,
        market_cap=base.market_cap if base.market_cap is not None else other.market_cap,
        received_at=kept.received_at,
    )


def _fits(price: float | None, candle: Candle) -> bool:
    """Return whether a price is consistent with the candle's own range."""
    if price is None:
        return False
    return (candle.high is None or price <= candle.high) and (candle.low is None or price >= candle.low)
