"""The whole line: real candles in, prices, history and forecasts out, through the real processes."""

import csv
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast_stack.testing import StackHandle

Get = Callable[..., httpx2.Response]
# The first test of a session waits for the stack and its first model.
pytestmark = pytest.mark.timeout(600)


def candles_of(folder: Path, coin: str, stack: StackHandle) -> list[dict[str, str]]:
    """The folder's candles whose day is closed where the system lives: a day is whole at 00:35 UTC."""
    with httpx2.Client(base_url=str(stack.stack.sandbox_url), timeout=30, trust_env=False) as sandbox:
        now = datetime.fromtimestamp(sandbox.get("/sandbox/health").json()["now"], UTC)
    today = (now - timedelta(minutes=35)).date()
    with (folder / f"{coin}.csv").open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if date.fromisoformat(row["date"]) < today]


def test_prices_say_where_they_come_from(get: Get) -> None:
    reply = get("/prices", params={"ids": "bitcoin,ethereum,no-such-coin", "vs_currencies": "usd"})
    assert reply.status_code == 200
    document = reply.json()
    assert [p["id"] for p in document["prices"]] == ["bitcoin", "ethereum"]
    for price in document["prices"]:
        assert price["source"] == "sandbox"
        assert 0 <= price["age_seconds"] < 120
        assert price["price"] > 0
    assert [e["id"] for e in document["errors"]] == ["no-such-coin"]


def test_history_is_the_folders_candles(get: Get, daily_candles: Path, stack: StackHandle) -> None:
    document = get("/coins/ethereum/history", params={"days": 200}).json()
    rows = candles_of(daily_candles, "ethereum", stack)[-201:]
    assert document["source"] == "sandbox"
    assert [c["date"] for c in document["candles"]] == [row["date"] for row in rows[1:]]
    tomorrows = [*rows[2:], None]
    for found, yesterday, row, tomorrow in zip(document["candles"], rows, rows[1:], tomorrows, strict=False):
        # Where the plan gives hours, the first point after midnight closes the one day and opens the next.
        opens = {float(row["open"]), float(yesterday["close"])}
        closes = {float(row["close"])} | ({float(tomorrow["open"])} if tomorrow else set())
        assert found["open"] in opens
        assert found["close"] in closes
        assert found["high"] in {float(row["high"]), max(closes), max(opens)}
        assert found["low"] in {float(row["low"]), min(closes), min(opens)}


def test_a_forecast_is_whole(get: Get, daily_candles: Path, stack: StackHandle) -> None:
    document = get("/forecasts", params={"ids": "bitcoin", "days": 7, "model": "lightgbm"}).json()
    assert document["errors"] == []
    (forecast,) = document["forecasts"]
    last = candles_of(daily_candles, "bitcoin", stack)[-1]
    assert (forecast["id"], forecast["vs_currency"], forecast["model"]) == ("bitcoin", "usd", "lightgbm")
    assert (forecast["served_by"], forecast["degraded"], forecast["source"]) == ("lightgbm", False, "sandbox")
    assert forecast["version"] == "v000001"
    assert forecast["last_price"] == float(last["close"])
    assert 0 <= forecast["age_seconds"] < 2 * 86400
    first_day = date.fromisoformat(last["date"]) + timedelta(days=1)
    assert [p["date"] for p in forecast["points"]] == [str(first_day + timedelta(days=h)) for h in range(7)]
    assert [p["horizon_days"] for p in forecast["points"]] == list(range(1, 8))
    for point in forecast["points"]:
        check_intervals(point)
    widths = [p["intervals"]["95"]["upper"] / p["intervals"]["95"]["lower"] for p in forecast["points"]]
    assert widths == sorted(widths), "the farther the day, the wider the interval"


def check_intervals(point: dict[str, Any]) -> None:
    wide, narrow = point["intervals"]["95"], point["intervals"]["80"]
    assert 0 < wide["lower"] < narrow["lower"] < point["price"] < narrow["upper"] < wide["upper"]


def test_one_bad_coin_does_not_corrupt_the_others(get: Get) -> None:
    document = get(
        "/forecasts", params={"ids": "bitcoin,no-such-coin", "days": 3, "model": "technical"}
    ).json()
    assert [f["id"] for f in document["forecasts"]] == ["bitcoin"]
    assert [e["id"] for e in document["errors"]] == ["no-such-coin"]
    assert document["forecasts"][0]["served_by"] == "technical"


def test_models_carry_their_record(get: Get) -> None:
    models = {m["name"]: m for m in get("/forecasts/models").json()["models"]}
    assert {"lightgbm", "technical"} <= set(models)
    assert models["lightgbm"]["version"] == "v000001"
    assert models["lightgbm"]["record"], "measured out of sample before it was served"


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/docs", "/openapi.json"])
def test_the_gateway_answers(get: Get, path: str) -> None:
    assert get(path).status_code == 200


def test_metrics_are_prometheus(get: Get, stack: StackHandle) -> None:
    assert "# HELP" in get("/metrics").text
    for service in ("market", "forecast", "training"):
        assert "# HELP" in httpx2.get(stack.stack.metrics_url(service), trust_env=False).text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/forecasts?ids=bitcoin&days=400", 422),
        ("/forecasts?ids=bitcoin&model=crystal-ball", 422),
        ("/coins/no-such-coin/history?days=30", 404),
        ("/nowhere", 404),
    ],
)
def test_errors_have_one_shape(get: Get, path: str, status: int) -> None:
    reply = get(path)
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert {"type", "title", "status", "detail"} <= set(reply.json())
