"""gRPC servicer of the measured accuracy and the forecast log."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import grpc.aio

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_modelkit.hourly.model import MAX_HORIZON_HOURS
from coincast_modelkit.scenarios import MAX_DAYS as MAX_SCENARIO_DAYS
from coincast_modelkit.scenarios.live_record import LiveRiskRecord
from coincast_training.domain import TRAINED_MODELS
from coincast_training.grpc.jobs import within
from coincast_training.grpc.proto_mapping import (
    live_risk_to_pb,
    live_to_pb,
    logged_forecast_to_pb,
    record_to_pb,
    variant_test_to_pb,
)
from coincast_training.jobs.validation import COIN_ID
from coincast_training.registry.registry import Registry
from coincast_training.scoring.ab_tests import COLUMNS, Rival, VariantTest, rivals_of, variant_tests
from coincast_training.scoring.accuracy import frame_of, live_records, origin_hour_records
from coincast_training.scoring.lag import LedgerWatch
from coincast_training.scoring.risk.record import live_risk_table
from coincast_training.scoring.risk.store import RiskStore
from coincast_training.scoring.source_calendar import SourceCalendar
from coincast_training.scoring.store import MAX_HORIZON_DAYS, LedgerStore, LogQuery

Context = grpc.aio.ServicerContext[object, object]
SERVED = (*TRAINED_MODELS, "technical")
MAX_DAYS, DEFAULT_DAYS = 365, 30
LOGGED = (*SERVED, "last_price")
MAX_LOG_IDS = 250


class AccuracyServicer(training_pb2_grpc.AccuracyServiceServicer):
    """Serve the accuracy of past forecasts, the accuracy in the evaluation, and the forecast log."""

    def __init__(
        self,
        store: LedgerStore,
        registry: Registry,
        watch: LedgerWatch,
        calendar: SourceCalendar,
        *,
        risk: RiskStore,
    ) -> None:
        self._store, self._registry, self._watch, self._calendar = store, registry, watch, calendar
        self._risk = risk

    async def GetAccuracy(self, request: pb.GetAccuracyRequest, context: Context) -> pb.GetAccuracyResponse:  # noqa: N802, D102 - the contract names it
        if request.model and request.model not in SERVED:
            raise InvalidInput(f"model must be one of {', '.join(SERVED)}, or empty.", field="model")
        if request.id and not COIN_ID.fullmatch(request.id):
            raise InvalidInput(
                f"{request.id!r} is not a CoinGecko id; ids are lower case, like bitcoin.", field="id"
            )
        days = within(request.days, MAX_DAYS, DEFAULT_DAYS, "days")
        reply = await asyncio.to_thread(self._accuracy, request.model, request.id, days)
        reply.ledger.CopyFrom(await self._watch.status())
        return reply

    def _accuracy(self, model: str, coin_id: str, days: int) -> pb.GetAccuracyResponse:
        first = self._calendar.first_day(days)
        table = self._store.scored_since(first)
        frame = frame_of(table, model=model, coin_id=coin_id)
        return pb.GetAccuracyResponse(
            live=[live_to_pb(live) for live in live_records(frame, by_coin=bool(coin_id))],
            by_origin_hour=[live_to_pb(live) for live in origin_hour_records(frame, by_coin=bool(coin_id))],
            evaluated=self._evaluated([model] if model else list(TRAINED_MODELS)),
            tests=[variant_test_to_pb(test) for test in self._tests(rivals_of(frame), model, coin_id)],
            # Tallies of risk answers are not kept by coin: a portfolio has several.
            risk=[] if coin_id else [live_risk_to_pb(record) for record in self._risk_records(model, first)],
        )

    def _risk_records(self, model: str, first: dt.date) -> list[LiveRiskRecord]:
        """Return how served risk answers came true whose day came on a day or later."""
        made_since = first - dt.timedelta(days=MAX_SCENARIO_DAYS)
        tallies = [
            tally
            for tally in self._risk.tallies(made_since)
            if dt.date.fromisoformat(tally.as_of) + dt.timedelta(days=tally.horizon_days) >= first
        ]
        table = live_risk_table(tallies, measured_at=0.0)
        return [record for record in table.records if not model or record.served_by == model]

    def _tests(self, rivals: list[Rival], model: str, coin_id: str) -> list[VariantTest]:
        """Return the tests of production against each other version of the requested days.

        Each test covers all scores since it began, not only the requested days.
        """
        if not rivals:
            return []
        scores = frame_of(self._store.every_score(COLUMNS), model=model, coin_id=coin_id)
        return variant_tests(scores, rivals)

    async def StreamForecastLog(  # noqa: N802, D102 - the contract names it
        self, request: pb.StreamForecastLogRequest, context: Context
    ) -> AsyncIterator[pb.StreamForecastLogResponse]:
        chunks = self._store.forecast_log(log_query(request))
        while (rows := await asyncio.to_thread(next, chunks, None)) is not None:
            yield pb.StreamForecastLogResponse(forecasts=[logged_forecast_to_pb(row) for row in rows])

    def _evaluated(self, models: list[str]) -> list[pb.EvaluatedRecord]:
        found = []
        for model in models:
            version = self._registry.table(model).production if model in TRAINED_MODELS else ""
            if not version:
                continue
            try:
                record = self._registry.versions.get(model, version).record
            except CoincastError:
                continue  # the registry reports the damage; the rest of the answer is still useful
            found.append(pb.EvaluatedRecord(model=model, version=version, record=record_to_pb(record)))
        return found


def log_query(request: pb.StreamForecastLogRequest) -> LogQuery:
    """Validate a request for the forecast log.

    Raises:
        InvalidInput: A field is out of range or contradicts another.
    """
    if len(request.ids) > MAX_LOG_IDS:
        raise InvalidInput(
            f"ids may have at most {MAX_LOG_IDS} coins; it has {len(request.ids)}.", field="ids"
        )
    for coin_id in request.ids:
        if not COIN_ID.fullmatch(coin_id):
            raise InvalidInput(
                f"{coin_id!r} is not a CoinGecko id; ids are lower case, like bitcoin.", field="ids"
            )
    if request.model and request.model not in LOGGED:
        raise InvalidInput(f"model must be one of {', '.join(LOGGED)}, or empty.", field="model")
    if request.horizon_days and request.horizon_hours:
        raise InvalidInput("Give horizon_days or horizon_hours, not both.", field="horizon_hours")
    if request.horizon_days > MAX_HORIZON_DAYS:
        raise InvalidInput(
            f"horizon_days must be 1 to {MAX_HORIZON_DAYS}, or 0 for all.", field="horizon_days"
        )
    if request.horizon_hours > MAX_HORIZON_HOURS:
        raise InvalidInput(
            f"horizon_hours must be 1 to {MAX_HORIZON_HOURS}, or 0 for all.", field="horizon_hours"
        )
    first, last = _log_day(request.from_date, "from_date"), _log_day(request.to_date, "to_date")
    if first and last and first > last:
        raise InvalidInput(f"from_date {first} is after to_date {last}.", field="from_date")
    return LogQuery(
        ids=tuple(request.ids),
        model=request.model,
        first=first,
        last=last,
        horizon_days=request.horizon_days,
        horizon_hours=request.horizon_hours,
        limit=request.limit,
    )


def _log_day(text: str, field: str) -> dt.date | None:
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{field} must be a date like 2025-08-31; it is {text!r}.", field=field) from error
