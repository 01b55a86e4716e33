"""Forecasts by the hour through the whole system: served, logged, and scored once their hour has closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import redis

from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY, LedgerEntry
from coincast_stack.testing import StackHandle
from tests.e2e.e2e_scored import PROBABILITIES, SPREADS

pytestmark = pytest.mark.timeout(600)
WAIT_SECONDS = 120
LOG = "/forecasts/ledger?ids=bitcoin&model=intraday"


def wait_for(
    client: httpx2.Client, path: str, is_whole: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """Return the reply to a path once it is whole."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        reply = client.get(path)
        document: dict[str, Any] = reply.json()
        if reply.status_code == 200 and is_whole(document):
            return document
        assert time.monotonic() < until, f"{path}: {reply.text[:2000]}"
        time.sleep(0.5)


def test_hours_are_logged_and_scored(scored_stack: StackHandle) -> None:
    """This system has no version of the hourly model: the daily one answers, and is in the log as well."""
    with httpx2.Client(base_url=scored_stack.gateway_url, timeout=30, trust_env=False) as client:
        served = wait_for(client, "/forecasts?ids=bitcoin&hours=3", lambda d: d["forecasts"])
        (forecast,) = served["forecasts"]
        assert forecast["forecast_id"]
        log = wait_for(client, f"{LOG}&hours=3", lambda d: d["forecasts"])
        logged = next(e for e in log["forecasts"] if e["forecast_id"] == forecast["forecast_id"])
        assert logged["closes_at"] == forecast["points"][2]["closes_at"]
        assert (logged["as_of"], logged["horizon_days"]) == (forecast["as_of"], 0)

        (day,) = client.get("/forecasts?ids=bitcoin&days=7").json()["forecasts"]
        assert day["as_of_reason"] == "no version of the hourly model is in production yet"

        hours = client.get("/coins/bitcoin/history?days=2&interval=1h").json()["candles"]
        closes = [candle["close"] for candle in hours]
        # A forecast from the close of the fourth hour before the newest, as the service would have left it.
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        start = now - timedelta(hours=4)
        entry = LedgerEntry(
            forecast_id="four-hours-ago",
            made_at=start.timestamp(),
            coin_id="bitcoin",
            vs_currency="usd",
            as_of=(start - timedelta(days=1)).date().isoformat(),
            as_of_hours=start.hour,
            model="intraday",
            version="v000001",
            variant="production",
            served_by="intraday",
            horizon_days=0,
            horizon_hours=1,
            last_price=closes[-5],
            probabilities=PROBABILITIES,
            price_quantiles=tuple(closes[-5] * spread for spread in SPREADS),
        )
        with redis.Redis.from_url(scored_stack.stack.layout.redis_url) as stream:
            stream.xadd(STREAM_KEY, {STREAM_FIELD: entry.to_json()})
        found = wait_for(
            client,
            f"{LOG}&hours=1",
            lambda d: any(e["outcome"] for e in d["forecasts"] if e["forecast_id"] == "four-hours-ago"),
        )
        came = next(e for e in found["forecasts"] if e["forecast_id"] == "four-hours-ago")
        assert any(came["outcome"] == pytest.approx(close) for close in closes)
        assert came["crps"] is not None
        record = client.get("/forecasts/accuracy?model=intraday").json()
        assert [r["horizon"]["horizon_hours"] for r in record["live"]] == [1]
        assert [r["origin_hour"] for r in record["by_origin_hour"]] == [start.hour]
