"""Daily candles of the last week of many coins, from one call of `coins/markets` with `sparkline=true`.

A sparkline has 168 hourly prices without times. The times are counted back from `last_updated` of the row,
so a close can be wrong by about an hour. On a plan with few calls, these candles supply the market
features of the first minute. They are only held in memory and never stored in the archive.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, Protocol

import structlog
from cachetools import TTLCache

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_market_data import metrics
from coincast_market_data.coingecko.parser import parse_time, price_fault
from coincast_market_data.domain import Candle
from coincast_market_data.history.candle_builder import DAY_SECONDS, ONE_DAY, day_of, midnight
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest
from coincast_market_data.validation.outliers import is_outlier

log = structlog.get_logger(__name__)
HOUR_SECONDS = 3600
MAX_IDS = 250
# For fewer coins no call is made, since fetching their histories costs hardly more.
MIN_COINS_FOR_A_CALL = 3
# A row that was updated longer ago does not show the newest day.
MAX_AGE_SECONDS = 2 * HOUR_SECONDS
# The price nearest to midnight is the close if it is at most this far away. Of hourly prices one is always
# within half an hour.
NEAR_MIDNIGHT_SECONDS = 45 * 60
# High and low are only known if the prices cover at least this many hours of the day.
MIN_HOURS_FOR_RANGE = 20
MIN_CLOSES = 3
# How long a sparkline is held: longer than any first start takes. After a day it would lack the newest close.
HOLD_SECONDS = 6 * 3600.0
MAX_COINS = 2_000
# The shortest time between two calls for one currency, also after a failed one.
PAUSE_SECONDS = 60.0
Key = tuple[str, str]


class SpotPrices(Protocol):
    """Source of spot prices, with which the end of a sparkline is compared."""

    def last_price(self, pair: tuple[str, str]) -> float | None:
        """Return the newest known price of (coin, currency), or None."""
        ...


@dataclass(frozen=True, slots=True)
class Sparkline:
    """Hourly prices, oldest first; `ended_at` is the assumed time of the last one, UNIX seconds."""

    prices: tuple[float, ...]
    ended_at: float


class WeeklySparklines:
    """Fetches and holds sparklines by coin and currency, with at most one call a minute for each currency.

    Args:
        upstream: CoinGecko.
        monotonic: Measures how long sparklines are held.
        spot: The source of spot prices.
    """

    def __init__(self, upstream: Upstream, monotonic: Clock, spot: SpotPrices) -> None:
        self._upstream = upstream
        self._spot = spot
        timer = monotonic.monotonic
        self._found: TTLCache[Key, Sparkline] = TTLCache(MAX_COINS, ttl=HOLD_SECONDS, timer=timer)
        # Currencies with a call within the last minute.
        self._called: TTLCache[str, bool] = TTLCache(MAX_COINS, ttl=PAUSE_SECONDS, timer=timer)
        self._flights: SingleFlight[str, None] = SingleFlight()

    async def fetch(self, coins: Sequence[str], currency: str) -> None:
        """Fetch the sparklines of coins, if at least three are not held yet; a failure is only logged."""
        missing = [coin for coin in coins if (coin, currency) not in self._found][:MAX_IDS]
        if len(missing) < MIN_COINS_FOR_A_CALL or currency in self._called:
            return
        await self._flights.do(currency, lambda: self._call(missing, currency))

    async def _call(self, coins: Sequence[str], currency: str) -> None:
        query = (
            ("vs_currency", currency),
            ("ids", ",".join(coins)),
            ("order", "market_cap_desc"),
            ("page", "1"),
            ("per_page", str(MAX_IDS)),
            ("precision", "full"),
            ("sparkline", "true"),
        )
        try:
            reply = await self._upstream.fetch(
                UpstreamRequest("coins/markets", query, "markets", Priority.HISTORY)
            )
        except CoincastError as error:
            log.warning("sparklines_not_fetched", coins=len(coins), reason=error.message)
            return
        finally:
            self._called[currency] = True
        rows = reply.document if isinstance(reply.document, list) else []
        for row in rows:
            coin = row.get("id") if isinstance(row, dict) else None
            if isinstance(coin, str) and coin in coins:
                found = read_sparkline(row, reply.as_of, self._spot.last_price((coin, currency)))
                if found is None:
                    metrics.QUARANTINED.labels(reason="sparkline").inc()
                else:
                    self._found[coin, currency] = found

    def candles(self, coin: str, currency: str, last: date) -> list[Candle]:
        """Return the candles of the last week up to the day `last`.

        The list is empty if there are fewer than three, or if `last` is missing.
        """
        found = self._found.get((coin, currency))
        candles = build_week(found, last) if found is not None else []
        return candles if len(candles) >= MIN_CLOSES and candles[-1].day == last else []

    async def aclose(self) -> None:
        """Cancel the fetches in flight."""
        await self._flights.aclose()


def read_sparkline(row: Mapping[str, Any], received_at: float, spot: float | None) -> Sparkline | None:
    """Return the sparkline of a row of the market table; None if it is missing, old or implausible.

    One invalid price makes the whole sparkline invalid, since the times follow from the positions.

    Args:
        row: The row.
        received_at: When the reply was made, UNIX seconds.
        spot: The newest known spot price, or None.
    """
    column = row.get("sparkline_in_7d")
    prices = column.get("price") if isinstance(column, dict) else None
    seen = parse_time(row.get("last_updated"))
    ended_at = received_at if seen is None else min(seen, received_at)
    if not isinstance(prices, list) or len(prices) < 2 or received_at - ended_at > MAX_AGE_SECONDS:
        return None
    if any(price_fault(price) for price in prices):
        return None
    figures = tuple(float(price) for price in prices)
    current = row.get("current_price")
    ends = [price for price in (current, spot) if price is not None and not price_fault(price)]
    if any(is_outlier(figures[-1], float(price)) for price in ends):
        return None
    if any(is_outlier(before, after) for before, after in pairwise(figures)):
        return None
    return Sparkline(figures, ended_at)


def build_week(sparkline: Sparkline, last: date) -> list[Candle]:
    """Return a candle for each whole day up to `last`, oldest first.

    The close of a day is the price nearest to the midnight that ends it. The day before the first whole one
    only has a close.

    Args:
        sparkline: The prices of the last week.
        last: The newest closed day.
    """
    prices, count = sparkline.prices, len(sparkline.prices)
    times = [sparkline.ended_at - (count - 1 - place) * HOUR_SECONDS for place in range(count)]
    candles = []
    day = day_of(times[0])
    while day <= last and midnight(day) <= times[-1]:
        start = midnight(day)
        end = start + DAY_SECONDS
        close, opening = _price_near(times, prices, end), _price_near(times, prices, start)
        inside = prices[bisect_left(times, start) : bisect_right(times, end)]
        if close is not None:
            ranged = opening is not None and len(inside) >= MIN_HOURS_FOR_RANGE
            around = [*inside, close, opening if opening is not None else math.nan]
            candles.append(
                Candle(
                    day,
                    close,
                    open=opening,
                    high=max(around) if ranged else None,
                    low=min(around) if ranged else None,
                )
            )
        day += ONE_DAY
    return candles


def _price_near(times: Sequence[float], prices: Sequence[float], moment: float) -> float | None:
    """Return the price nearest to a moment; None if there is none within 45 minutes."""
    places = range(
        bisect_left(times, moment - NEAR_MIDNIGHT_SECONDS),
        bisect_right(times, moment + NEAR_MIDNIGHT_SECONDS),
    )
    place = min(places, key=lambda at: abs(times[at] - moment), default=None)
    return None if place is None else prices[place]
