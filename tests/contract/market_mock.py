"""An upstream made up in this process, whose every figure a test can set; over it a whole service."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson

from coincast_chassis.clock import Clock, ManualClock
from tests.contract.market_harness import running_market, settings_for

DAY_SECONDS = 86_400


def noon_clock() -> ManualClock:
    """Today at noon, when yesterday is closed; it is not, before 00:35 UTC."""
    return ManualClock(time.time() // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS / 2)


class MockUpstream:
    """Every coin costs `price` all the time, times the factor for the last part of the path; a document of
    `extra` goes out as it is, with NaN for "@".
    """

    base_url = "http://127.0.0.1:9/api/v3"

    def __init__(self, clock: Clock | None = None, price: float = 100.0) -> None:
        self.clock = clock
        self.price = price
        self.codes = ["usd", "eur", *(f"c{n:02d}" for n in range(40))]
        self.coins = ["bitcoin", "ethereum"]
        self.calls: Counter[str] = Counter()
        self.factors: dict[str, float] = {}
        self.extra: dict[str, Any] = {}

    def now(self) -> float:
        return self.clock.now() if self.clock else time.time()

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        path, query = request.url.path.removeprefix("/api/v3/"), dict(request.url.params)
        self.calls[path] += 1
        price = self.price * self.factors.get(path.rsplit("/", maxsplit=1)[-1], 1.0)
        document = self.extra.get(path, self._document(path, query, price))
        headers = {"x-coincast-sandbox": "1", "x-coincast-sandbox-now": str(self.now())}
        return httpx2.Response(
            200, stream=Body(orjson.dumps(document).replace(b'"@"', b"NaN")), headers=headers
        )

    def _document(self, path: str, query: dict[str, str], price: float) -> Any:
        ids = query.get("ids", ",".join(self.coins)).split(",")
        codes = query.get("vs_currencies", "usd").split(",")
        if "market_chart" in path:
            return self._chart(query, price)
        if path.endswith("/ohlc"):
            end = int(self.now()) // 14_400 * 14_400
            return [[(end - n * 14_400) * 1000, *[price] * 4] for n in reversed(range(24))]
        documents = {
            "coins/list": [{"id": coin, "symbol": coin[:3], "name": coin} for coin in self.coins],
            "simple/supported_vs_currencies": self.codes,
            "simple/price": {coin: dict.fromkeys(codes, price) for coin in ids},
            "coins/markets": [{"id": coin, "current_price": price, "market_cap": 1e9} for coin in ids],
        }
        one_coin = {"id": path[len("coins/") :], "market_data": {"current_price": {"usd": price}}}
        return documents.get(path, one_coin)

    def _chart(self, query: dict[str, str], price: float) -> dict[str, list[list[float]]]:
        now = self.now()
        start = float(query.get("from", now - DAY_SECONDS * int(query.get("days", 1))))
        end = min(now, float(query.get("to", now)))
        step = 3600 if end - start <= 90 * DAY_SECONDS else DAY_SECONDS
        times = range(int(-(-start // step) * step), int(end) + 1, step)
        return {
            name: [[moment * 1000, price] for moment in times]
            for name in ("prices", "market_caps", "total_volumes")
        }


class Body(httpx2.AsyncByteStream):
    """A body of one piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data


@asynccontextmanager
async def market_over(mock: MockUpstream, folder: Path, **changes: Any) -> AsyncIterator[Any]:
    """The service over real gRPC, its upstream the mock."""
    settings, transport = settings_for(mock, folder, **changes), httpx2.MockTransport(mock.answer)
    async with running_market(settings, clock=mock.clock, transport=transport) as stub:
        yield stub
