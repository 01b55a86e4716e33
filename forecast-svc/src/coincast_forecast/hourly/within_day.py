"""Update daily forecasts from the last close to the newest closed hour.

Only hours that market-data has stored are read, so no call of CoinGecko's plan is used. They are fetched in
parallel with the daily histories, and a request waits for them only briefly: if they are late, the forecast
starts from the last close and the reply says why. Updated forecasts are cached until the hour or the forecast
changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_forecast.domain import LAST_PRICE, TECHNICAL, HourlyHistory, Start, close_of
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.hourly.plausibility import failure_reason, hourly_faults
from coincast_forecast.inference.plausibility import daily_spread, distribution_faults
from coincast_forecast.inference.predictor import PredictionRef
from coincast_forecast.prediction_log.recorder import Loggable, prediction_entries
from coincast_modelkit.artifact.hourly import LoadedHourlyArtifact
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyCandles, HourlyPanel, source_of
from coincast_modelkit.hourly.within_day import (
    REACTION,
    HourlyOutlook,
    WidthsDisagreeError,
    hours_needed,
    within_day,
)
from coincast_modelkit.ledger import LedgerEntry

log = get_logger("coincast.forecast.within_day")
# How long a request waits for hours that are not cached; the fetch then continues for later requests.
WAIT_SECONDS = 0.25
# Maximum number of coins whose hours one request fetches; later requests fetch the others.
FETCHED_COINS = 50
KEPT_FORECASTS = 600
# Logged horizons of forecasts that start within the day: few, since every hour of the day gives a forecast.
LOGGED_DAYS = (1, 7, 14, 30)
# Limits of the ratio between prices of hourly and daily candles. At the same time both come from the same
# trades, so they must nearly agree. Within a day a price can fall to a tenth, as in a collapse; the forecast
# then starts from the close until the daily candles confirm the fall.
SAME_MOMENT_FACTOR = 1.5
DAY_FACTOR = 10.0
# Models whose width does not follow the volatility of a single day.
UNMOVED = (TECHNICAL, LAST_PRICE)
READING = "the hourly candles are being read"
MISSING = "no hourly candles are stored"

Kept: TypeAlias = HourlyHistory | CoincastError | None


class ImplausibleOutlookError(ValueError):
    """The hourly model gave a distribution that cannot be true."""


class HourlySource(Protocol):
    """Source of hourly histories, with a cache."""

    def peek(self, coin_id: str, vs_currency: str) -> Kept:
        """Return the cached and current history or error of a coin, or None; nothing is fetched."""
        ...

    async def get(self, ids: Sequence[str], vs_currency: str) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's history or error."""
        ...


class HourlyVersion(Protocol):
    """Holds the version of the hourly model in production."""

    current: LoadedHourlyArtifact | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The hours and the version from which the start of a forecast was computed."""

    hours: Kept
    version: LoadedHourlyArtifact | None

    def same(self, other: Origin) -> bool:
        """Return whether both have the same current hours and version, by identity."""
        if self.version is None:
            return other.version is None
        return self.hours is not None and self.hours is other.hours and self.version is other.version


NO_ORIGIN = Origin(None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Shifted:
    """A prediction from an hour of the day or the last close, and the origin of its start."""

    prediction: Prediction
    origin: Origin


class WithinDay:
    """Updates predictions from daily closes to the newest closed hour."""

    def __init__(
        self, histories: HourlySource, versions: HourlyVersion, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._histories = histories
        self._versions = versions
        self._wait_seconds = wait_seconds
        self._fetches: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._moved: Lru[tuple[PredictionRef, HourlyHistory, str], Shifted] = Lru(KEPT_FORECASTS)

    def origin(self, coin_id: str, vs_currency: str) -> Origin:
        """Return the hours and version from which a forecast would start now; nothing is fetched."""
        return Origin(self._histories.peek(coin_id, vs_currency), self._versions.current)

    def prefetch(self, ids: Sequence[str], vs_currency: str) -> None:
        """Start to fetch the hours of coins that are not cached; do not wait."""
        if self._versions.current is None:
            return
        wanted = [
            coin
            for coin in dict.fromkeys((*REFERENCE_COINS, *ids))
            if (coin, vs_currency) not in self._fetches and self._histories.peek(coin, vs_currency) is None
        ][: FETCHED_COINS + len(REFERENCE_COINS)]
        if not wanted:
            return
        task = asyncio.create_task(self._fetch(wanted, vs_currency))
        for coin in wanted:
            self._fetches[coin, vs_currency] = task

    async def move(self, predictions: Mapping[str, Prediction], vs_currency: str) -> dict[str, Shifted]:
        """Update each prediction to the newest hour if that hour is available.

        Hours in flight are awaited for at most `wait_seconds`.
        """
        artifact = self._versions.current
        if artifact is None:
            start = Start(reason=self._versions.reason)
            return {coin: Shifted(replace(p, start=start), NO_ORIGIN) for coin, p in predictions.items()}
        self.prefetch(list(predictions), vs_currency)
        coins = (*predictions, *REFERENCE_COINS)
        flights = {t for coin in coins if (t := self._fetches.get((coin, vs_currency))) is not None}
        if flights:
            await asyncio.wait(flights, timeout=self._wait_seconds)
        moved: dict[str, Shifted] = {}
        waiting: dict[str, tuple[Prediction, HourlyHistory]] = {}
        for coin, prediction in predictions.items():
            kept = self._histories.peek(coin, vs_currency)
            if not isinstance(kept, HourlyHistory):
                moved[coin] = _at_close(prediction, Origin(kept, artifact), _absence(kept))
                continue
            found = self._moved.get((prediction.ref, kept, artifact.manifest.version))
            if found is not None:
                start, ref = found.prediction.start, found.prediction.ref
                moved[coin] = Shifted(replace(prediction, ref=ref, start=start), found.origin)
            else:
                waiting[coin] = prediction, kept
        if waiting:
            panel = {
                coin: kept.candles
                for coin in REFERENCE_COINS
                if isinstance(kept := self._histories.peek(coin, vs_currency), HourlyHistory)
                and not kept.doubt_reason
            }
            made = await asyncio.to_thread(move_all, waiting, panel, artifact)
            for coin, one in made.items():
                prediction, kept = waiting[coin]
                self._moved.put((prediction.ref, kept, artifact.manifest.version), one)
            moved |= made
        return {coin: moved[coin] for coin in predictions}

    async def aclose(self) -> None:
        """Cancel the fetches in flight."""
        await cancel_and_wait(set(self._fetches.values()))

    async def _fetch(self, ids: Sequence[str], vs_currency: str) -> None:
        try:
            await self._histories.get(ids, vs_currency)
        except Exception:
            log.exception("hours_not_fetched", coins=len(ids))
        finally:
            for coin in ids:
                self._fetches.pop((coin, vs_currency), None)


def within_day_loggable(moved: Shifted, made_at: float) -> Loggable:
    """Return the log entries of an updated forecast, at LOGGED_DAYS up to the requested days."""
    return Loggable(moved.prediction.forecast_id, partial(_entries, moved, made_at))


def _entries(moved: Shifted, made_at: float, after: int, until: int) -> list[LedgerEntry]:
    days = [horizon for horizon in LOGGED_DAYS if after < horizon <= until]
    return prediction_entries(moved.prediction, days, made_at=made_at)


def _absence(kept: Kept) -> str:
    return READING if kept is None else f"{MISSING}: {str(kept).removesuffix('.')}"


def move_all(
    waiting: Mapping[str, tuple[Prediction, HourlyHistory]],
    reference: HourlyPanel,
    artifact: LoadedHourlyArtifact,
) -> dict[str, Shifted]:
    """Update predictions from the last close to the newest hour of each coin's history.

    Args:
        waiting: The prediction and the hours of each coin.
        reference: The hours of the reference coins.
        artifact: The version of the hourly model.
    """
    return {
        coin: _move(prediction, history, reference, artifact)
        for coin, (prediction, history) in waiting.items()
    }


def _move(
    prediction: Prediction, history: HourlyHistory, reference: HourlyPanel, artifact: LoadedHourlyArtifact
) -> Shifted:
    """Update one prediction to the newest hour, or return it from the close with the reason."""
    origin = Origin(history, artifact)
    close = np.datetime64(close_of(prediction.ref.prepared.as_of).replace(tzinfo=None), "h")
    hours = int((history.candles.closes_at - close).astype(np.int64))
    if hours == 0 and not history.provenance.stale:
        return Shifted(prediction, origin)
    coin = prediction.ref.prepared.coin_id
    last_price = float(prediction.ref.forecasts.last_price[prediction.ref.index])
    doubt = f"the hours of {coin} are not confirmed: {history.doubt_reason}" if history.doubt_reason else ""
    if reason := doubt or unusable(history.candles, close, coin, last_price):
        return _at_close(prediction, origin, reason)
    forecasts = _forecasts_from(prediction, history, hours, reference, artifact)
    if isinstance(forecasts, str):
        return _at_close(prediction, origin, forecasts)
    start = Start(hours, artifact.manifest.version)
    ref = PredictionRef(prediction.ref.prepared, forecasts, 0)
    return Shifted(replace(prediction, ref=ref, start=start), origin)


def _forecasts_from(
    prediction: Prediction,
    history: HourlyHistory,
    hours: int,
    reference: HourlyPanel,
    artifact: LoadedHourlyArtifact,
) -> Forecasts | str:
    """Return the forecasts of a prediction from its newest hour, or why the hourly model cannot move them."""
    ref = prediction.ref
    coin = ref.prepared.coin_id
    close = np.datetime64(close_of(ref.prepared.as_of).replace(tzinfo=None), "h")
    reaction = 0.0 if prediction.served_by in UNMOVED else REACTION
    try:
        outlook = _outlook(history.candles, close, hours, reference, artifact)
        if outlook is None:
            return f"the last days of {coin} lack too many hours"
        forecasts = within_day(ref.forecasts.coins([ref.index]), outlook, reaction=reaction)
        fault = _fault(forecasts, outlook, ref)
    except ImplausibleOutlookError as error:
        fault = str(error)
    except WidthsDisagreeError as error:
        return str(error)
    except Exception as error:  # whatever the model raises leaves the forecast at the close
        log.warning("hourly_forecast_failed", coin=coin, error=without_path(error)[:200])
        return failure_reason(error)
    if fault:
        log.warning("hourly_forecast_implausible", coin=coin, reason=fault)
        return f"the hourly model gave {fault}"
    return forecasts


def _fault(forecasts: Forecasts, outlook: HourlyOutlook, ref: PredictionRef) -> str:
    """Return why a moved forecast cannot be served; empty where it can."""
    (fault,) = distribution_faults(
        forecasts,
        last_prices=outlook.now.last_price,
        daily_spreads=np.array([daily_spread(ref.prepared.candles.close)]),
        days=np.asarray(forecasts.horizons, dtype=np.float64),
    )
    return fault


def unusable(candles: HourlyCandles, close: np.datetime64, coin: str, last_price: float) -> str:
    """Return why a daily forecast cannot start from the newest of these hours; empty if it can.

    Market-data fetches days and hours with separate calls. After a redenomination, or with a wrong last value
    in one of the two, they contradict each other until a second fetch confirms one of them.

    Args:
        candles: The hours, up to the newest one.
        close: The last daily close (datetime64[h]).
        coin: The coin, for the reason.
        last_price: The price of that close in the daily candles.
    """
    hours = int((candles.closes_at - close).astype(np.int64))
    if hours == 0:
        return "the newest stored hour ends at the last daily close"
    if not 0 < hours < HOURS_A_DAY:
        side = "older" if hours < 0 else "a day newer"
        return f"the newest stored hour is {side} than the last daily close"
    before = candles.until(close)
    same_moment = float(before.close[-1]) if len(before) and before.closes_at == close else last_price
    newest = float(candles.close[-1])
    if _factor(same_moment, last_price) >= SAME_MOMENT_FACTOR or _factor(newest, last_price) >= DAY_FACTOR:
        return (
            f"the hours of {coin} differ too much from its last daily close of {last_price:.6g}, unconfirmed"
        )
    return ""


def _factor(one: float, other: float) -> float:
    return max(one / other, other / one)


def _at_close(prediction: Prediction, origin: Origin, reason: str) -> Shifted:
    return Shifted(replace(prediction, start=Start(reason=reason)), origin)


def _outlook(
    candles: HourlyCandles,
    close: np.datetime64,
    hours: int,
    reference: HourlyPanel,
    artifact: LoadedHourlyArtifact,
) -> HourlyOutlook | None:
    """Return the hourly forecasts from the close and from now; None if either cannot be made."""
    model = artifact.model
    before = candles.until(close)
    if not len(before) or before.closes_at != close:
        return None
    at_close = model.predict([before], (HOURS_A_DAY,), reference=reference)
    now = model.predict([candles], hours_needed(hours), reference=reference)
    if not (at_close.usable().all() and now.usable().all()):
        return None
    (fault,) = hourly_faults(at_close, [before])
    fault = fault or hourly_faults(now, [candles])[0]
    if fault:
        raise ImplausibleOutlookError(fault)
    error = float(model.calibrations[source_of(candles)].line.errors[-1])
    return HourlyOutlook(at_close, now, hours, error)
