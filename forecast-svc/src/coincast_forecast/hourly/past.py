"""Forecasts from past hours, with the data that were known then.

The hours are those that market-data had received before the next hour closed, and the version of the hourly
model was trained on no later day. Such forecasts are not logged, since they were not served then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_forecast.domain import AUTO, ForecastQuery, HourlyHistory, Start, last_close_before
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.features.hours import day_rows, markets_of
from coincast_forecast.hourly.service import (
    DAILY_DAYS,
    HourlyQuery,
    Made,
    absence_reasons,
    from_daily,
    predict_hours,
    with_daily_reason,
)
from coincast_forecast.hourly.versions import HistoricalHourlyVersions
from coincast_forecast.hourly.within_day import move_all
from coincast_forecast.ports import PastHourlySource
from coincast_forecast.service import ForecastResponse, PredictedCoins
from coincast_modelkit.artifact.hourly import LoadedHourlyArtifact
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.hourly.day_measures import DayRow

# Market-data treats an hour as closed this long after its end; from then on its forecast could be served.
HOUR_SETTLED_AFTER = timedelta(minutes=5)
# An hour's forecast is served until the next hour has closed, so hours that arrived by then were known.
HOUR_SERVED_FOR = timedelta(hours=1) - timedelta(seconds=1)
# Allowance for the error of the estimate of market-data's clock: market-data refuses times in its future.
CLOCK_ERROR = timedelta(seconds=10)


class SourceClock:
    """Estimates market-data's clock, and the last time at which a past forecast could have been served.

    Args:
        offset: Returns the data source's clock minus this machine's monotonic clock; None if unknown.
        monotonic: This machine's monotonic clock.
    """

    def __init__(self, offset: Callable[[], float | None], monotonic: Callable[[], float]) -> None:
        self._offset, self._monotonic = offset, monotonic

    @property
    def offset_seconds(self) -> float | None:
        """Return the data source's clock minus this machine's monotonic clock; None if unknown."""
        return self._offset()

    def known_at(self, first: datetime, served_for: timedelta) -> datetime:
        """Return the last time at which a forecast could have been served, at most now.

        Args:
            first: The first time at which it could have been served.
            served_for: How long it was the newest one.
        """
        offset = self._offset()
        if offset is None:
            return first
        now = datetime.fromtimestamp(self._monotonic() + offset, UTC) - CLOCK_ERROR
        return max(first, min(first + served_for, now))

    def hours_known_at(self, as_of: datetime) -> datetime:
        """Return the last time at which the hour that ends at `as_of` was the newest closed one."""
        return self.known_at(as_of + HOUR_SETTLED_AFTER, HOUR_SERVED_FOR)


class PastHours:
    """Reads hours as they were known at a past time, and updates daily forecasts with them."""

    def __init__(
        self, source: PastHourlySource, versions: HistoricalHourlyVersions, clock: SourceClock
    ) -> None:
        self._source, self._versions, self._clock = source, versions, clock

    async def version(self, as_of: datetime) -> LoadedHourlyArtifact | str:
        """Return the newest version that was trained on no later day, or the reason why there is none."""
        return await self._versions.learnt_by(last_close_before(as_of).date() - timedelta(days=1))

    async def read(
        self, ids: Sequence[str], vs_currency: str, as_of: datetime
    ) -> dict[str, HourlyHistory | CoincastError]:
        """Return the hours of coins and reference coins that end by `as_of` and had arrived by then.

        Raises:
            InvalidInput: That hour has not closed yet.
        """
        wanted = list(dict.fromkeys((*ids, *REFERENCE_COINS)))
        found = await self._source.known_at(wanted, vs_currency, self._clock.hours_known_at(as_of))
        if any(_is_to_come(outcome) for outcome in found.values()):
            raise not_closed(as_of)
        return {coin: _cut(found[coin], as_of) for coin in wanted}

    async def rows(self, ids: Sequence[str], vs_currency: str, as_of: datetime) -> dict[str, DayRow]:
        """Return the terms of the hours of the last closed day for daily models, as they were known then."""
        close = last_close_before(as_of)
        found = await self.read(ids, vs_currency, as_of)
        panel = {
            coin: candles
            for coin, history in found.items()
            if isinstance(history, HourlyHistory) and len(candles := history.candles.until(close))
        }
        day = close.date() - timedelta(days=1)
        return await asyncio.to_thread(lambda: day_rows(ids, panel, day, markets_of(panel)))

    async def move(
        self, predictions: Mapping[str, Prediction], vs_currency: str, as_of: datetime
    ) -> dict[str, Prediction]:
        """Update predictions from the last close before `as_of` to the newest hour known then.

        Raises:
            InvalidInput: That hour has not closed yet.
        """
        artifact = await self.version(as_of)
        if isinstance(artifact, str):
            return {coin: replace(p, start=Start(reason=artifact)) for coin, p in predictions.items()}
        found = await self.read(list(predictions), vs_currency, as_of)
        histories = {c: h for c, h in found.items() if isinstance(h, HourlyHistory) and len(h.candles)}
        reference = {coin: histories[coin].candles for coin in REFERENCE_COINS if coin in histories}
        waiting = {coin: (p, histories[coin]) for coin, p in predictions.items() if coin in histories}
        moved = {c: one.prediction for c, one in move_all(waiting, reference, artifact).items()}
        for coin, prediction in predictions.items():
            if coin not in moved:
                error = found[coin]
                why = f": {str(error).removesuffix('.')}" if isinstance(error, CoincastError) else ""
                reason = f"no hour of {coin} had arrived by then{why}"
                moved[coin] = replace(prediction, start=Start(reason=reason))
        return {coin: moved[coin] for coin in predictions}


class PastDaily(Protocol):
    """Computes daily predictions as of a past time."""

    async def predict(self, query: ForecastQuery, as_of: datetime) -> PredictedCoins:
        """Return predictions with the data known then, and the histories that they use."""
        ...


class PastHourlyForecasts:
    """Computes hourly forecasts from past hours."""

    def __init__(self, hours: PastHours, daily: PastDaily) -> None:
        self._hours, self._daily = hours, daily

    async def forecast(self, query: HourlyQuery, as_of: datetime) -> ForecastResponse:
        """Return a forecast or an error for every coin of the query, from the hour that ends at `as_of`.

        Raises:
            InvalidInput: That hour has not closed yet.
        """
        artifact = await self._hours.version(as_of)
        made: dict[str, Made] = {}
        if isinstance(artifact, str):
            reasons = dict.fromkeys(query.ids, artifact)
        else:
            found = await self._hours.read(query.ids, query.vs_currency, as_of)
            made, unusable = await predict_hours(found, query, artifact)
            reasons = absence_reasons(found, query.ids) | unusable
        missing = tuple(coin for coin in query.ids if coin not in made)
        errors: Mapping[str, CoincastError] = {}
        if missing:
            daily = await self._daily.predict(
                ForecastQuery(missing, vs_currency=query.vs_currency, days=DAILY_DAYS, model=AUTO), as_of
            )
            errors = daily.errors
            for coin, prediction in daily.predictions.items():
                provenance = daily.histories[coin].provenance
                reason = with_daily_reason(reasons[coin], daily.reasons.get(coin, ""))
                made[coin] = from_daily(prediction, query, reason, provenance)
        return ForecastResponse(
            tuple(made[coin][0] for coin in query.ids if coin in made),
            tuple((coin, errors[coin]) for coin in query.ids if coin in errors and coin not in made),
        )


def not_closed(as_of: datetime) -> InvalidInput:
    """Return the error for an hour that has not closed yet."""
    return InvalidInput(
        f"the hour that ends at {as_of:%Y-%m-%dT%H:%MZ} has not closed yet: give a closed UTC hour or day",
        field="as_of",
    )


def _is_to_come(outcome: HourlyHistory | CoincastError) -> bool:
    return isinstance(outcome, InvalidInput) and outcome.field == "known_at"


def _cut(outcome: HourlyHistory | CoincastError, as_of: datetime) -> HourlyHistory | CoincastError:
    """Return a history without hours that end later."""
    if isinstance(outcome, CoincastError):
        return outcome
    return replace(outcome, candles=outcome.candles.until(as_of))
