"""Serve hourly forecasts (`hours=`): from the hourly model, or scaled down from a daily forecast.

The hourly model forecasts from the newest closed hour. If the hours of a coin or a version of the hourly
model are missing, the daily models forecast from the last daily close, with widths scaled by the square root
of time, and the reply says so. Every forecast is written to the forecast log before it is served, with one
entry per hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Protocol

import numpy as np

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger
from coincast_forecast.domain import (
    AUTO,
    PRODUCTION,
    CoinForecast,
    ForecastQuery,
    HourlyHistory,
    Provenance,
    Record,
    RenderOptions,
    ServedForecast,
    Start,
    close_of,
)
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.hourly.plausibility import failure_reason, hourly_faults
from coincast_forecast.hourly.versions import HourlyVersions
from coincast_forecast.prediction_log.recorder import PROBABILITIES as LOGGED_PROBABILITIES
from coincast_forecast.prediction_log.recorder import Loggable, Recorder
from coincast_forecast.rendering.manifest_metrics import record_of
from coincast_forecast.rendering.service import columns_of
from coincast_forecast.service import ForecastResponse, PredictedCoins
from coincast_modelkit.artifact.hourly import LoadedHourlyArtifact
from coincast_modelkit.candles import Floats
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.hourly.candles import HOURS_A_DAY
from coincast_modelkit.hourly.model import MODEL, HourlyForecasts
from coincast_modelkit.ledger import LedgerEntry

log = get_logger("coincast.forecast.hourly")
DAILY_DAYS = 2


class HourlySource(Protocol):
    """Source of hourly histories."""

    async def get(self, ids: Sequence[str], vs_currency: str) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's history or error."""
        ...


class DailyForecasts(Protocol):
    """Source of daily predictions."""

    async def predict(self, query: ForecastQuery) -> PredictedCoins:
        """Return predictions and the histories that they use."""
        ...


@dataclass(frozen=True, slots=True)
class HourlyQuery:
    """One valid request for hourly forecasts."""

    ids: tuple[str, ...]
    vs_currency: str
    hours: int
    levels_percent: tuple[float, ...]
    quantile_probabilities: tuple[float, ...] = ()
    # A past full UTC hour from which to forecast; None for the newest closed hour.
    as_of: datetime | None = None


# A rendered forecast and its distribution; the log stores the distribution at other probabilities.
Made = tuple[ServedForecast, Forecasts]


class HourlyForecastService:
    """Computes and logs hourly forecasts of many coins."""

    def __init__(
        self,
        histories: HourlySource,
        versions: HourlyVersions,
        daily: DailyForecasts,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._histories = histories
        self._versions = versions
        self._daily = daily
        self._recorder = recorder
        self._clock = clock

    async def forecast(self, query: HourlyQuery) -> ForecastResponse:
        """Return a forecast or an error for every coin of the query."""
        artifact = self._versions.current
        made: dict[str, Made] = {}
        reasons: dict[str, str] = {}
        if artifact is None:
            reasons = dict.fromkeys(query.ids, self._versions.reason)
        else:
            made, reasons = await self._by_the_hour(query, artifact)
        missing = tuple(coin for coin in query.ids if coin not in made)
        errors: Mapping[str, CoincastError] = {}
        if missing:
            daily = await self._daily.predict(
                ForecastQuery(missing, vs_currency=query.vs_currency, days=DAILY_DAYS, model=AUTO)
            )
            errors = daily.errors
            for coin, prediction in daily.predictions.items():
                provenance = daily.histories[coin].provenance
                reason = with_daily_reason(reasons[coin], daily.reasons.get(coin, ""))
                made[coin] = from_daily(prediction, query, reason, provenance)
        logged = await self._record(made.values(), query.hours)
        return ForecastResponse(
            tuple(logged[coin] for coin in query.ids if coin in logged),
            tuple((coin, errors[coin]) for coin in query.ids if coin in errors and coin not in made),
        )

    async def _record(self, made: Collection[Made], hours: int) -> dict[str, ServedForecast]:
        """Write the forecasts to the log; a forecast that could not be written gets no id."""
        made_at = self._clock.now()
        named = [(_with_id(served, forecasts), served, forecasts) for served, forecasts in made]
        loggable = [
            Loggable(one.forecast.forecast_id, partial(hourly_entries, one.forecast, forecasts, made_at))
            for one, _, forecasts in named
        ]
        logged = await self._recorder.append(loggable, hours)
        return {
            one.forecast.coin_id: one if one.forecast.forecast_id in logged else served
            for one, served, _ in named
        }

    async def _by_the_hour(
        self, query: HourlyQuery, artifact: LoadedHourlyArtifact
    ) -> tuple[dict[str, Made], dict[str, str]]:
        """Return the forecasts of the hourly model, and the reasons for coins without one."""
        wanted = tuple(dict.fromkeys((*query.ids, *REFERENCE_COINS)))
        found = await self._histories.get(wanted, query.vs_currency)
        made, unusable = await predict_hours(found, query, artifact)
        return made, absence_reasons(found, query.ids) | unusable


def absence_reasons(found: Mapping[str, HourlyHistory | CoincastError], ids: Sequence[str]) -> dict[str, str]:
    """Return a reason for each coin whose hours could not be fetched."""
    return {
        coin: f"the hourly candles are missing: {error.message.removesuffix('.')}"
        for coin in ids
        if isinstance(error := found[coin], CoincastError)
    }


def with_daily_reason(hourly: str, daily: str) -> str:
    """Return why the hourly model does not answer, with why the daily forecast in its place is degraded."""
    return f"{hourly}; {daily}" if daily and daily not in hourly else hourly


async def predict_hours(
    found: Mapping[str, HourlyHistory | CoincastError], query: HourlyQuery, artifact: LoadedHourlyArtifact
) -> tuple[dict[str, Made], dict[str, str]]:
    """Return the forecasts of the hourly model, and the reasons for coins with too few hours.

    Args:
        found: The hours of the query's coins and of the reference coins, or their errors. Hours that are not
            confirmed are not used.
        query: The request.
        artifact: The version of the hourly model.
    """
    histories = {coin: h for coin, h in found.items() if isinstance(h, HourlyHistory)}
    panel = {coin: h.candles for coin, h in histories.items() if len(h.candles) and not h.doubt_reason}
    available = [coin for coin in query.ids if coin in panel]
    made: dict[str, Made] = {}
    reasons = {
        coin: f"the hours of {coin} are not confirmed: {history.doubt_reason}"
        if (history := histories[coin]).doubt_reason
        else f"no hour of {coin} had closed by then"
        for coin in query.ids
        if coin in histories and coin not in panel
    }
    if not available:
        return made, reasons
    inputs = [panel[coin] for coin in available]

    def predict() -> tuple[HourlyForecasts, list[str]]:
        reference = {coin: panel[coin] for coin in REFERENCE_COINS if coin in panel}
        forecasts = artifact.model.predict(inputs, range(1, query.hours + 1), reference=reference)
        return forecasts, hourly_faults(forecasts, inputs)

    try:
        forecasts, faults = await asyncio.to_thread(predict)
    except Exception as error:
        log.warning("hourly_forecast_failed", coins=len(available), error=without_path(error)[:200])
        return made, reasons | dict.fromkeys(available, failure_reason(error))
    for i, usable in enumerate(forecasts.usable().tolist()):
        coin, history = available[i], histories[available[i]]
        if usable and faults[i]:
            log.warning("hourly_forecast_implausible", coin=coin, reason=faults[i])
            reasons[coin] = f"the hourly model gave {faults[i]}"
        elif usable:
            stale = history.provenance
            made[coin] = _render(
                forecasts.coins([i]),
                query,
                as_of=moment_of(forecasts, i),
                version=artifact.manifest.version,
                reason=(stale.reason or "the hourly history is stale") if stale.stale else "",
                provenance=stale,
                record=record_of(artifact.manifest.record),
            )
        else:
            reasons[coin] = f"the last day of {coin} lacks too many hours"
    return made, reasons


def moment_of(forecasts: HourlyForecasts, index: int) -> datetime:
    """Return the time at which the newest hour of a coin closed."""
    as_of = forecasts.as_of[index]
    assert isinstance(as_of, datetime)  # noqa: S101 - as_of of hourly forecasts is a datetime
    return as_of


def from_daily(prediction: Prediction, query: HourlyQuery, reason: str, provenance: Provenance) -> Made:
    """Scale a daily forecast to hours after the last daily close.

    Widths grow with the square root of time up to the first day. From the first to the second day, squared
    widths are interpolated linearly.

    Args:
        prediction: The daily forecast.
        query: The longest horizon in hours, the levels and the currency.
        reason: Why the hourly model does not answer.
        provenance: Provenance of the history.
    """
    forecasts, index = prediction.ref.forecasts, prediction.ref.index
    daily = forecasts.coins([index])
    first, second = daily.horizons.index(1), daily.horizons.index(DAILY_DAYS)
    wanted = tuple(range(1, query.hours + 1))
    quantiles = at_hours(
        daily.log_return_quantiles[0, first], daily.log_return_quantiles[0, second], np.array(wanted)
    )
    near = np.where(np.array(wanted) <= HOURS_A_DAY, first, second)
    return _render(
        Forecasts(
            coin_ids=daily.coin_ids,
            as_of=daily.as_of,
            last_price=daily.last_price,
            horizons=wanted,
            probabilities=daily.probabilities,
            log_return_quantiles=quantiles[None],
            volatility=daily.volatility[:, near],
            trailing_volatility=daily.trailing_volatility[:, near],
            rise_of_volatility=daily.rise_of_volatility[:, near],
        ),
        query,
        as_of=close_of(daily.as_of[0]),
        version=prediction.version_name,
        served_by=prediction.served_by,
        reason=f"{reason}; the daily forecast of the last close was scaled to hours",
        provenance=provenance,
        variant=prediction.variant,
    )


def _render(
    forecasts: Forecasts,
    query: HourlyQuery,
    *,
    as_of: datetime,
    version: str,
    reason: str,
    provenance: Provenance,
    served_by: str = MODEL,
    variant: str = PRODUCTION,
    record: Record | None = None,
) -> Made:
    """Return the rendered forecast of the only coin of a batch, without an id, and the batch."""
    options = RenderOptions(query.hours, query.levels_percent, query.quantile_probabilities)
    # Midnight belongs to the day that ends then, as for a daily close.
    day = (as_of.replace(hour=0) - timedelta(days=1)).date()
    forecast = CoinForecast(
        coin_id=forecasts.coin_ids[0],
        vs_currency=query.vs_currency,
        day=day,
        last_price=float(forecasts.last_price[0]),
        model=MODEL,
        version=version,
        served_by=served_by,
        degraded=bool(reason),
        reason=reason,
        variant=variant,
        forecast_id="",
        curve=columns_of(forecasts, options)[0],
        record=record,
        # The request is for a past time; the forecast was not served then.
        reconstructed=query.as_of is not None,
        start=Start(as_of.hour),
        by_the_hour=True,
    )
    return ServedForecast(forecast, provenance), forecasts


def _with_id(served: ServedForecast, forecasts: Forecasts) -> ServedForecast:
    forecast_id = hourly_forecast_id(served.forecast, forecasts)
    return replace(served, forecast=replace(served.forecast, forecast_id=forecast_id))


def hourly_forecast_id(forecast: CoinForecast, forecasts: Forecasts) -> str:
    """Return 32 hex digits; they are the same on every replica and for every longest horizon."""
    names = (
        forecast.coin_id,
        forecast.vs_currency,
        forecast.as_of.isoformat(),
        MODEL,
        forecast.version,
        forecast.variant,
        forecast.served_by,
    )
    digest = blake2b("\x1f".join(names).encode(), digest_size=16)
    digest.update(forecasts.last_price[0].tobytes())
    digest.update(forecasts.log_return_quantiles[0, 0].tobytes())
    return digest.hexdigest()


def hourly_entries(
    forecast: CoinForecast, forecasts: Forecasts, made_at: float, after: int, until: int
) -> list[LedgerEntry]:
    """Return the log entries at the hours `after` + 1 to `until`."""
    prices = forecasts.quantile_prices(LOGGED_PROBABILITIES)[0].tolist()
    return [
        LedgerEntry(
            forecast_id=forecast.forecast_id,
            made_at=made_at,
            coin_id=forecast.coin_id,
            vs_currency=forecast.vs_currency,
            as_of=forecast.day.isoformat(),
            as_of_hours=forecast.start.hours,
            model=forecast.model,
            version=forecast.version,
            variant=forecast.variant,
            served_by=forecast.served_by,
            horizon_days=0,
            horizon_hours=hour,
            last_price=forecast.last_price,
            probabilities=LOGGED_PROBABILITIES,
            price_quantiles=tuple(prices[hour - 1]),
        )
        for hour in range(after + 1, until + 1)
    ]


def at_hours(first: Floats, second: Floats, hours: Floats) -> Floats:
    """Interpolate quantiles (H, Q) at hours (H,) from the quantiles at one and at two days, (Q,) each."""
    share = (hours / HOURS_A_DAY)[:, None]
    within = first * np.sqrt(share)
    beyond = np.sign(second) * np.sqrt(
        np.maximum(first**2 + np.maximum(second**2 - first**2, 0.0) * (share - 1), 0.0)
    )
    return np.asarray(np.where(share <= 1, within, beyond))
