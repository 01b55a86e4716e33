"""Decide which charts of CoinGecko may be passed through to callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coincast_chassis.clock import Clock
from coincast_market_data import metrics
from coincast_market_data.archive.store import Archive
from coincast_market_data.coingecko.error_mapping import UnconfirmedData
from coincast_market_data.history.continuity import (
    RUN_FACTOR,
    factor,
    isolated_spans,
    needs_witness,
    tail_start,
)
from coincast_market_data.history.gap_filler import SpotPrices
from coincast_market_data.identifiers import canonical_currency
from coincast_market_data.ports import DefectLog
from coincast_market_data.validation.outliers import CONFIRMED_AFTER_SECONDS, ConfirmationTracker, is_outlier


class SeriesValidator:
    """Compares a chart with the archive, the spot price and its own older points.

    A chart that differs tenfold, as a whole or at its newest end, is rejected until later fetches confirm it.

    Args:
        archive: The archive of days.
        spot: The source of spot prices.
        clock: Its monotonic time measures the time until a confirmation.
        defects: Records rejected charts.
    """

    def __init__(self, archive: Archive, spot: SpotPrices, clock: Clock, defects: DefectLog) -> None:
        self._archive = archive
        self._spot = spot
        self._clock = clock
        self._defects = defects
        self._suspects = ConfirmationTracker()

    async def check(self, coin: str, query: Mapping[str, str], points: Sequence[tuple[float, float]]) -> None:
        """Check a chart.

        Args:
            coin: The id of the coin.
            query: The parameters of the document, with `vs_currency`.
            points: (UNIX seconds, price), in order of time.

        Raises:
            UnconfirmedData: The chart is an outlier that is not confirmed yet.
        """
        currency = canonical_currency(query.get("vs_currency", ""))
        if not points:
            return
        times = None
        if self._archive.holds(coin, currency):
            times = factor(await self._archive.read(coin, currency), points)
        off = times if times is not None and is_outlier(times, 1.0) else None
        self._check_figure(coin, currency, off, "the series", "the stored days")
        spot = self._spot.last_price((coin, currency))
        if needs_witness(points):
            spot = await self._spot.witness_price((coin, currency))
        newest = None if tail_start(points, spot, stored=True) is None else points[-1][1]
        self._check_figure(coin, currency, newest, "the newest end of the series", "the points before it")
        runs = isolated_spans(points, RUN_FACTOR)
        middle = points[runs[0][0]][1] if runs else None
        self._check_figure(coin, currency, middle, "a part of the series", "the points on both sides")

    def _check_figure(self, coin: str, currency: str, figure: float | None, what: str, beside: str) -> None:
        """Check one aspect of a chart.

        Args:
            coin: The id of the coin.
            currency: The currency.
            figure: The figure that is an outlier; None if this aspect is plausible.
            what: The aspect, in words.
            beside: What it was compared with, in words.

        Raises:
            UnconfirmedData: The outlier is not confirmed by fetches over two minutes.
        """
        name = (coin, f"{currency}: {what}")
        if figure is None:
            self._suspects.forget(name)
        elif not self._suspects.settled(name, figure, self._clock.monotonic()):
            metrics.QUARANTINED.labels(reason="seam_jump").inc()
            self._defects.note(coin, currency, f"a chart: {what} is far off {beside}")
            raise UnconfirmedData(
                f"CoinGecko's chart of {coin} was rejected: {what} is far off {beside} and not confirmed yet",
                retry_after_seconds=CONFIRMED_AFTER_SECONDS,
            )
