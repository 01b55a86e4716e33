"""Forecasts that have come true, written as forecast-svc would have written them on their day."""

import time
from datetime import UTC, date, datetime

import httpx2
import redis

from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY, LedgerEntry
from coincast_stack.testing import StackHandle

DAY_SECONDS = 86_400
# A hundred forecasts of twenty days and more: less is no live record.
HORIZON_DAYS, REPLAYED_DAYS = 7, 25
COINS = ("bitcoin", "ethereum", "ripple", "solana")
PROBABILITIES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
SPREADS = (0.80, 0.90, 0.97, 1.0, 1.03, 1.12, 1.30)


def replay_forecasts(stack: StackHandle, coins: tuple[str, ...] = COINS) -> None:
    """Twenty-five daily forecasts a coin into the ledger's stream, all of them due by now."""
    client = redis.Redis.from_url(stack.stack.layout.redis_url)
    for coin in coins:
        for candle in _history(stack, coin)[-(REPLAYED_DAYS + HORIZON_DAYS + 1) : -(HORIZON_DAYS + 1)]:
            client.xadd(STREAM_KEY, {STREAM_FIELD: _entry(coin, candle).to_json()})
    client.close()


def _history(stack: StackHandle, coin: str) -> list[dict]:
    """Sixty daily candles, as soon as the system gives them."""
    until = time.monotonic() + 180
    with httpx2.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as client:
        while (reply := client.get(f"/coins/{coin}/history?days=60")).status_code != 200:
            assert time.monotonic() < until, reply.text
            time.sleep(0.5)
    return reply.json()["candles"]


def _entry(coin: str, candle: dict) -> LedgerEntry:
    day, close = date.fromisoformat(candle["date"]), candle["close"]
    return LedgerEntry(
        forecast_id=f"{coin}-{day}",
        made_at=datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + DAY_SECONDS,
        coin_id=coin,
        vs_currency="usd",
        as_of=day.isoformat(),
        model="lightgbm",
        version="v000001",
        variant="production",
        served_by="lightgbm",
        horizon_days=HORIZON_DAYS,
        last_price=close,
        probabilities=PROBABILITIES,
        price_quantiles=tuple(close * spread for spread in SPREADS),
    )
