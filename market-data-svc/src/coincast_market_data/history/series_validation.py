"""Decide which of CoinGecko's series may be passed through to callers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coincast_chassis.clock import Clock
from coincast_market_data import metrics
from coincast_market_data.archive.store import Archive
from coincast_market_data.cache.negative import SetAside
from coincast_market_data.history.continuity import factor, tail_start
from coincast_market_data.history.gap_filler import SpotPrices
from coincast_market_data.identifiers import canonical_currency
from coincast_market_data.validation.outliers import CONFIRMED_AFTER_SECONDS, ConfirmationTracker, is_outlier


class SeriesValidator:
    """Hold a series against the archive, the spot price and itself.

    A series that is tenfold off as a whole, or at its newest end alone, waits until fetches keep saying so.
    """

    def __init__(
        self, archive: Archive, spot: SpotPrices, clock: Clock, note: Callable[[str, str, str], None]
    ) -> None:
        self._archive = archive
        self._spot = spot
        self._clock = clock
        self._note = note
        self._suspects = ConfirmationTracker()

    async def check(self, coin: str, query: Mapping[str, str], points: Sequence[tuple[float, float]]) -> None:
        """Check a series.

        Args:
            coin: The coin's id.
            query: The parameters of the document, with `vs_currency`.
            points: UNIX seconds and price, in order of time.

        Raises:
            SetAside: The series is not believed yet.
        """
        currency = canonical_currency(query.get("vs_currency", ""))
        if not points:
            return
        times = None
        if self._archive.holds(coin, currency):
            times = factor(await self._archive.read(coin, currency), points)
        off = times if times is not None and is_outlier(times, 1.0) else None
        self._hold(coin, currency, off, "the series", "the days that are kept")
        prices = [price for _, price in points]
        start = tail_start(prices, self._spot.last_price((coin, currency)))
        newest = None if start is None else prices[-1]
        self._hold(coin, currency, newest, "the newest end of the series", "the points before it")

    def _hold(self, coin: str, currency: str, figure: float | None, what: str, beside: str) -> None:
        """Raise SetAside for a figure that further fetches do not confirm yet; None is no doubt."""
        name = (coin, f"{currency}: {what}")
        if figure is None:
            self._suspects.forget(name)
        elif not self._suspects.confirmed(name, figure, self._clock.monotonic()):
            metrics.QUARANTINED.labels(reason="seam_jump").inc()
            self._note(coin, currency, f"a chart: {what} is tenfold off {beside}")
            raise SetAside(
                f"CoinGecko's chart of {coin} was put aside: {what} is tenfold off {beside} and not confirmed"
                " yet",
                retry_after_seconds=CONFIRMED_AFTER_SECONDS,
            )
