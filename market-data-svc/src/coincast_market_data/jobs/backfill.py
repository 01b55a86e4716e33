"""Backfill of the archive for many coins, at the lowest priority; resumes where it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_market_data.domain import ItemFailure, Progress
from coincast_market_data.history.candle_builder import last_closed_day, midnight
from coincast_market_data.history.gap_filler import GapFiller
from coincast_market_data.history.service import MAX_DAYS
from coincast_market_data.identifiers import canonical_currency, split_ids
from coincast_market_data.item_errors import item_failure
from coincast_market_data.ports import CallAllowance, DataClock, Priority


class BackfillJob:
    """Fetches missing candles, one coin after the other.

    The result of each call is stored immediately, so a second run only fetches the rest.

    Args:
        filler: Fetches the candles of one coin.
        clock: The upstream's clock, for the last closed day.
        run_clock: Its monotonic time measures the run.
        allowance: The upstream calls that are left in this minute.
    """

    def __init__(
        self,
        filler: GapFiller,
        clock: DataClock,
        *,
        run_clock: Clock | None = None,
        allowance: CallAllowance | None = None,
    ) -> None:
        self._filler = filler
        self._clock = clock
        self._run_clock = run_clock or steady_clock()
        self._allowance = allowance

    async def run(
        self,
        ids: Sequence[str],
        currency: str,
        days: int,
        *,
        refetch: bool = False,
        hourly: bool = False,
    ) -> AsyncIterator[Progress]:
        """Yield progress after each coin; a coin that fails does not stop the others.

        Args:
            ids: The coins.
            currency: The currency of the prices.
            days: The number of closed days to go back.
            refetch: Whether to fetch the whole history and replace the stored one.
            hourly: Whether to fetch hourly candles, not daily ones.

        Raises:
            InvalidInput: An argument is not valid.
        """
        coins, bad = split_ids(ids)
        code = canonical_currency(currency)
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput(f"days must be 1 to {MAX_DAYS}; {days} was given", field="days")
        total = len(coins) + len(bad)
        done, started = 0, self._run_clock.monotonic()
        for text in bad:
            done += 1
            yield Progress(text, done, total, 0, ItemFailure(text, "invalid_input", "not a coin id", "ids"))
        for coin in coins:
            added, failure = await self._fill_coin(coin, code, days, refetch=refetch, hourly=hourly)
            done += 1
            # The estimate assumes that each remaining coin takes the mean time of the finished ones.
            each = (self._run_clock.monotonic() - started) / (done - len(bad))
            left = await self._allowance.calls_left() if self._allowance is not None else None
            yield Progress(
                coin, done, total, added, failure, calls_left=left, seconds_left=each * (total - done)
            )

    async def _fill_coin(
        self, coin: str, code: str, days: int, *, refetch: bool, hourly: bool
    ) -> tuple[int, ItemFailure | None]:
        last = last_closed_day(self._clock.now())
        first = last - timedelta(days=days - 1)
        try:
            if hourly:
                start = int(midnight(first))
                return await self._filler.fill_hours(coin, code, start, Priority.BACKFILL), None
            if refetch:
                return await self._filler.refetch(coin, code), None
            added = await self._filler.fill(coin, code, first, Priority.BACKFILL)
            return added + await self._filler.enrich(coin, code, first), None
        except CoincastError as error:
            return 0, item_failure(coin, error)
