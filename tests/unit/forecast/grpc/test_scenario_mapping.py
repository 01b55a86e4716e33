"""Replies carry how such statements did on past days."""

from __future__ import annotations

import datetime as dt

import numpy as np

from coincast_chassis.clock import SystemClock
from coincast_forecast.domain import Provenance, Source
from coincast_forecast.grpc.scenario_mapping import portfolio_message, touch_message
from coincast_forecast.scenarios.service import (
    Basis,
    LevelAnswer,
    PortfolioAnswer,
    PricedHolding,
    Simulation,
    TouchAnswer,
)
from coincast_modelkit.scenarios import (
    JointPaths,
    RiskRecord,
    Statements,
    assess_portfolio,
    touch_probabilities,
)

RECORD = RiskRecord(
    "2023-01-01", "2025-01-01", {"7:5": Statements(1204, 55.0, 54.0)}, {"1:95": Statements(150, 5.0, 4.7)}
)


def simulation(record: RiskRecord | None) -> Simulation:
    closes = np.random.default_rng(1).normal(0, 0.03, (1, 7, 1000)).cumsum(axis=1)
    paths = JointPaths(
        ("bitcoin",),
        np.array([100.0]),
        np.datetime64("2022-01-01") + np.arange(1000).astype("timedelta64[D]"),
        closes,
        np.maximum(closes, 0),
        np.minimum(closes, 0),
        np.zeros(1),
        np.ones(1, dtype=bool),
        record,
    )
    day = dt.date(2025, 1, 1)
    basis = Basis("ml_ensemble", "v1", "ml_ensemble", "", day, Provenance(Source.SANDBOX), 1000, day, day, ())
    return Simulation(paths, basis)


def touch(record: RiskRecord | None) -> TouchAnswer:
    made = simulation(record)
    chances = touch_probabilities(made.paths, "bitcoin", 0.031)
    return TouchAnswer(made, {"bitcoin": (100.0, (LevelAnswer(103.15, 3.15, chances),))})


def test_a_touch_says_how_such_statements_did() -> None:
    answer = touch(RECORD)
    level = answer.coins["bitcoin"][1][0]
    assert 0.5 <= level.probabilities.touch[6] < 0.6
    message = touch_message(answer, days=7, clock=SystemClock())
    expected = (
        "In 1,204 earlier forecasts with a similar probability over 7 days the price touched the level "
        "in 54 %; 55 % were expected."
    )
    assert message.basis.record_sentence == expected


def test_a_portfolio_says_how_often_losses_were_larger() -> None:
    made = simulation(RECORD)
    risk = assess_portfolio(made.paths, {"bitcoin": 100.0}, 1)
    answer = PortfolioAnswer(made, (PricedHolding("bitcoin", 1.0, 100.0, 100.0),), risk, 1)
    message = portfolio_message(answer, vs_currency="usd", clock=SystemClock())
    assert "in 4.7 % of cases; 5 % were expected" in message.basis.record_sentence


def test_without_a_record_nothing_is_claimed() -> None:
    assert touch_message(touch(None), days=7, clock=SystemClock()).basis.record_sentence == ""
