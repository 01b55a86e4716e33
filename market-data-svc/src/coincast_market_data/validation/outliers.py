"""Jumps that nothing confirms are put aside."""

from __future__ import annotations

from collections import OrderedDict

from coincast_market_data.coingecko.parser import Pair

JUMP_FACTOR = 10.0
# A price from longer ago says little about what is plausible now.
MEMORY_SECONDS = 6 * 3600.0
AGREEMENT_FACTOR = 2.0
CONFIRMED_AFTER_SECONDS = 120.0


def is_outlier(a: float, b: float) -> bool:
    """Whether two figures are tenfold apart."""
    return ratio(a, b) >= JUMP_FACTOR


def ratio(a: float, b: float) -> float:
    """How many times the larger of two positive figures is the smaller one."""
    return max(a / b, b / a)


class ConfirmationTracker:
    """Track figures that wait for confirmation; bounded, the newest stay."""

    def __init__(self, *, max_entries: int = 50_000) -> None:
        self._seen: OrderedDict[Pair, tuple[float, float]] = OrderedDict()
        self._max_entries = max_entries

    def confirmed(self, pair: Pair, figure: float, now: float) -> bool:
        """Whether fetches have said the same for two minutes by now; remembered where not."""
        first, since = self._seen.pop(pair, (figure, now))
        if ratio(figure, first) > AGREEMENT_FACTOR:
            first, since = figure, now
        if now - since >= CONFIRMED_AFTER_SECONDS:
            return True
        self._seen[pair] = (first, since)
        if len(self._seen) > self._max_entries:
            self._seen.popitem(last=False)
        return False

    def forget(self, pair: Pair) -> None:
        """It was a slip."""
        self._seen.pop(pair, None)


class OutlierDetector:
    """A figure tenfold off the last good one is put aside until fetches keep saying the same for two
    minutes.
    """

    def __init__(self, *, max_entries: int = 50_000) -> None:
        # The last good figure, and until when it says what is plausible.
        self._last: OrderedDict[Pair, tuple[float, float]] = OrderedDict()
        self._suspects = ConfirmationTracker(max_entries=max_entries)
        self._max_entries = max_entries

    def plausible(self, pair: Pair, price: float, now: float) -> bool:
        """Whether a price may be served; remembers it either way. `now`: UNIX seconds."""
        before, until = self._last.get(pair, (price, now))
        if now < until and is_outlier(price, before):
            if not self._suspects.confirmed(pair, price, now):
                return False
        else:
            self._suspects.forget(pair)
        self.seed(pair, price, now + MEMORY_SECONDS)
        return True

    def knows(self, pair: Pair, now: float) -> bool:
        """Whether there is a good figure to hold the next one against."""
        return pair in self._last and now < self._last[pair][1]

    def seed(self, pair: Pair, price: float, until: float) -> None:
        """Take a figure for good; it is held against others until then."""
        self._last[pair] = (price, until)
        self._last.move_to_end(pair)
        if len(self._last) > self._max_entries:
            self._last.popitem(last=False)
