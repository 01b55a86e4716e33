"""Prices as they change, over server-sent events."""

from __future__ import annotations

import contextlib
import json

import httpx2
import pytest

from coincast.market.v1 import market_pb2 as mk
from coincast_chassis.errors import Unavailable
from coincast_client import AsyncCoincast, Unreachable
from tests.contract.gateway.fakes import world


async def test_events_have_rows_as_prices_has_and_skip_heartbeats() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, trust_env=False) as client:
        reply = await client.get("/prices/stream?ids=bitcoin,bitcon,bit%2Fcoin", timeout=10)
        row = (await client.get("/prices?ids=bitcoin")).json()["prices"][0]
    lines = reply.text.splitlines()
    documents = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
    ids = [line.removeprefix("id:").strip() for line in lines if line.startswith("id:")]
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert ids == ["1", "2"]
    assert [document["prices"][0]["price"] for document in documents] == [37_001.0, 37_002.0]
    assert set(documents[0]["prices"][0]) == set(row)
    assert [error["id"] for error in documents[0]["errors"]] == ["bitcon", "bit/coin"]
    assert "bit/coin" not in str(documents[1]["errors"])


async def test_last_event_id_is_passed_on() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, trust_env=False) as client:
        reply = await client.get("/prices/stream?ids=bitcoin", headers={"last-event-id": "41"})
        request = there.market.script.requested(mk.WatchPricesRequest)
    assert request.after_event_id == 41
    assert "id: 42" in reply.text


async def test_failure_before_the_first_event_has_its_status() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, trust_env=False) as client:
        there.market.script.error = Unavailable("CoinGecko cannot be reached.", retry_after_seconds=5)
        reply = await client.get("/prices/stream?ids=bitcoin")
        bad = await client.get("/prices/stream?ids=Bad%2FId")
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "5"
    assert bad.status_code in {400, 404, 422}


async def test_open_streams_leave_room_for_other_requests() -> None:
    async with (
        world(max_in_flight=3) as there,
        httpx2.AsyncClient(base_url=there.url, trust_env=False) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        there.market.script.hold_streams = True
        for _ in range(8):
            stream = await stack.enter_async_context(client.stream("GET", "/prices/stream?ids=bitcoin"))
            assert stream.status_code == 200
            await anext(stream.aiter_bytes())
        assert (await client.get("/prices?ids=bitcoin")).status_code == 200
        there.market.script.hold_streams = False


async def test_client_yields_each_change() -> None:
    async with world() as there, AsyncCoincast(there.url) as coincast:
        events = coincast.prices_stream("bitcoin")
        assert [(await anext(events)).prices[0].price for _ in range(2)] == [37_001.0, 37_002.0]
        with pytest.raises(Unreachable, match="ended the stream"):
            await anext(events)
