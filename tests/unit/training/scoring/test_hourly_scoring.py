"""Forecasts by the hour are scored at their hour, and the live record tells hours and origins apart."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest

from coincast.training.v1 import training_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.ledger import LedgerEntry
from coincast_training.grpc.accuracy import AccuracyServicer
from coincast_training.grpc.proto_mapping import logged_forecast_to_pb
from coincast_training.scoring.parquet import entry_row
from coincast_training.scoring.risk.store import RiskStore
from coincast_training.scoring.service import LedgerService
from coincast_training.scoring.store import LogQuery
from tests.unit.modelkit.hourly.hourly_market import invented
from tests.unit.training.training_fakes import NORMAL, PROBABILITIES, FakeHistory, registry_in
from tests.unit.training.training_ledger_rows import incoming, ledger_in, watch_of

HOURS = invented("bitcoin", 120, seed=3)
DAYS = HOURS.daily()
# The last closed day of the candles is 2021-05-03; the clock stands at 13:00 of the day after the last hour.
CUT = np.datetime64("2021-04-20T13", "h")
NOW = dt.datetime(2021, 4, 20, 13, 5, tzinfo=dt.UTC)


def hour_row(origin: np.datetime64, hours: int, *, width: float = 1.0, **changes: Any) -> dict[str, Any]:
    """Return a forecast by the hour from the close at `origin`, as the forecast service leaves it."""
    candles = HOURS.until(origin)
    day = origin.astype("datetime64[D]")
    last = candles.last_price
    step = 0.006 * width * math.sqrt(hours or 24)
    values: dict[str, Any] = {
        "forecast_id": f"{origin}",
        "made_at": 1.0,
        "coin_id": "bitcoin",
        "vs_currency": "usd",
        "as_of": str(day - np.timedelta64(1, "D")),
        "as_of_hours": int((origin - day.astype("datetime64[h]")).astype(int)),
        "model": "intraday",
        "version": "v000001",
        "variant": "production",
        "served_by": "intraday",
        "horizon_days": 0,
        "horizon_hours": hours,
        "last_price": last,
        "probabilities": tuple(PROBABILITIES),
        "price_quantiles": tuple(last * np.exp(NORMAL * step)),
    }
    return entry_row("1-0", LedgerEntry(**(values | changes)))


def ledger_of(folder: Path, rows: list[dict[str, Any]], until: np.datetime64 = CUT) -> tuple[Any, ...]:
    """Return a ledger with a batch, its source and its clock; the source has the hours up to a moment."""
    incoming(folder, rows)
    history = FakeHistory({"bitcoin": DAYS.until(until.astype("datetime64[D]") - np.timedelta64(1, "D"))})
    history.hours = {"bitcoin": HOURS.until(until)}
    clock = ManualClock(NOW.timestamp())
    return ledger_in(folder, history, clock), history, clock


def scores_of(ledger: LedgerService) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ledger.store.scored_since(dt.date(2020, 1, 1)).to_pylist()
    return rows


def close_at(moment: np.datetime64) -> float:
    return HOURS.until(moment).last_price


@pytest.mark.parametrize(
    ("origin", "hours"),
    [("2021-04-20T12", 1), ("2021-04-20T07", 6), ("2021-04-19T18", 6), ("2021-04-18T23", 24),
     ("2021-04-18T00", 48), ("2021-04-19T00", 24)],
)  # fmt: skip
async def test_an_entry_is_scored_at_its_hour(tmp_path: Path, origin: str, hours: int) -> None:
    start = np.datetime64(origin, "h")
    ledger, _, _ = ledger_of(tmp_path, [hour_row(start, hours)])
    assert await ledger.cycle() == 1
    (row,) = scores_of(ledger)
    due = start + np.timedelta64(hours, "h")
    assert row["actual"] == close_at(due)
    assert row["due"] == str((due - np.timedelta64(1, "h")).astype("datetime64[D]"))
    before = np.diff(np.log(HOURS.until(start).tail(169).close))
    assert row["naive_step"] == pytest.approx(np.abs(np.diff(HOURS.until(start).tail(169).close)).mean())
    sigma = math.sqrt(np.mean(before**2) * hours)
    came = math.log(close_at(due) / close_at(start))
    assert row["inside_80"] == (abs(came) <= 1.282 * 0.006 * math.sqrt(hours))
    # The CRPS of a Gaussian at its own outcome, Gneiting and Raftery 2007.
    z = came / sigma
    density, share = math.exp(-z * z / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(z / math.sqrt(2)))
    expected = sigma * (z * (2 * share - 1) + 2 * density - 1 / math.sqrt(math.pi))
    assert row["random_walk_crps"] == pytest.approx(expected)


async def test_an_hour_that_has_not_closed_waits_until_the_source_gives_it(tmp_path: Path) -> None:
    start = CUT - np.timedelta64(1, "h")
    ledger, history, clock = ledger_of(tmp_path, [hour_row(start, hours) for hours in (1, 2, 3)])
    assert await ledger.cycle() == 1
    clock.advance(3600)  # the hour is over, and the source has not given it yet
    assert await ledger.cycle() == 0
    history.hours = {"bitcoin": HOURS.until(CUT + np.timedelta64(1, "h"))}
    assert await ledger.cycle() == 1
    assert [row["horizon_hours"] for row in ledger.store.open_forecasts().rows] == [3]


async def test_a_source_without_an_answer_by_the_hour_stops_no_daily_score(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "horizon_days": 1,
        "forecast_id": "d",
        "model": "technical",
        "served_by": "technical",
    }
    daily = hour_row(np.datetime64("2021-04-18T00", "h"), 0, **changes)
    ledger, history, _ = ledger_of(tmp_path, [daily, hour_row(CUT - np.timedelta64(1, "h"), 1)])
    history.hours_failures = 1
    assert await ledger.cycle() == 1
    assert [row["forecast_id"] for row in scores_of(ledger)] == ["d"]
    assert await ledger.cycle() == 1
    assert ledger.store.open_forecasts().rows == []


async def test_an_hour_that_never_comes_expires(tmp_path: Path) -> None:
    start = np.datetime64("2021-02-20T05", "h")
    ledger, history, _ = ledger_of(tmp_path, [hour_row(start, 1)])
    hole = HOURS.until(CUT)
    close = np.where(hole.starts == start, np.nan, hole.close)
    history.hours = {
        "bitcoin": HourlyCandles("bitcoin", hole.first, hole.open, hole.high, hole.low, close, hole.volume)
    }
    assert await ledger.cycle() == 0
    assert ledger.store.open_forecasts().rows == []


def every_hour(days: int, horizons: tuple[int, ...], **changes: Any) -> list[dict[str, Any]]:
    starts = [CUT - np.timedelta64(1 + back, "h") for back in range(days * 24)]
    return [hour_row(start, h, **changes) for start in starts for h in horizons]


@pytest.mark.slow
async def test_the_live_record_by_horizon_hour_and_by_hour_of_the_origin(tmp_path: Path) -> None:
    """Forecasts of 09:00 are far too narrow: the record by origin shows it, the whole hardly."""
    rows = [
        hour_row(np.datetime64(row["forecast_id"], "h"), row["horizon_hours"], width=1e-6)
        if row["as_of_hours"] == 9
        else row
        for row in every_hour(10, (1, 5, 6), width=50.0)
    ]
    ledger, _, _ = ledger_of(tmp_path, rows)
    assert await ledger.cycle() == 10 * 24 * 3 - (4 + 5)
    servicer = AccuracyServicer(
        ledger.store,
        registry_in(tmp_path / "artifacts"),
        watch_of(tmp_path),
        ledger.calendar,
        risk=RiskStore(tmp_path / "risk.sqlite"),
    )
    reply = await servicer.GetAccuracy(
        pb.GetAccuracyRequest(model="intraday"), cast("grpc.aio.ServicerContext[Any, Any]", None)
    )
    assert [(r.horizon.horizon_hours, r.horizon.horizon_days) for r in reply.live] == [(1, 0), (5, 0), (6, 0)]
    assert all(not r.HasField("origin_hour") for r in reply.live)
    assert all(90 < r.horizon.coverage_80_percent < 100 for r in reply.live)
    by_hour = {(r.horizon.horizon_hours, r.origin_hour): r.horizon for r in reply.by_origin_hour}
    assert set(by_hour) == {(h, origin) for h in (1, 6) for origin in range(24)}
    for (horizon, origin), record in by_hour.items():
        assert record.coverage_80_percent == (0.0 if origin == 9 else 100.0), (horizon, origin)
    # The models by the day are chosen by a record of days alone.
    assert json.loads((tmp_path / "live-record.json").read_text())["records"] == []


async def test_a_daily_horizon_within_the_day_is_scored_at_the_close_and_counted_by_its_origin(
    tmp_path: Path,
) -> None:
    start = np.datetime64("2021-04-18T18", "h")
    row = hour_row(start, 0, horizon_days=1, model="ml_ensemble", served_by="ml_ensemble")
    ledger, _, _ = ledger_of(tmp_path, [row])
    assert await ledger.cycle() == 1
    (score,) = scores_of(ledger)
    assert score["actual"] == close_at(np.datetime64("2021-04-19T00", "h"))
    days = DAYS.until(np.datetime64("2021-04-17")).tail(61).close
    came = math.log(score["actual"] / row["last_price"])
    whole = float(np.diff(np.log(days)).std())
    # Six hours of the day are left: half the width of a whole day.
    assert score["random_walk_crps"] < 1.2 * max(whole / 2, abs(came))
    assert ledger.live_of("ml_ensemble", "v000001", 30) == []
    logged = logged_forecast_to_pb(score)
    assert logged.as_of.ToJsonString() == "2021-04-18T18:00:00Z"
    assert logged.closes_at.ToJsonString() == "2021-04-19T00:00:00Z"


async def test_the_log_tells_the_moments_of_an_hour(tmp_path: Path) -> None:
    ledger, _, _ = ledger_of(tmp_path, every_hour(1, (1, 6)))
    await ledger.cycle()
    (chunk,) = ledger.store.forecast_log(LogQuery(horizon_hours=6))
    assert len(chunk) == 24
    assert [row["as_of_hours"] for row in chunk][:4] == [13, 14, 15, 16]
    logged = logged_forecast_to_pb(chunk[0])
    assert (logged.horizon_days, logged.horizon_hours) == (0, 6)
    assert logged.closes_at.seconds - logged.as_of.seconds == 6 * 3600
    assert logged.outcome == close_at(np.datetime64("2021-04-19T19", "h"))
