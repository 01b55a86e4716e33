"""The forecast log: forecasts as served with their outcomes, by coin, model, day and horizon."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from coincast.training.v1 import training_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import InvalidInput
from coincast_modelkit.scenarios.live_record import CLOSE_BEYOND, EXCEEDANCE, TOUCH
from coincast_modelkit.scenarios.statements import LossStatement, RiskStatement, TouchStatement
from coincast_training.grpc.accuracy import AccuracyServicer, log_query
from coincast_training.grpc.proto_mapping import logged_forecast_to_pb
from coincast_training.scoring.risk.outcomes import Outcome
from coincast_training.scoring.risk.store import RiskStore, ScoredDays
from coincast_training.scoring.source_calendar import SourceCalendar
from coincast_training.scoring.store import LOG_CHUNK, LedgerStore, LogQuery
from coincast_training.starter.build import simulated_candles
from tests.unit.training.scoring.risk.risk_statements import losses, touch
from tests.unit.training.training_fakes import FakeHistory, registry_in
from tests.unit.training.training_ledger_rows import forecast_of, incoming, ledger_in, watch_of

DAYS = 120


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LedgerStore:
    """A log of 60 days of two coins at two horizons; the last days have no outcome yet. Only read."""
    folder = tmp_path_factory.mktemp("ledger")
    panel = {coin: simulated_candles(coin, seed, DAYS) for seed, coin in enumerate(("bitcoin", "ethereum"))}
    rows = [
        forecast_of(candles, day, horizon)
        for candles in panel.values()
        for day in range(DAYS - 60, DAYS)
        for horizon in (1, 7)
    ]
    incoming(folder, [*rows, forecast_of(panel["bitcoin"], 80, shadow=True, version="v000009")])
    newest = panel["bitcoin"].dates[-1].astype(object)
    clock = ManualClock(dt.datetime.combine(newest + dt.timedelta(days=1), dt.time(2), dt.UTC).timestamp())
    service = ledger_in(folder, FakeHistory(panel), clock)
    asyncio.run(service.cycle())
    return service.store


def read(store: LedgerStore, query: LogQuery) -> list[dict]:
    """All rows of a query."""
    return [row for chunk in store.forecast_log(query) for row in chunk]


@pytest.mark.slow
async def test_everything_comes_once_oldest_first(store: LedgerStore) -> None:
    rows = read(store, LogQuery())
    assert len(rows) == 2 * 60 * 2
    assert [row["as_of"] for row in rows] == sorted(row["as_of"] for row in rows)
    assert all(not row["shadow"] for row in rows)
    known = [row for row in rows if "actual" in row]
    assert len(known) == 2 * (59 + 53)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "count"),
    [
        (LogQuery(ids=("bitcoin",)), 120),
        (LogQuery(horizon_days=7), 120),
        (LogQuery(ids=("ethereum",), horizon_days=1, limit=5), 5),
        (LogQuery(model="lstm"), 0),
        (LogQuery(ids=("dogecoin",)), 0),
    ],
)
async def test_a_query_narrows_the_log(store: LedgerStore, query: LogQuery, count: int) -> None:
    assert len(read(store, query)) == count


@pytest.mark.slow
async def test_days_bound_the_log_at_both_ends(store: LedgerStore) -> None:
    days = sorted({row["as_of"] for row in read(store, LogQuery())})
    query = LogQuery(first=dt.date.fromisoformat(days[3]), last=dt.date.fromisoformat(days[5]))
    assert {row["as_of"] for row in read(store, query)} == set(days[3:6])


@pytest.mark.slow
async def test_chunks_are_bounded(store: LedgerStore) -> None:
    assert all(len(chunk) <= LOG_CHUNK for chunk in store.forecast_log(LogQuery()))


async def test_an_empty_log_has_no_entries(tmp_path: Path) -> None:
    assert read(LedgerStore(tmp_path), LogQuery()) == []


@pytest.mark.slow
async def test_an_entry_carries_its_outcome_only_when_the_day_has_closed(store: LedgerStore) -> None:
    rows = read(store, LogQuery(ids=("bitcoin",), horizon_days=1))
    first, last = logged_forecast_to_pb(rows[0]), logged_forecast_to_pb(rows[-1])
    assert first.outcome == rows[0]["actual"]
    assert first.HasField("crps")
    assert not last.HasField("outcome")
    assert first.closes_at.seconds - first.as_of.seconds == 86400
    assert first.as_of.ToDatetime().time() == dt.time(0)
    assert [interval.level_percent for interval in first.intervals] == [50.0, 80.0, 95.0]
    assert first.intervals[1].lower < first.median < first.intervals[1].upper
    assert not first.degraded


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.StreamForecastLogRequest(ids=["Bitcoin!"]), "ids"),
        (pb.StreamForecastLogRequest(ids=["a"] * 251), "ids"),
        (pb.StreamForecastLogRequest(model="prophet"), "model"),
        (pb.StreamForecastLogRequest(from_date="yesterday"), "from_date"),
        (pb.StreamForecastLogRequest(to_date="2025-02-30"), "to_date"),
        (pb.StreamForecastLogRequest(from_date="2025-02-02", to_date="2025-02-01"), "from_date"),
        (pb.StreamForecastLogRequest(horizon_days=400), "horizon_days"),
        (pb.StreamForecastLogRequest(horizon_days=1, horizon_hours=1), "horizon_hours"),
    ],
)
def test_a_bad_request_names_its_field(request_: pb.StreamForecastLogRequest, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        log_query(request_)
    assert refused.value.field == field


def scored_risk(folder: Path, newest: dt.date) -> RiskStore:
    """Risk answers that were scored: of the ensemble on the newest days, of technical a year earlier."""
    store = RiskStore(folder / "risk.sqlite")
    made = [
        (newest - dt.timedelta(days=3), "ml_ensemble"),
        (newest - dt.timedelta(days=367), "technical"),
    ]
    statements: list[RiskStatement] = []
    for day, model in made:
        changes: dict[str, Any] = {"as_of": day.isoformat(), "served_by": model}
        statements += [
            touch(statement_id=f"t-{model}", **changes),
            losses(statement_id=f"l-{model}", **changes),
        ]
    store.add(statements)
    outcomes = {
        TouchStatement: (
            Outcome(TOUCH, 3, 0.6, came_true=True),
            Outcome(CLOSE_BEYOND, 3, 0.3, came_true=False),
        ),
        LossStatement: (Outcome(EXCEEDANCE, 2, 0.1, came_true=False, level_percent=90.0),),
    }
    store.close([ScoredDays(one, outcomes[type(one.statement)], None) for one in store.due(newest)], newest)
    return store


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, {("touch", "ml_ensemble"), ("close_beyond", "ml_ensemble"), ("exceedance", "ml_ensemble")}),
        ({"model": "ml_ensemble"}, "own"),
        ({"model": "technical"}, set()),
        (
            {"days": 365},
            {
                (kind, model)
                for kind in ("touch", "close_beyond", "exceedance")
                for model in ("ml_ensemble", "technical")
                # Of what was said 367 days ago only the third day ahead came within 365 days.
                if (kind, model) != ("exceedance", "technical")
            },
        ),
        ({"id": "bitcoin"}, set()),
    ],
)
async def test_accuracy_lists_how_risk_answers_came_true(
    store: LedgerStore, tmp_path: Path, asked: dict[str, Any], found: Any
) -> None:
    newest = dt.date(2025, 9, 30)
    calendar = cast(
        "SourceCalendar", SimpleNamespace(first_day=lambda days: newest - dt.timedelta(days=days - 1))
    )
    servicer = AccuracyServicer(
        store,
        registry_in(tmp_path / "artifacts"),
        watch_of(tmp_path),
        calendar,
        risk=scored_risk(tmp_path, newest),
    )
    reply = await servicer.GetAccuracy(pb.GetAccuracyRequest(**asked), cast(Any, None))
    models = {(record.kind, record.served_by) for record in reply.risk}
    own = {("touch", "ml_ensemble"), ("close_beyond", "ml_ensemble"), ("exceedance", "ml_ensemble")}
    of_all = set() if "model" in asked else {(kind, "") for kind, _ in models}
    assert models == (own if found == "own" else found) | of_all
    for record in reply.risk:
        assert record.statements > 0
        assert record.observed_percent == (100.0 if record.kind == "touch" else 0.0)
        assert record.HasField("level_percent") == (record.kind == "exceedance")
    assert (reply.ledger.open_risk_statements, reply.ledger.scored_risk_chances) == (0, 6)
