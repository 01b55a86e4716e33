"""The ledger lives by the days of the candles' source, whatever the machine's clock says."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from coincast_chassis.clock import ManualClock
from tests.unit.clock_jumps import JUMPS, JumpingClock
from tests.unit.training.training_fakes import FakeHistory, candles_of
from tests.unit.training.training_ledger_rows import forecast_of, incoming, ledger_in

# Candles of a replayed folder: they end 2025-08-31, a year before the machine's day.
BITCOIN = candles_of("bitcoin", 400, first="2024-07-28")
ETHEREUM = candles_of("ethereum", 400, first="2024-07-28")
LAST = len(BITCOIN) - 1
A_YEAR_ON = dt.datetime(2026, 9, 1, 12, tzinfo=dt.UTC).timestamp()


def replayed(folder: Path, rows: list[dict], **coins):
    """A ledger with a batch of rows, on a machine a year ahead of its candles."""
    incoming(folder, rows)
    history = FakeHistory(coins or {"bitcoin": BITCOIN, "ethereum": ETHEREUM})
    return ledger_in(folder, history, ManualClock(A_YEAR_ON)), history


def waiting(ledger) -> list[tuple[str, str]]:
    return sorted((row["coin_id"], row["due"]) for row in ledger.store.open_forecasts().rows)


async def test_a_forecast_waits_until_the_source_closes_its_day(tmp_path: Path):
    ledger, history = replayed(tmp_path, [forecast_of(BITCOIN, LAST, 7)])
    assert str(BITCOIN.dates[LAST]) == "2025-08-31"
    assert await ledger.cycle() == 0
    assert waiting(ledger) == [("bitcoin", "2025-09-07")]
    history.panel = {"bitcoin": candles_of("bitcoin", 407, first="2024-07-28")}
    assert await ledger.cycle() == 1
    assert waiting(ledger) == []


async def test_a_day_that_the_source_has_moved_past_expires(tmp_path: Path):
    delisted = ETHEREUM.rows(0, LAST - 39)
    gone = [forecast_of(delisted, len(delisted) - 1, horizon) for horizon in (1, 30)]
    ledger, _ = replayed(tmp_path, gone, bitcoin=BITCOIN, ethereum=delisted)
    assert await ledger.cycle() == 0
    assert waiting(ledger) == [("ethereum", gone[1]["due"])]


async def test_no_forecast_expires_while_the_newest_day_of_the_source_is_unknown(tmp_path: Path):
    ledger, _ = replayed(tmp_path, [forecast_of(BITCOIN, LAST - 300)], monero=BITCOIN)
    assert await ledger.cycle() == 0
    assert len(waiting(ledger)) == 1


async def test_a_source_without_reference_coins_tells_its_day_by_the_forecasts_own(tmp_path: Path):
    own = candles_of("monero", 400, first="2024-07-28")
    rows = [forecast_of(own, LAST - 1), forecast_of(own, LAST)]
    ledger, _ = replayed(tmp_path, rows, monero=own)
    assert await ledger.cycle() == 1
    assert waiting(ledger) == [("monero", "2025-09-01")]


async def test_a_source_that_is_behind_its_own_day_still_scores_against_the_baseline(tmp_path: Path):
    ledger, history = replayed(tmp_path, [forecast_of(BITCOIN, LAST - 1)])
    await ledger.cycle()
    assert ledger.store.scored_since(dt.date(2025, 8, 31))["random_walk_crps"].null_count == 0
    # Counted back from the machine's day, the fetch reaches beyond the baseline's sixty days.
    assert history.requested[-1][1] > (dt.date(2026, 9, 1) - dt.date(2025, 8, 30)).days + 60


@pytest.mark.slow
async def test_the_windows_end_on_the_sources_day(tmp_path: Path):
    ledger, _ = replayed(tmp_path, [forecast_of(BITCOIN, day) for day in range(LAST - 60, LAST)])
    await ledger.cycle()
    assert [live.forecasts for live in ledger.live_of("lightgbm", "v000001", 30)] == [30]
    assert ledger.live_of("lightgbm", "v000002", 30) == []
    document = json.loads((tmp_path / "live-record.json").read_text())
    assert {(r["id"], r["forecasts"]) for r in document["records"]} == {("", 30), ("bitcoin", 30)}


async def test_before_the_first_request_to_the_source_the_scores_give_its_day(tmp_path: Path):
    ledger, history = replayed(tmp_path, [forecast_of(BITCOIN, day) for day in range(LAST - 9, LAST)])
    assert ledger.calendar.newest() == dt.date(2026, 8, 31)
    await ledger.cycle()
    history.failures = 1
    again = ledger_in(tmp_path, history, ManualClock(A_YEAR_ON))
    await again.cycle()
    assert again.calendar.newest() == dt.date(2025, 8, 31)
    assert [live.forecasts for live in again.live_of("lightgbm", "v000001", 30)] == [9]


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("from_the_start", [False, True], ids=["while it runs", "from the start"])
async def test_a_clock_that_jumps_changes_no_score_and_loses_no_forecast(
    tmp_path: Path, jump: float, from_the_start: bool
):
    """The source's day decides, and where the clock does, it is a steady one."""
    clock = JumpingClock(dt.datetime(2025, 9, 1, 12, tzinfo=dt.UTC).timestamp())
    if from_the_start:
        clock.jump(jump)
        clock = JumpingClock(clock.now())
    rows = [forecast_of(BITCOIN, day) for day in range(LAST - 9, LAST)]
    late = [forecast_of(BITCOIN, LAST, 7), forecast_of(ETHEREUM, LAST, 30)]
    incoming(tmp_path, [*rows, *late])
    ledger = ledger_in(tmp_path, FakeHistory({"bitcoin": BITCOIN, "ethereum": ETHEREUM}), clock.steady)
    if not from_the_start:
        clock.jump(jump)
    assert await ledger.cycle() == 9
    assert waiting(ledger) == [("bitcoin", "2025-09-07"), ("ethereum", "2025-09-30")]
    clock.jump(-jump)
    assert await ledger.cycle() == 0
    assert len(waiting(ledger)) == 2
    assert ledger.calendar.newest() == dt.date(2025, 8, 31)
    assert [live.forecasts for live in ledger.live_of("lightgbm", "v000001", 30)] == [9]
