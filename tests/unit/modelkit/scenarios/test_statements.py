"""Lines of the risk log: what they hold, what they refuse, and which stream they belong to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from coincast_modelkit.ledger import RISK_STREAM_KEY, STREAM_KEY, LedgerEntry, stream_key_of
from coincast_modelkit.scenarios.statements import (
    LossStatement,
    TouchStatement,
    coins_of,
    read_statement,
    rounded_weights,
    statement_id,
)

TOUCH = TouchStatement(
    statement_id="t1",
    coin_id="bitcoin",
    vs_currency="usd",
    as_of="2025-08-31",
    served_by="ml_ensemble",
    last_price=100.0,
    level=105.0,
    first_day=1,
    touch=(0.1, 0.3),
    close_beyond=(0.05, 0.2),
)
LOSSES = LossStatement(
    statement_id="l1",
    vs_currency="usd",
    as_of="2025-08-31",
    served_by="ml_ensemble",
    days=7,
    weights={"bitcoin": 0.75, "ethereum": -0.25},
    last_prices={"bitcoin": 100.0, "ethereum": 10.0},
    levels=((95.0, 0.1, 0.14), (99.0, 0.2, 0.25)),
)


@pytest.mark.parametrize("statement", [TOUCH, LOSSES], ids=["touch", "losses"])
def test_a_line_is_read_as_it_was_written(statement: TouchStatement | LossStatement) -> None:
    line = statement.to_json()
    assert read_statement(line) == statement
    assert read_statement(line.encode()) == statement
    later = json.dumps(json.loads(line) | {"a_later_field": 1})
    assert read_statement(later) == statement


def test_each_line_goes_to_the_stream_of_its_kind() -> None:
    forecast = LedgerEntry(
        "f", 1.0, "bitcoin", "usd", "2025-08-31",
        model="lightgbm", version="v000001", variant="production", served_by="lightgbm", horizon_days=1,
        last_price=1.0, probabilities=(0.5,), price_quantiles=(1.0,),
    )  # fmt: skip
    assert stream_key_of(forecast.to_json()) == STREAM_KEY
    assert stream_key_of(TOUCH.to_json()) == stream_key_of(LOSSES.to_json()) == RISK_STREAM_KEY


BAD_LINES = {
    "no JSON": "nothing",
    "no object": "[1]",
    "a forecast": '{"forecast_id":"f"}',
    "another kind": TOUCH.to_json().replace('"touch"', '"dream"', 1),
    "a field is absent": TOUCH.to_json().replace('"level":105.0,', ""),
    "chances above one": TOUCH.to_json().replace("0.3", "1.3"),
    "fewer chances of one kind": TOUCH.to_json().replace("[0.1,0.3]", "[0.1]"),
    "no chances": TOUCH.to_json().replace("[0.1,0.3]", "[]").replace("[0.05,0.2]", "[]"),
    "no date": TOUCH.to_json().replace("2025-08-31", "yesterday"),
    "no price": TOUCH.to_json().replace("105.0", "0.0"),
    "day zero": TOUCH.to_json().replace('"first_day":1', '"first_day":0'),
    "no weights": LOSSES.to_json().replace('{"bitcoin":0.75,"ethereum":-0.25}', "{}"),
    "a weight without a price": LOSSES.to_json().replace('"ethereum":10.0', '"solana":10.0'),
    "a level of two figures": LOSSES.to_json().replace("[95.0,0.1,0.14]", "[95.0,0.1]"),
    "a level of 100 %": LOSSES.to_json().replace("[95.0,", "[100.0,"),
    "no horizon": LOSSES.to_json().replace('"days":7', '"days":0'),
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_what_is_no_statement_is_refused(line: str) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        read_statement(line)


@pytest.mark.parametrize("count", [251, 1000])
def test_the_number_of_weights_is_bounded(count: int) -> None:
    weights = {f"c{i}": 0.001 for i in range(count)}
    with pytest.raises(ValueError, match="1 to 250 weights"):
        replace(LOSSES, weights=weights, last_prices=weights)


def test_weights_hold_no_sizes() -> None:
    values = {"ethereum": -1_234_567.89, "bitcoin": 3_703_703.67, "dust": 12.0}
    weights = rounded_weights(values)
    assert weights == {"bitcoin": 0.75, "ethereum": -0.25}
    assert rounded_weights({coin: 1000 * value for coin, value in values.items()}) == weights
    assert rounded_weights({"bitcoin": 0.0}) == {}


def test_an_id_depends_on_what_is_stated_alone() -> None:
    assert statement_id(["touch", "bitcoin", 105.0]) == statement_id(["touch", "bitcoin", 105.0])
    assert statement_id(["touch", "bitcoin", 105.0]) != statement_id(["touch", "bitcoin", 105.1])


def test_the_coins_of_statements() -> None:
    assert coins_of([TOUCH, LOSSES, replace(TOUCH, coin_id="solana")]) == ["bitcoin", "ethereum", "solana"]
