"""Forecasts of a past moment: from the forecast log if they were served then, otherwise reconstructed."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence

from coincast.common.v1.common_pb2 import SOURCE_ARCHIVE, Provenance
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.training.v1 import training_pb2 as training_pb
from coincast_chassis.clock import steady_clock
from coincast_gateway.clients.forecast import ForecastClient
from coincast_gateway.clients.training import TrainingClient

# For the model `auto`: if forecasts of several models were served, that of the first model here is used.
PREFERENCE = ("ml_ensemble", "lightgbm", "lstm", "technical", "last_price")
DEFAULT_DAYS = 7


async def past_forecasts(
    request: pb.GetForecastsRequest,
    as_of: dt.datetime,
    *,
    forecasts: ForecastClient,
    training: TrainingClient,
) -> pb.GetForecastsResponse:
    """Return the forecasts as of a full UTC hour, in the order of the request's ids.

    A coin is answered from the log if the log has all that the request needs: the model, every day (or hour)
    up to the longest horizon, and the requested levels and quantiles. forecast-svc reconstructs the forecasts
    of the other coins.

    Args:
        request: The request, without a past moment.
        as_of: The past moment; midnight means the close of the day before.
        forecasts: The client of forecast-svc.
        training: The client of training-svc, which has the forecast log.

    Raises:
        CoincastError: A service failed.
    """
    # The log stores forecasts by the day of the last close, also those made at an hour of the following day.
    day = as_of.date() - dt.timedelta(days=1)
    log_request = training_pb.StreamForecastLogRequest(
        ids=request.ids,
        model="" if request.model in ("", "auto") else request.model,
        from_date=day.isoformat(),
        to_date=day.isoformat(),
    )
    entries = [entry async for chunk in training.forecast_log(log_request) for entry in chunk.forecasts]
    served = served_forecasts(entries, request, as_of)
    found = {forecast.id: forecast for forecast in served}
    missing = [coin for coin in request.ids if coin not in found]
    errors = []
    if missing:
        rest = pb.GetForecastsRequest()
        rest.CopyFrom(request)
        if as_of.hour:
            rest.as_of_time.FromDatetime(as_of)
        else:
            rest.as_of_date = day.isoformat()
        del rest.ids[:]
        rest.ids.extend(missing)
        response = await forecasts.forecasts(rest)
        found |= {forecast.id: forecast for forecast in response.forecasts}
        errors = list(response.errors)
    return pb.GetForecastsResponse(
        forecasts=[found[coin] for coin in request.ids if coin in found], errors=errors
    )


def served_forecasts(
    entries: Iterable[training_pb.LoggedForecast], request: pb.GetForecastsRequest, as_of: dt.datetime
) -> list[pb.Forecast]:
    """Return one forecast for each coin whose log entries have all that the request needs.

    Of several forecasts of a coin, that of the preferred model is returned, and of those the first served.
    """
    grouped: dict[str, dict[str, list[training_pb.LoggedForecast]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        same_unit = bool(entry.horizon_hours) == bool(request.hours)
        same_start = entry.as_of.seconds == int(as_of.timestamp())
        if entry.vs_currency == (request.vs_currency or "usd") and same_unit and same_start:
            grouped[entry.id][entry.forecast_id].append(entry)
    chosen = []
    for of_coin in grouped.values():
        candidates = [
            forecast
            for of_forecast in of_coin.values()
            if (forecast := _forecast_of(of_forecast, request)) is not None
        ]
        if candidates:
            chosen.append(min(candidates, key=_rank)[2])
    return chosen


def _rank(candidate: tuple[int, float, pb.Forecast]) -> tuple[int, float]:
    return candidate[:2]


def _forecast_of(
    entries: Sequence[training_pb.LoggedForecast], request: pb.GetForecastsRequest
) -> tuple[int, float, pb.Forecast] | None:
    """Return (rank of the model, UNIX seconds of serving, forecast); None if the entries lack something."""
    longest = request.hours or request.days or DEFAULT_DAYS
    by_horizon = {entry.horizon_hours or entry.horizon_days: entry for entry in entries}
    if any(horizon not in by_horizon for horizon in range(1, longest + 1)):
        return None
    points = [_point_of(by_horizon[horizon], request) for horizon in range(1, longest + 1)]
    if any(point is None for point in points):
        return None
    first = by_horizon[1]
    now = steady_clock().now()
    forecast = pb.Forecast(
        id=first.id,
        vs_currency=first.vs_currency,
        as_of=first.as_of,
        last_price=first.last_price,
        model=first.model,
        version=first.version,
        served_by=first.served_by or first.model,
        variant=first.variant,
        degraded=first.degraded,
        reason=f"{first.served_by} answered in place of {first.model}" if first.degraded else "",
        provenance=Provenance(
            as_of=first.as_of, age_seconds=max(0.0, now - first.as_of.seconds), source=SOURCE_ARCHIVE
        ),
        points=[point for point in points if point is not None],
        forecast_id=first.forecast_id,
    )
    rank = PREFERENCE.index(first.model) if first.model in PREFERENCE else len(PREFERENCE)
    return rank, first.served_at.seconds + first.served_at.nanos / 1e9, forecast


def _point_of(entry: training_pb.LoggedForecast, request: pb.GetForecastsRequest) -> pb.ForecastPoint | None:
    """Return one day or hour of a logged forecast; None if a requested level or quantile was not logged."""
    prices = {round(each.probability, 6): each.price for each in entry.quantiles}
    levels = list(request.levels_percent) or [80.0, 95.0]
    intervals = []
    for level in levels:
        lower, upper = (prices.get(round(0.5 + sign * level / 200, 6)) for sign in (-1, 1))
        if lower is None or upper is None:
            return None
        intervals.append(pb.Interval(level_percent=level, lower=lower, upper=upper))
    wanted = list(request.quantile_probabilities)
    if any(round(probability, 6) not in prices for probability in wanted):
        return None
    closes = dt.datetime.fromtimestamp(entry.closes_at.seconds, dt.UTC)
    point = pb.ForecastPoint(
        # The day of the forecast close or hour. Midnight belongs to the day that ends with it.
        date=(closes - dt.timedelta(seconds=1)).date().isoformat(),
        horizon_days=entry.horizon_days,
        horizon_hours=entry.horizon_hours,
        price=entry.median,
        intervals=intervals,
        quantiles=[pb.Quantile(probability=p, price=prices[round(p, 6)]) for p in wanted],
    )
    if entry.horizon_hours:
        point.closes_at.CopyFrom(entry.closes_at)
    return point
