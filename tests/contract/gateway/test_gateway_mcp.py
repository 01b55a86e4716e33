"""The MCP server at /mcp, called by the official client: provenance, errors that name the next step."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from coincast.forecast.v1 import forecast_pb2 as fc
from coincast_chassis.errors import Exhausted, Unavailable
from coincast_chassis.redis import open_redis
from coincast_gateway.auth.api_keys import KeyStore
from tests.contract.gateway.fakes import World, world
from tests.contract.valkey_harness import running_valkey

TOOLS = {
    "search_coins", "get_prices", "summarize_history", "get_forecasts", "chance_of_touching",
    "assess_portfolio", "model_records", "data_quality", "system_health",
}  # fmt: skip
# What tells the age of a figure; a list of coins has none.
AGES = {"as_of", "age_seconds", "checked_at", "last_good_date", "evaluated_at", "measured_at"}
# The descriptions of all tools together stay below this, since every conversation pays for them.
MOST_DESCRIPTION_BYTES = 9_000
ARGUMENTS: dict[str, dict[str, Any]] = {
    "search_coins": {"words": "bit"},
    "get_prices": {"ids": ["bitcoin", "bitcon"]},
    "summarize_history": {"id": "bitcoin", "days": 30},
    "get_forecasts": {"ids": ["bitcoin"], "days": 7},
    "chance_of_touching": {"id": "bitcoin", "level": "5%", "days": 3},
    "assess_portfolio": {"holdings": [{"id": "bitcoin", "value": 1000.0}]},
    "model_records": {},
    "data_quality": {"id": "bitcoin"},
    "system_health": {},
}


def result_of(reply: Any) -> dict[str, Any]:
    assert not reply.is_error, reply.content
    structured: dict[str, Any] = reply.structured_content
    return structured


def text_of(reply: Any) -> str:
    assert reply.is_error
    return " ".join(block.text for block in reply.content)


async def ask(there: World, tool: str, arguments: dict[str, Any]) -> Any:
    async with Client(f"{there.url}/mcp") as client:
        return await client.call_tool(tool, arguments)


async def test_tools_are_read_only_described_and_small() -> None:
    async with world() as there, Client(f"{there.url}/mcp") as client:
        tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.output_schema is not None
    inputs = [{"d": tool.description, "i": tool.input_schema} for tool in tools]
    assert len(json.dumps(inputs)) < MOST_DESCRIPTION_BYTES


async def test_every_tool_says_how_old_its_figures_are() -> None:
    async with world() as there, Client(f"{there.url}/mcp") as client:
        tools = (await client.list_tools()).tools
    for tool in tools:
        fields = set(re.findall(r'"(\w+)":', json.dumps(tool.output_schema)))
        assert tool.name == "search_coins" or fields & AGES, (tool.name, sorted(fields))


async def test_every_tool_answers_with_structured_content() -> None:
    async with world() as there, Client(f"{there.url}/mcp") as client:
        for tool, arguments in ARGUMENTS.items():
            assert result_of(await client.call_tool(tool, arguments)), tool


async def test_figures_carry_unit_age_and_source() -> None:
    async with world() as there:
        prices = result_of(await ask(there, "get_prices", {"ids": ["bitcoin", "bitcon"]}))
        forecast = result_of(await ask(there, "get_forecasts", {"ids": ["bitcoin"], "days": 7}))
    price = prices["prices"][0]
    assert (price["price"], price["unit"]) == (37_000.0, "usd")
    assert {"as_of", "age_seconds", "source", "stale", "reason"} <= set(price["provenance"])
    assert prices["failures"][0]["suggestions"] == ["bitcoin"]
    found = forecast["forecasts"][0]
    assert "8 times in 10" in found["in_words"]
    assert found["lower_80"] < found["start_price"] < found["upper_80"]
    assert found["provenance"]["source"] == "sandbox"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_prices", {"ids": []}),
        ("get_prices", {"ids": ["bitcoin"] * 21}),
        ("get_prices", {"ids": "bitcoin'; drop table"}),
        ("summarize_history", {"id": "../../health", "days": 30}),
        ("summarize_history", {"id": "bitcoin", "days": 10**9}),
        ("get_forecasts", {"ids": ["bitcoin"], "days": 0}),
        ("get_forecasts", {"ids": ["bitcoin"], "model": "__class__"}),
        ("chance_of_touching", {"id": "bitcoin", "level": "NaN"}),
        ("assess_portfolio", {"holdings": []}),
        ("assess_portfolio", {"holdings": [{"id": "bitcoin"}]}),
        ("search_coins", {"words": "x" * 101}),
    ],
)
async def test_hostile_arguments_are_refused_in_words(tool: str, arguments: dict[str, Any]) -> None:
    async with world() as there:
        reply = await ask(there, tool, arguments)
    assert "Traceback" not in text_of(reply)
    assert "pydantic" not in text_of(reply)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        (
            "get_forecasts",
            {"ids": ["bitcoin"], "horizon": 6},
            "no argument horizon. It takes ids,",
        ),
        ("system_health", {"verbose": True}, "It takes no arguments."),
        (
            "chance_of_touching",
            {"id": "bitcoin", "price": 1},
            "no argument price. It takes id, level,",
        ),
        ("chance_of_touching", {"id": "bitcoin"}, "level: Field required. It takes id, level, days"),
        ("get_prices", {"ids": []}, "ids: List should have at least 1 item"),
        # A tool answers one level: the others would be left out without a word.
        ("chance_of_touching", {"id": "bitcoin", "level": "5%,6%"}, "level: "),
        ("nonsense", {}, "no tool 'nonsense'. The tools are search_coins, get_prices"),
        ("data_quality", {"id": "nocoin"}, "nocoin"),
    ],
)
async def test_argument_that_does_not_fit_is_named_with_those_that_do(
    tool: str, arguments: dict[str, Any], said: str
) -> None:
    """An argument that was left out of account would give the answer to another question."""
    async with world() as there:
        assert said in text_of(await ask(there, tool, arguments))


async def test_forecast_of_hours_is_requested_in_place_of_days() -> None:
    async with world() as there:
        result_of(await ask(there, "get_forecasts", {"ids": ["bitcoin"], "hours": 6}))
        request = there.forecast.script.requested(fc.GetForecastsRequest)
    assert (request.hours, request.days) == (6, 0)


async def test_errors_name_the_next_step() -> None:
    async with world() as there:
        unknown = text_of(await ask(there, "summarize_history", {"id": "bitcon"}))
        there.market.script.error = Exhausted("The quota is used up.", retry_after_seconds=30)
        exhausted = text_of(await ask(there, "get_prices", {"ids": ["ethereum"]}))
        there.market.script.error = Unavailable("CoinGecko cannot be reached.", retry_after_seconds=5)
        down = text_of(await ask(there, "get_prices", {"ids": ["tether"]}))
    assert "bitcoin" in unknown
    assert "Wait 30 s" in exhausted
    assert "CoinGecko cannot be reached" in down


async def test_keys_and_scopes_hold_for_tools() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"accept": "application/json, text/event-stream"}
    with running_valkey() as valkey:
        client = open_redis(valkey.url, timeout_seconds=2)
        key = await KeyStore(client).create("reader", "read")
        await client.aclose()
        async with (
            world(redis_url=valkey.url, require_keys=True) as there,
            httpx2.AsyncClient(trust_env=False) as http,
        ):
            refused = await http.post(f"{there.url}/mcp", json=call, headers=headers)
            keyed = httpx2.AsyncClient(headers={"x-api-key": key}, trust_env=False)
            async with (
                keyed,
                Client(streamable_http_client(f"{there.url}/mcp", http_client=keyed)) as requested,
            ):
                reply = await requested.call_tool("get_prices", {"ids": ["bitcoin"]})
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert result_of(reply)["prices"][0]["price"] == 37_000.0


async def test_large_body_is_refused() -> None:
    async with world() as there, httpx2.AsyncClient(trust_env=False) as client:
        reply = await client.post(
            f"{there.url}/mcp",
            content=b'{"jsonrpc": "2.0", "id": 1, "method": "' + b"x" * 200_000 + b'"}',
            headers={"content-type": "application/json", "accept": "application/json, text/event-stream"},
        )
    assert reply.status_code == 413


async def test_command_serves_the_same_tools_over_stdio() -> None:
    async with world() as there:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "coincast_client", "mcp", "--url", there.url]
        )
        async with Client(command) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            reply = result_of(await client.call_tool("get_prices", {"ids": ["bitcoin"]}))
    assert tools == TOOLS
    assert reply["prices"][0]["price"] == 37_000.0
