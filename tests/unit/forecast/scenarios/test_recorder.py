"""Risk answers are logged once, in bounds, and never at the cost of a reply."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Sequence

import numpy as np
import pytest

from coincast_forecast.domain import Provenance, Source
from coincast_forecast.inference.thread import ThreadStuckError
from coincast_forecast.scenarios.recorder import RiskRecorder
from coincast_forecast.scenarios.service import (
    Basis,
    CoinSource,
    LevelAnswer,
    PortfolioAnswer,
    PricedHolding,
    Simulation,
    TouchAnswer,
)
from coincast_modelkit.scenarios import JointPaths, assess_portfolio, touch_probabilities
from coincast_modelkit.scenarios.statements import LossStatement, RiskStatement, TouchStatement

DAY = dt.date(2025, 8, 31)


class FakeLog:
    """A log in memory; `error` is raised by the next appends, and `held` blocks them."""

    def __init__(self) -> None:
        self.entries: list[RiskStatement] = []
        self.error: Exception | None = None
        self.takes = True
        self.held: asyncio.Event | None = None

    async def append(self, entries: Sequence[RiskStatement]) -> bool:
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            raise self.error
        if self.takes:
            self.entries += entries
        return self.takes


def simulation(day: dt.date = DAY, seed: int = 1) -> Simulation:
    closes = np.random.default_rng(seed).normal(0, 0.03, (2, 14, 1000)).cumsum(axis=1)
    paths = JointPaths(
        ("bitcoin", "ethereum"),
        np.array([100.0, 10.0]),
        np.datetime64("2022-01-01") + np.arange(1000).astype("timedelta64[D]"),
        closes,
        np.maximum(closes, 0),
        np.minimum(closes, 0),
        np.zeros(2),
        np.ones(2, dtype=bool),
    )
    basis = Basis("ml_ensemble", "v1", "mixed", "", day, Provenance(Source.SANDBOX), 1000, day, day, ())
    return Simulation(paths, basis, sources={"bitcoin": CoinSource("technical", day)})


def touch(*prices: float, day: dt.date = DAY) -> TouchAnswer:
    made = simulation(day)
    levels = tuple(
        LevelAnswer(
            price, price - 100, touch_probabilities(made.paths, "bitcoin", float(np.log(price / 100)))
        )
        for price in prices
    )
    return TouchAnswer(made, {"bitcoin": (100.0, levels)})


def portfolio(scale: float = 1.0, days: int = 7, levels: Sequence[float] = (95.0, 99.9)) -> PortfolioAnswer:
    made = simulation()
    values = {"bitcoin": 300.0 * scale, "ethereum": -100.0 * scale}
    holdings = (
        PricedHolding("bitcoin", 3.0 * scale, 100.0, values["bitcoin"]),
        PricedHolding("ethereum", -10.0 * scale, 10.0, values["ethereum"]),
    )
    return PortfolioAnswer(made, holdings, assess_portfolio(made.paths, values, days, levels), days)


async def test_a_touch_is_logged_as_it_was_stated() -> None:
    log = FakeLog()
    answer = touch(105.0)
    assert await RiskRecorder(log).record_touch(answer, vs_currency="usd", days=7)
    [entry] = log.entries
    assert isinstance(entry, TouchStatement)
    chances = answer.coins["bitcoin"][1][0].probabilities
    assert entry.touch == tuple(chances.touch[:7])
    assert entry.close_beyond == tuple(chances.close_beyond[:7])
    assert (entry.coin_id, entry.as_of, entry.served_by, entry.level, entry.first_day) == (
        "bitcoin", "2025-08-31", "technical", 105.0, 1,
    )  # fmt: skip


async def test_the_same_question_is_logged_once_and_more_days_of_it_are_added() -> None:
    log, recorder = FakeLog(), None
    recorder = RiskRecorder(log)
    for days in (3, 3, 2, 7, 7):
        assert await recorder.record_touch(touch(105.0), vs_currency="usd", days=days)
    entries = [e for e in log.entries if isinstance(e, TouchStatement)]
    assert [(e.first_day, e.last_day) for e in entries] == [(1, 3), (4, 7)]
    assert len({e.statement_id for e in entries}) == 1
    await asyncio.gather(*(recorder.record_touch(touch(95.0), vs_currency="usd", days=7) for _ in range(20)))
    assert len(log.entries) == 3


async def test_a_level_at_the_last_price_states_nothing() -> None:
    log = FakeLog()
    assert not await RiskRecorder(log).record_touch(touch(100.0), vs_currency="usd", days=7)
    assert log.entries == []


async def test_a_portfolio_is_logged_as_weights_without_sizes() -> None:
    log = FakeLog()
    recorder = RiskRecorder(log)
    assert await recorder.record_losses(portfolio(), vs_currency="usd")
    assert await recorder.record_losses(portfolio(), vs_currency="usd")
    [entry] = log.entries
    assert isinstance(entry, LossStatement)
    assert entry.weights == {"bitcoin": 0.75, "ethereum": -0.25}
    answer = portfolio()
    said = answer.risk.levels[0]
    assert said.value_at_risk is not None and said.expected_shortfall is not None
    assert [level[0] for level in entry.levels] == [95.0], "what was refused is no statement"
    assert entry.levels[0][1:] == pytest.approx((said.value_at_risk / 400, said.expected_shortfall / 400))
    plain = json.loads(entry.to_json())
    assert set(plain) == {
        "statement", "statement_id", "vs_currency", "as_of", "served_by", "days", "weights", "last_prices",
        "levels",
    }  # fmt: skip
    # Ten times as much of everything has the same weights.
    await recorder.record_losses(portfolio(10.0), vs_currency="usd")
    assert [e.weights for e in log.entries if isinstance(e, LossStatement)][-1] == entry.weights


@pytest.mark.parametrize(
    "error",
    [ValueError("a bad entry"), OSError("no space"), ThreadStuckError("hangs"), RuntimeError("other")],
)
async def test_an_error_costs_the_entry_alone(error: Exception) -> None:
    log = FakeLog()
    recorder = RiskRecorder(log)
    log.error = error
    assert not await recorder.record_touch(touch(105.0), vs_currency="usd", days=7)
    assert not await recorder.record_losses(portfolio(), vs_currency="usd")
    log.error = None
    assert await recorder.record_touch(touch(105.0), vs_currency="usd", days=7)
    assert await recorder.record_losses(portfolio(), vs_currency="usd")
    assert len(log.entries) == 2


async def test_a_log_that_takes_nothing_is_not_called_recorded() -> None:
    log = FakeLog()
    log.takes = False
    assert not await RiskRecorder(log).record_touch(touch(105.0), vs_currency="usd", days=7)


async def test_a_log_that_hangs_delays_a_reply_by_a_second_at_most() -> None:
    log = FakeLog()
    log.held = asyncio.Event()
    recorder = RiskRecorder(log, wait_seconds=0.05)
    began = time.monotonic()
    assert not await recorder.record_touch(touch(105.0), vs_currency="usd", days=7)
    assert time.monotonic() - began < 30, "without a limit it would never end"
    log.held.set()
    assert await recorder.record_touch(touch(105.0), vs_currency="usd", days=7)
    assert len(log.entries) == 1


async def test_a_day_has_room_for_so_many_statements() -> None:
    log = FakeLog()
    recorder = RiskRecorder(log, max_a_day=3)
    assert await recorder.record_touch(touch(101.0, 102.0, 103.0), vs_currency="usd", days=7)
    assert not await recorder.record_touch(touch(104.0), vs_currency="usd", days=7)
    assert await recorder.record_touch(touch(102.0), vs_currency="usd", days=7), "it is in the log already"
    tomorrow = DAY + dt.timedelta(days=1)
    assert await recorder.record_touch(touch(104.0, day=tomorrow), vs_currency="usd", days=7)
    assert len(log.entries) == 4
