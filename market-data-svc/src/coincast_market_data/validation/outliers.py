"""Detect outliers, and reject them until further fetches confirm them."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache

from coincast_market_data.coingecko.parser import Pair

JUMP_FACTOR = 10.0
# A price older than this is no reference for the current one.
MEMORY_SECONDS = 6 * 3600.0
AGREEMENT_FACTOR = 2.0
CONFIRMED_AFTER_SECONDS = 120.0
# The factor by which a spot price may differ, by the age of the last good one: (age in seconds, factor),
# youngest first.
SPOT_FACTORS = ((3600.0, 2.0), (2 * 86_400.0, 4.0))
# A spot price that moved less than tenfold needs only a second fetch. It must be later than CoinGecko's
# caches repeat a reply, and agree more closely than two fetches of a tenfold move.
SECOND_LOOK_SECONDS = 20.0
SECOND_LOOK_FACTOR = 1.25


def is_outlier(a: float, b: float) -> bool:
    """Return whether two figures are tenfold apart."""
    return ratio(a, b) >= JUMP_FACTOR


def ratio(a: float, b: float) -> float:
    """Return how many times the larger of two positive figures is the smaller one."""
    return max(a / b, b / a)


def spot_factor(age_seconds: float) -> float:
    """Return by which factor a spot price may differ from a good one of this age without a second look."""
    return next((factor for oldest, factor in SPOT_FACTORS if age_seconds <= oldest), JUMP_FACTOR)


class ConfirmationTracker:
    """Track figures that wait for confirmation; bounded, the newest stay."""

    def __init__(self, *, max_entries: int = 50_000) -> None:
        self._seen: LRUCache[Pair, tuple[float, float]] = LRUCache(max_entries)

    def confirmed(
        self,
        pair: Pair,
        figure: float,
        now: float,
        *,
        after_seconds: float = CONFIRMED_AFTER_SECONDS,
        agreement: float = AGREEMENT_FACTOR,
    ) -> bool:
        """Return whether fetches have agreed for long enough; otherwise store the figure.

        Args:
            pair: What the figure is of.
            figure: The figure, positive.
            now: Seconds on a clock that never goes back.
            after_seconds: Minimum time between the first and the confirming fetch.
            agreement: Maximum factor between two figures that agree.
        """
        first, since = self._seen.pop(pair, (figure, now))
        if ratio(figure, first) > agreement:
            first, since = figure, now
        if now - since >= after_seconds:
            return True
        self._seen[pair] = (first, since)
        return False

    def forget(self, pair: Pair) -> None:
        """Drop a figure that later fetches contradicted."""
        self._seen.pop(pair, None)


@dataclass(frozen=True, slots=True)
class LastGood:
    """The last accepted figure, when it was seen, and until when others are compared with it."""

    figure: float
    seen_at: float
    until: float


class OutlierDetector:
    """Reject figures far off the last good one until further fetches confirm them.

    A tenfold move needs two minutes of fetches that agree. A smaller move of a spot price that is still
    implausible for the age of the last good one needs one more fetch. All times are seconds on a clock that
    never goes back.
    """

    def __init__(self, *, max_entries: int = 50_000) -> None:
        self._last: LRUCache[Pair, LastGood] = LRUCache(max_entries)
        self._suspects = ConfirmationTracker(max_entries=max_entries)

    def plausible(self, pair: Pair, price: float, now: float, *, spot: bool = False) -> bool:
        """Return whether a figure may be served, and store it for later checks.

        Args:
            pair: What the figure is of.
            price: The figure, positive.
            now: Seconds on a clock that never goes back.
            spot: Whether it is a spot price, for which a smaller move already needs confirmation.
        """
        before = self._last.get(pair)
        if before is not None and now < before.until:
            move = ratio(price, before.figure)
            allowed = spot_factor(now - before.seen_at) if spot else JUMP_FACTOR
            if move >= allowed and not self._confirmed(pair, price, now, tenfold=move >= JUMP_FACTOR):
                return False
        self.accept(pair, price, now)
        return True

    def _confirmed(self, pair: Pair, price: float, now: float, *, tenfold: bool) -> bool:
        if tenfold:
            return self._suspects.confirmed(pair, price, now)
        return self._suspects.confirmed(
            pair, price, now, after_seconds=SECOND_LOOK_SECONDS, agreement=SECOND_LOOK_FACTOR
        )

    def last_good(self, pair: Pair, now: float) -> float | None:
        """Return the figure with which others are compared, or None."""
        found = self._last.get(pair)
        return found.figure if found is not None and now < found.until else None

    def accept(self, pair: Pair, price: float, now: float) -> None:
        """Accept a figure, and drop the one that waits for confirmation."""
        self._suspects.forget(pair)
        self.seed(pair, price, seen_at=now, until=now + MEMORY_SECONDS)

    def seed(self, pair: Pair, price: float, *, seen_at: float, until: float) -> None:
        """Accept a figure from another source as the reference until a time.

        Args:
            pair: Coin and currency.
            price: The price of the other source.
            seen_at: Time of the price, monotonic seconds.
            until: Until when others are compared with it.
        """
        self._last[pair] = LastGood(price, seen_at, until)
