"""Scoring and the live record."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from coincast_training.scoring.accuracy import frame_of, live_records
from coincast_training.scoring.live_record import live_document
from coincast_training.scoring.scorer import score_rows
from coincast_training.scoring.store import LedgerStore
from tests.unit.training.training_fakes import candles_of
from tests.unit.training.training_ledger_rows import forecast_of, incoming

CANDLES = candles_of("bitcoin", 400, first="2024-01-01")
NEWEST = dt.date(2025, 2, 3)
NOW = dt.datetime(2025, 6, 1, tzinfo=dt.UTC).timestamp()


def row_of(day: int, horizon: int = 1, **changes) -> dict:
    return forecast_of(CANDLES, day, horizon, **changes)


def scored_of(rows: list[dict]) -> list[dict]:
    return score_rows(rows, {"bitcoin": CANDLES}, newest=NEWEST, now=NOW).scored


def test_a_score_is_what_a_hand_would_compute():
    (score,) = scored_of([row_of(200)])
    actual = CANDLES.close[201]
    assert score["actual"] == actual
    assert score["absolute_error"] == pytest.approx(abs(actual - CANDLES.close[200]))
    assert score["absolute_error"] == pytest.approx(score["random_walk_error"])
    assert score["inside_80"] == (abs(np.log(actual / CANDLES.close[200])) <= 1.282 * 0.03)
    assert score["crps"] == pytest.approx(score["random_walk_crps"], rel=0.2)


def test_coverage_of_right_widths_is_right():
    rows = scored_of([row_of(day) for day in range(100, 390)])
    assert np.mean([row["inside_80"] for row in rows]) == pytest.approx(0.8, abs=0.06)
    assert np.mean([row["inside_95"] for row in rows]) == pytest.approx(0.95, abs=0.04)


def test_what_is_not_due_waits_and_what_never_comes_expires():
    rows = [row_of(399), row_of(398, coin_id="gone")]
    for days_on, left in ((0, (0, 2, 0)), (30, (0, 2, 0)), (31, (0, 1, 1)), (32, (0, 0, 2))):
        newest = NEWEST + dt.timedelta(days=days_on)
        outcome = score_rows(rows, {"bitcoin": CANDLES}, newest=newest, now=NOW)
        assert (len(outcome.scored), len(outcome.waiting), len(outcome.expired)) == left


def test_a_cycle_that_is_repeated_after_a_crash_counts_once(tmp_path: Path):
    store = LedgerStore(tmp_path)
    rows = [row_of(day) for day in range(200, 210)]
    incoming(tmp_path, rows)
    found = store.open_forecasts()
    scored = scored_of(found.rows)
    store.close_cycle(scored[:5], rows[5:], [])  # dies before the batch is removed
    again = store.open_forecasts()
    assert len(again.rows) == 10
    store.close_cycle(scored_of(again.rows), [], again.batches)
    assert store.scored_since(dt.date(2024, 1, 1)).num_rows == 10
    assert store.open_forecasts().rows == []
    assert store.counts()[1] >= 10


def table_in(tmp_path: Path, rows: list[dict]):
    store = LedgerStore(tmp_path)
    store.close_cycle(scored_of(rows), [], [])
    return store.scored_since(dt.date(2024, 1, 1))


@pytest.mark.slow
def test_the_live_record_by_horizon_and_coin(tmp_path: Path):
    rows = [row_of(day, horizon) for day in range(100, 160) for horizon in (1, 7)]
    fallback = [row_of(day, forecast_id=f"x{day}", served_by="technical") for day in range(100, 160)]
    frame = frame_of(table_in(tmp_path, rows + fallback))
    lives = live_records(frame)
    assert [(live.horizon.horizon_days, live.horizon.forecasts) for live in lives] == [(1, 60), (7, 60)]
    assert lives[0].horizon.skill_percent == pytest.approx(0, abs=1e-9)
    document = live_document(frame, measured_at=NOW, window_days=30)
    assert {(r["model"], r["id"], r["horizon_days"]) for r in document["records"]} == {
        ("lightgbm", coin, horizon) for coin in ("", "bitcoin") for horizon in (1, 7)
    }
