"""Which series are believed that pass through to callers as CoinGecko's own documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coincast_chassis.clock import Clock
from coincast_market_data import metrics
from coincast_market_data.archive.store import Archive
from coincast_market_data.cache.negative import SetAside
from coincast_market_data.history.continuity import factor
from coincast_market_data.identifiers import canonical_currency
from coincast_market_data.validation.outliers import CONFIRMED_AFTER_SECONDS, ConfirmationTracker, is_outlier


class SeriesValidator:
    """Holds a series against the archive: tenfold off as a whole, it waits until fetches keep saying so."""

    def __init__(self, archive: Archive, clock: Clock, note: Callable[[str, str, str], None]) -> None:
        self._archive = archive
        self._clock = clock
        self._note = note
        self._suspects = ConfirmationTracker()

    async def check(self, coin: str, query: Mapping[str, str], points: Sequence[tuple[float, float]]) -> None:
        """Raises Unavailable for a series that is not believed; `points`: UNIX seconds and price."""
        currency = canonical_currency(query.get("vs_currency", ""))
        if not points or not self._archive.holds(coin, currency):
            return
        times = factor(await self._archive.read(coin, currency), points)
        name = (coin, currency)
        if times is None or not is_outlier(times, 1.0):
            self._suspects.forget(name)
        elif not self._suspects.confirmed(name, times, self._clock.now()):
            metrics.QUARANTINED.labels(reason="seam_jump").inc()
            self._note(coin, currency, "a chart: tenfold off the days that are kept")
            raise SetAside(
                f"CoinGecko's chart of {coin} is tenfold off the days that are kept and not confirmed yet;"
                " it was put aside",
                retry_after_seconds=CONFIRMED_AFTER_SECONDS,
            )
