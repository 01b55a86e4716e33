"""Convert between protobuf messages and domain objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TypeVar
from weakref import WeakKeyDictionary

from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1 import common_pb2
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_forecast import domain
from coincast_forecast.domain import CoinForecast, ForecastQuery, Provenance, Source
from coincast_forecast.rendering.service import dates_ahead
from coincast_forecast.service import ForecastResponse
from coincast_modelkit.hourly.model import MODEL as INTRADAY

# Limit of the ids in a request before duplicates are removed: it bounds the work for repeated ids.
MAX_RAW_IDS = 4 * domain.MAX_IDS
MAX_ID_LENGTH = 200

T = TypeVar("T")

_SOURCES = {
    Source.UNSPECIFIED: common_pb2.SOURCE_UNSPECIFIED,
    Source.LIVE: common_pb2.SOURCE_LIVE,
    Source.FRESH: common_pb2.SOURCE_FRESH,
    Source.STALE: common_pb2.SOURCE_STALE,
    Source.ARCHIVE: common_pb2.SOURCE_ARCHIVE,
    Source.SANDBOX: common_pb2.SOURCE_SANDBOX,
}
SOURCES = {number: source for source, number in _SOURCES.items()}


def query_of(request: pb.GetForecastsRequest) -> ForecastQuery:
    """Convert and validate a request. Raises InvalidInput, which names the field and the fix."""
    model = parse_model(request.model)
    days = request.days or domain.DEFAULT_DAYS
    if days > domain.MAX_DAYS:
        raise InvalidInput(f"days must be 1 to {domain.MAX_DAYS}, not {days}", field="days")
    as_of = parse_as_of(request)
    if request.attribution_features and as_of is not None:
        raise InvalidInput(
            "forecasts of past days are not explained: leave attribution_features out",
            field="attribution_features",
        )
    if request.attribution_features > domain.MAX_ATTRIBUTIONS:
        raise InvalidInput(
            f"attribution_features must be at most {domain.MAX_ATTRIBUTIONS}",
            field="attribution_features",
        )
    return ForecastQuery(
        ids=parse_ids(request.ids),
        vs_currency=parse_currency(request.vs_currency),
        days=days,
        model=model,
        levels_percent=parse_numbers(request.levels_percent, 1, 99.9, "levels_percent")
        or domain.DEFAULT_LEVELS_PERCENT,
        quantile_probabilities=parse_numbers(
            request.quantile_probabilities, 0.0005, 0.9995, "quantile_probabilities"
        ),
        attribution_features=request.attribution_features,
        client_key=request.client_key,
        as_of=as_of,
    )


def parse_as_of(request: pb.GetForecastsRequest) -> datetime | None:
    """Return the past time of a request, a full UTC hour; None for now. Raises InvalidInput."""
    day = parse_day(request.as_of_date, "as_of")
    if not request.HasField("as_of_time"):
        return None if day is None else domain.close_of(day)
    if day is not None:
        raise InvalidInput("give either as_of_date or as_of_time, not both", field="as_of")
    return request.as_of_time.ToDatetime(tzinfo=UTC).replace(minute=0, second=0, microsecond=0)


def parse_day(given: str, field: str) -> date | None:
    """Parse a UTC day; None for an empty string. Raises InvalidInput."""
    if not given:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise InvalidInput(
            f"{field} must be a day such as 2026-01-31, not {given[:50]!r}", field=field
        ) from error


def parse_model(given: str) -> str:
    """Return the requested model, by default `auto`. Raises InvalidInput."""
    model = given.strip().lower() or domain.AUTO
    if model == INTRADAY:
        raise InvalidInput(
            f"{INTRADAY} forecasts hours, not days: give hours instead of days, or leave model out",
            field="model",
        )
    if model not in domain.ASKABLE_MODELS:
        raise InvalidInput(
            f"there is no model {model[:50]!r}: give one of {', '.join(domain.ASKABLE_MODELS)}",
            field="model",
        )
    return model


def parse_ids(given: Sequence[str], *, field: str = "ids") -> tuple[str, ...]:
    """Return the ids, in lower case and without duplicates. Raises InvalidInput."""
    if len(given) > MAX_RAW_IDS:
        raise InvalidInput(f"{field} must name 1 to {domain.MAX_IDS} coins, not {len(given)}", field=field)
    ids = tuple(dict.fromkeys(coin.strip().lower() for coin in given))
    if not 1 <= len(ids) <= domain.MAX_IDS:
        raise InvalidInput(f"{field} must name 1 to {domain.MAX_IDS} coins, not {len(ids)}", field=field)
    if any(not coin or len(coin) > MAX_ID_LENGTH for coin in ids):
        raise InvalidInput(
            f"{field} holds an empty or overlong id: give CoinGecko ids such as bitcoin", field=field
        )
    return ids


def parse_currency(given: str) -> str:
    """Return the currency, by default usd. Raises InvalidInput."""
    currency = given.strip().lower() or "usd"
    if not (currency.isascii() and currency.isalnum() and len(currency) <= 10):
        raise InvalidInput("vs_currency must be a currency code such as usd", field="vs_currency")
    return currency


def parse_numbers(given: Sequence[float], least: float, most: float, field: str) -> tuple[float, ...]:
    """Return the numbers of a field, sorted and without duplicates.

    Args:
        given: The numbers.
        least: Smallest allowed number.
        most: Largest allowed number.
        field: Name of the field, for the error.

    Raises:
        InvalidInput: There are more than 50 numbers, or one is out of range.
    """
    if len(given) > 50:
        raise InvalidInput(f"{field} takes at most 50 numbers, not {len(given)}", field=field)
    for number in given:
        if not least <= number <= most:  # This refuses NaN too.
            raise InvalidInput(
                f"{field} must lie between {least:g} and {most:g}, not {number:g}", field=field
            )
    return tuple(sorted(set(given)))


class ReplyEncoder:
    """Encodes replies, and caches the encoded bytes of each forecast while the forecast object exists.

    Encoded bytes need a quarter of the memory of a message, and to parse them is as fast as to copy a
    message.
    """

    def __init__(self) -> None:
        self._encoded: WeakKeyDictionary[CoinForecast, bytes] = WeakKeyDictionary()

    def encode(self, reply: ForecastResponse, clock: Clock) -> pb.GetForecastsResponse:
        """Encode a reply; the clock is used for the current age of the data."""
        message = pb.GetForecastsResponse()
        provenances: dict[tuple[datetime, Provenance], common_pb2.Provenance] = {}
        for served in reply.forecasts:
            forecast = message.forecasts.add()
            self._fill(forecast, served.forecast)
            key = (served.forecast.as_of, served.provenance)
            if key not in provenances:
                provenances[key] = provenance_message(served.forecast.as_of, served.provenance, clock)
            forecast.provenance.MergeFrom(provenances[key])
        message.errors.extend(item_error(coin, error) for coin, error in reply.errors)
        return message

    def _fill(self, message: pb.Forecast, forecast: CoinForecast) -> None:
        encoded = self._encoded.get(forecast)
        if encoded is not None:
            message.MergeFromString(encoded)
            return
        made = forecast_message(forecast)
        self._encoded[forecast] = made.SerializeToString()
        message.CopyFrom(made)


def forecast_message(forecast: CoinForecast) -> pb.Forecast:
    """Return the message of a forecast without its provenance, which depends on the current time."""
    message = pb.Forecast(
        id=forecast.coin_id,
        vs_currency=forecast.vs_currency,
        as_of=timestamp(forecast.as_of),
        last_price=forecast.last_price,
        model=forecast.model,
        version=forecast.version,
        served_by=forecast.served_by,
        degraded=forecast.degraded,
        reason=forecast.reason,
        record=record_message(forecast.record),
        variant=_shown_variant(forecast),
        forecast_id=forecast.forecast_id,
        attributions_reason=forecast.attributions_reason,
        reconstructed=forecast.reconstructed,
        hourly_version=forecast.start.hourly_version,
        as_of_reason=forecast.start.reason,
    )
    for a in forecast.attributions:
        message.attributions.add(
            feature=a.feature,
            value=a.value,
            contribution=a.contribution,
            output=a.output,
            horizon_days=a.horizon_days,
        )
    _add_points(message, forecast)
    return message


def _shown_variant(forecast: CoinForecast) -> str:
    """Return the variant; "" for a scaled daily forecast, which is in no A/B test of hourly models."""
    scaled = forecast.by_the_hour and forecast.served_by != forecast.model
    return "" if scaled else forecast.variant


def _add_points(message: pb.Forecast, forecast: CoinForecast) -> None:
    """Add the points of a forecast in place; passing messages built before takes three times as long."""
    curve = forecast.curve
    days = () if forecast.by_the_hour else dates_ahead(forecast.day, len(curve.prices))
    for i, price in enumerate(curve.prices):
        if forecast.by_the_hour:
            closes = forecast.as_of + timedelta(hours=i + 1)
            point = message.points.add(
                # The UTC day of the forecast time; midnight belongs to the day that ends then.
                date=(closes - timedelta(microseconds=1)).date().isoformat(),
                horizon_hours=i + 1,
                price=price,
                probability_of_rise=curve.rise_probability[i],
            )
            point.closes_at.FromDatetime(closes)
        else:
            point = message.points.add(
                date=days[i],
                horizon_days=i + 1,
                price=price,
                probability_of_rise=curve.rise_probability[i],
            )
        for c in curve.intervals:
            point.intervals.add(level_percent=c.level_percent, lower=c.lower[i], upper=c.upper[i])
        for q in curve.quantiles:
            point.quantiles.add(probability=q.probability, price=q.prices[i])
        outlook, trailing = point.volatility, curve.trailing_annualised_percent[i]
        outlook.annualised_percent = curve.volatility_annualised_percent[i]
        if trailing is not None:
            outlook.trailing_annualised_percent = trailing
        increase = curve.volatility_rise_probability[i]
        if increase is not None:
            outlook.probability_of_increase = increase


@lru_cache(maxsize=64)
def record_message(record: domain.Record | None) -> pb.Record | None:
    """Return the message of a record, None for None. It is cached and shared: copy it, do not change it."""
    if record is None:
        return None
    return pb.Record(
        measured_at=timestamp(record.measured_at),
        test_coins=record.test_coins,
        test_from_date=record.test_from_date,
        test_to_date=record.test_to_date,
        horizons=[
            pb.HorizonRecord(
                horizon_days=h.horizon_days,
                horizon_hours=h.horizon_hours,
                forecasts=h.forecasts,
                mase=h.mase,
                mape_percent=h.mape_percent,
                random_walk_mape_percent=h.random_walk_mape_percent,
                skill_percent=h.skill_percent,
                crps_skill_percent=h.crps_skill_percent,
                coverage_80_percent=h.coverage_80_percent,
                coverage_95_percent=h.coverage_95_percent,
                coverage_80_standard_error=h.coverage_80_standard_error,
                independent_periods=h.independent_periods,
                random_walk_mase=h.random_walk_mase,
            )
            for h in record.horizons
        ],
    )


def models_message(models: Iterable[domain.ModelStatus]) -> pb.ListModelsResponse:
    """Return the message of the models that can be requested."""
    return pb.ListModelsResponse(
        models=[
            pb.Model(
                name=m.name,
                description=m.description,
                ready=m.ready,
                reason=m.reason,
                version=m.version,
                created_at=timestamp(m.created_at),
                max_horizon_days=m.max_horizon_days,
                max_horizon_hours=m.max_horizon_hours,
                min_history_days=m.min_history_days,
                trained_coins=m.trained_coins,
                record=record_message(m.record),
                variants=[pb.Variant(alias=v.alias, version=v.version, share=v.share) for v in m.variants],
            )
            for m in models
        ]
    )


def status_message(status: domain.ServiceStatus) -> pb.GetStatusResponse:
    """Return the message of the service's state."""
    return pb.GetStatusResponse(
        version=status.version,
        uptime_seconds=status.uptime_seconds,
        loaded=[
            pb.LoadedVersion(
                model=v.model,
                version=v.version,
                alias=v.alias,
                loaded_at=timestamp(v.loaded_at),
                created_at=timestamp(v.created_at),
            )
            for v in status.loaded
        ],
        refused=[
            pb.RefusedVersion(
                model=r.model, version=r.version, reason=r.reason, refused_at=timestamp(r.refused_at)
            )
            for r in status.refused
        ],
        history=pb.HistoryStatus(
            coins=status.history.coins, hits=status.history.hits, misses=status.history.misses
        ),
        ledger=pb.LedgerStatus(
            appended_total=status.ledger.appended_total,
            spooled=status.ledger.spooled,
            redis_up=status.ledger.redis_up,
        ),
        market_data_up=status.market_data_up,
    )


def item_error(coin: str, error: CoincastError) -> common_pb2.ItemError:
    """Return the message of one coin's error."""
    return common_pb2.ItemError(
        id=coin,
        kind=common_pb2.ErrorKind.Value(f"ERROR_KIND_{error.kind.upper()}"),
        message=error.message,
        field=error.field,
        suggestions=error.suggestions,
        retry_after_seconds=error.retry_after_seconds,
    )


@lru_cache(maxsize=256)
def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a protobuf timestamp, None for None. It is cached and shared: copy it, do not change it."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message


def provenance_of(message: common_pb2.Provenance) -> Provenance:
    """Convert market-data's provenance; the clock offset follows from `as_of` and its age."""
    offset = None
    if message.HasField("as_of"):
        upstream_now = message.as_of.ToDatetime(UTC).timestamp() + message.age_seconds
        offset = upstream_now - steady_clock().monotonic()
    return Provenance(SOURCES.get(message.source, Source.UNSPECIFIED), message.stale, message.reason, offset)


def provenance_message(as_of: datetime, provenance: Provenance, clock: Clock) -> common_pb2.Provenance:
    """Return the provenance message of a forecast from the close at `as_of`.

    The age is computed with the monotonic clock, so that a jump of the wall clock does not change it.
    """
    offset = provenance.clock_offset_seconds
    upstream_now = clock.now() if offset is None else clock.monotonic() + offset
    return common_pb2.Provenance(
        as_of=timestamp(as_of),
        age_seconds=max(0.0, upstream_now - as_of.timestamp()),
        source=_SOURCES[provenance.source],
        stale=provenance.stale,
        reason=provenance.reason,
    )
