"""The MCP server over a prepared gateway: figures, their provenance, and errors that name the next step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp.client.client import Client

from coincast_client import AsyncCoincast
from coincast_client.mcp_server import build_server
from tests.unit.client import fake_gateway as gw
from tests.unit.client.fake_gateway import FakeGateway


async def call(gateway: FakeGateway, tool: str, **arguments: Any) -> Any:
    """Return the result of a tool of a server over this gateway."""
    server = build_server(lambda _: AsyncCoincast("http://gateway", transport=gateway.transport), "1.2.3")
    async with Client(server) as client:
        return await client.call_tool(tool, arguments)


async def result_of(gateway: FakeGateway, tool: str, **arguments: Any) -> dict[str, Any]:
    reply = await call(gateway, tool, **arguments)
    assert not reply.is_error, reply.content
    structured: dict[str, Any] = reply.structured_content
    return structured


async def error_of(gateway: FakeGateway, tool: str, **arguments: Any) -> str:
    reply = await call(gateway, tool, **arguments)
    assert reply.is_error
    return " ".join(block.text for block in reply.content)


async def test_found_coins_are_counted() -> None:
    gateway = FakeGateway()
    gateway.reply("/coins", gw.coins(("bitcoin", "btc", "Bitcoin"), total=7))
    found = await result_of(gateway, "search_coins", words="bit", limit=1)
    assert gateway.last.parameters == {"query": "bit", "limit": "1"}
    assert (found["coins"], found["matches"]) == ([{"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"}], 7)


async def test_price_has_its_unit_its_age_and_its_source() -> None:
    gateway = FakeGateway()
    stale = gw.price(stale=True, source="stale", reason="CoinGecko does not answer.")
    error = gw.item_error("bitcon", "Unknown.", "a", "b", "c", "d")
    gateway.reply("/prices", gw.prices(stale, errors=[error]))
    found = await result_of(gateway, "get_prices", ids=["bitcoin", "bitcon"], vs_currency="usd")
    assert found["prices"] == [
        {
            "id": "bitcoin", "price": 108_246.4, "unit": "usd", "change_24h_percent": -1.5,
            "provenance": {
                "as_of": "2026-01-01T00:00:00Z", "age_seconds": 7200.0, "source": "stale", "stale": True,
                "reason": "CoinGecko does not answer.",
            },
        }
    ]  # fmt: skip
    assert found["failures"] == [{"id": "bitcon", "message": "Unknown.", "suggestions": ["a", "b", "c"]}]


async def test_history_is_summarised_in_figures() -> None:
    gateway = FakeGateway()
    closes = [100.0, 110.0, 99.0, 108.9]
    gateway.reply("/coins/bitcoin/history", gw.history(closes=closes, missing_dates=["2025-12-30"]))
    found = await result_of(gateway, "summarize_history", id="bitcoin", days=5)
    assert (found["first_day"], found["last_day"]) == ("2026-01-01", "2026-01-04")
    assert (found["days"], found["missing_days"]) == (4, 1)
    assert (found["first_close"], found["last_close"], found["change_percent"]) == (100.0, 108.9, 8.9)
    assert (found["highest_close"], found["lowest_close"]) == (110.0, 99.0)
    # The log returns are ln 1.1, ln 0.9 and ln 1.1; their standard deviation times the root of 365.
    assert found["annualised_volatility_percent"] == pytest.approx(221.345, abs=0.01)


async def test_volatility_of_a_single_move_is_unknown() -> None:
    gateway = FakeGateway()
    gateway.reply("/coins/bitcoin/history", gw.history(closes=[100.0, 110.0]))
    found = await result_of(gateway, "summarize_history", id="bitcoin")
    assert found["annualised_volatility_percent"] is None


async def test_coin_without_a_closed_day_names_the_tool_to_call() -> None:
    gateway = FakeGateway()
    gateway.reply("/coins/bitcoin/history", gw.history(closes=[]))
    said = await error_of(gateway, "summarize_history", id="bitcoin")
    assert "bitcoin has no closed day yet; ask for its price instead." in said


async def test_forecast_is_that_of_the_last_horizon_in_figures_and_in_words() -> None:
    gateway = FakeGateway()
    degraded = gw.forecast("ethereum", degraded=True, reason="The model has expired.", record=None)
    gateway.reply("/forecasts", gw.forecasts(gw.forecast(), degraded))
    found = (await result_of(gateway, "get_forecasts", ids=["bitcoin", "ethereum"], days=2))["forecasts"]
    assert gateway.last.parameters["days"] == "2"
    first = found[0]
    assert (first["lower_80"], first["start_price"], first["upper_80"]) == (36_200.0, 37_000.0, 37_800.0)
    assert (first["horizon"], first["model"]) == ("until 2026-01-03", "lightgbm v000001")
    assert first["record_in_words"] == (
        "79.8 % of 1,204 earlier 80 % intervals for 2 days contained the price."
    )
    assert first["provenance"]["reason"] is None
    assert found[1]["record_in_words"] == "No record was measured for this answer."
    assert (found[1]["degraded"], found[1]["provenance"]["reason"]) == (True, "The model has expired.")


async def test_forecast_of_hours_is_not_one_of_days() -> None:
    gateway = FakeGateway()
    gateway.reply("/forecasts", gw.forecasts())
    assert await result_of(gateway, "get_forecasts", ids=["bitcoin"], hours=6) == {
        "forecasts": [],
        "failures": [],
    }
    assert gateway.last.parameters["hours"] == "6"
    assert "days" not in gateway.last.parameters


async def test_chances_of_touching_are_percentages_of_each_day() -> None:
    gateway = FakeGateway()
    gateway.reply("/forecasts/touch", gw.touch(-5))
    found = await result_of(gateway, "chance_of_touching", id="bitcoin", level="-5%", days=2)
    assert (found["level"], found["level_percent"], found["start_price"]) == (95_000.0, -5.0, 100_000.0)
    assert found["days"] == [
        {"date": "2026-01-02", "touch_percent": 10.0, "close_beyond_percent": 5.0},
        {"date": "2026-01-03", "touch_percent": 20.0, "close_beyond_percent": 10.0},
    ]
    assert found["record_in_words"] == "On past days 79.8 % came true."
    assert found["provenance"]["source"] == "live"


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (
            [gw.item_error("bitcon", "Unknown.", "bitcoin", "bitcoin-cash")],
            "Unknown. Try one of: bitcoin, bitc",
        ),
        ([gw.item_error("bitcon", "Not ready.")], "Not ready."),
        ([], "There is no answer."),
    ],
)
async def test_coin_without_chances_is_an_error_with_the_next_step(errors: list[Any], said: str) -> None:
    gateway = FakeGateway()
    gateway.reply("/forecasts/touch", gw.touch(errors=errors))
    assert said in await error_of(gateway, "chance_of_touching", id="bitcon", level="5%")


async def test_risk_names_levels_without_a_figure_and_the_worst_days() -> None:
    gateway = FakeGateway()
    refused = gw.risk_level(
        99.0, value_at_risk=None, expected_shortfall=None, refused="Too few cases.", indicative=True
    )
    basis = gw.basis(
        provenance=None, degraded=True, reason="One coin is borrowed.", live_sentence="And live."
    )
    gateway.reply("/risk/portfolio", gw.portfolio(gw.risk_level(95), refused, basis=basis))
    holdings = [{"id": "bitcoin", "value": 6000.0}, {"id": "ethereum", "amount": -1.5}]
    found = await result_of(gateway, "assess_portfolio", holdings=holdings, days=3)
    assert gateway.last.body["holdings"] == holdings
    assert found["losses"] == [
        {
            "level_percent": 95.0, "value_at_risk": 950.0, "expected_shortfall": 1425.0, "indicative": False,
            "refused": "",
        },
        {
            "level_percent": 99.0, "value_at_risk": None, "expected_shortfall": None, "indicative": True,
            "refused": "Too few cases.",
        },
    ]  # fmt: skip
    assert found["worst_days"] == [f"2022-0{month}-11" for month in range(1, 6)]
    assert found["record_in_words"] == "On past days 79.8 % came true. And live."
    assert found["provenance"] == {
        "as_of": "2026-01-01T00:00:00Z", "age_seconds": None, "source": "", "stale": False,
        "reason": "One coin is borrowed.",
    }  # fmt: skip


async def test_records_of_models_say_what_was_measured_at_each_horizon() -> None:
    gateway = FakeGateway()
    hours = gw.horizon(0, 81.0, None, horizon_hours=6, forecasts=30)
    rows = [gw.model("lightgbm", gw.horizon(7), gw.horizon(1, None, None), hours), gw.model("lstm")]
    gateway.reply("/forecasts/models", {"models": rows})
    found = await result_of(gateway, "model_records")
    assert [(each["model"], each["horizon"]) for each in found["records"]] == [
        ("lightgbm", "7 days"),
        ("lightgbm", "1 day"),
        ("lightgbm", "6 hours"),
    ]
    assert [each["in_words"] for each in found["records"]] == [
        "79.8 % of 1,204 80 % intervals for 7 days contained the price. CRPS skill +1.25 % over a normal "
        "distribution with the volatility of the last 60 days.",
        "No coverage was measured at 1 day.",
        "81.0 % of 30 80 % intervals for 6 hours contained the price.",
    ]
    assert found["measured_at"].startswith("2026-01-01")


async def test_defects_of_a_history_are_counted() -> None:
    gateway = FakeGateway()
    gateway.reply("/coins/bitcoin/quality", gw.quality())
    assert await result_of(gateway, "data_quality", id="bitcoin") == {
        "id": "bitcoin", "missing_days": 3, "quarantined_points": 1, "last_good_date": "2026-01-01",
        "notes": ["A jump was put aside."],
    }  # fmt: skip


async def test_history_that_was_not_checked_names_the_tool_to_call() -> None:
    gateway = FakeGateway()
    gateway.reply("/coins/bitcoin/quality", gw.quality(None))
    said = await error_of(gateway, "data_quality", id="bitcoin")
    assert "No day of bitcoin has been checked yet. Call summarize_history for it first." in said


async def test_health_has_a_sentence_for_each_component() -> None:
    gateway = FakeGateway()
    gateway.reply("/health/detailed", gw.health("degraded"))
    assert await result_of(gateway, "system_health") == {
        "status": "degraded",
        "parts": {"gateway": "ok: gateway is ok.", "market-data": "degraded: market_data is degraded."},
        "checked_at": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("status", "more", "said"),
    [
        (404, {"suggestions": ["bitcoin", "b", "c", "d"]}, "No. Try one of: bitcoin, b, c."),
        (429, {"retry_after_seconds": 30}, "No. Wait 30 s and try again."),
        (401, {}, "No. Give an API key with the scope read."),
        (403, {}, "No. Give an API key with the scope read."),
        (503, {}, "No."),
    ],
)
async def test_refusal_names_the_next_step(status: int, more: dict[str, Any], said: str) -> None:
    gateway = FakeGateway()
    gateway.refuse("/prices", status, "No.", **more)
    assert (await error_of(gateway, "get_prices", ids=["bitcon"])).endswith(said)


async def test_gateway_that_does_not_answer_is_to_be_started() -> None:
    server = build_server(lambda _: AsyncCoincast("http://127.0.0.1:1"), "1.2.3")
    async with Client(server) as client:
        reply = await client.call_tool("system_health", {})
    assert reply.is_error
    assert "does not answer" in str(reply.content)
    assert "Start the gateway, or set its address, and retry." in str(reply.content)


@pytest.mark.parametrize("body", [b"<html>", b"{}"])
async def test_reply_of_another_server_is_an_error_in_words(body: bytes) -> None:
    gateway = FakeGateway()
    gateway.send("/prices", body, "text/html" if body == b"<html>" else gw.JSON)
    said = await error_of(gateway, "get_prices", ids=["bitcoin"])
    assert "is it the gateway" in said
    assert "pydantic" not in said


async def test_id_that_would_change_the_path_is_refused_before_it_is_sent() -> None:
    gateway = FakeGateway()
    assert "is not valid" in await error_of(gateway, "data_quality", id="../health")
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("nonsense", {}, "There is no tool 'nonsense'. The tools are search_coins, get_prices"),
        ("system_health", {"verbose": True}, "system_health has no argument verbose. It takes no arguments."),
        (
            "data_quality",
            {"coin": "bitcoin", "b": 1},
            "data_quality has no argument b, coin. It takes id.",
        ),
        ("get_prices", {"ids": []}, "ids: List should have at least 1 item"),
        ("get_prices", {"ids": ["bitcoin"] * 21}, "ids: List should have at most 20 items"),
        (
            "get_forecasts",
            {"ids": ["bitcoin"], "days": 31},
            "days: Input should be less than or equal to 30.",
        ),
        ("chance_of_touching", {"id": "bitcoin", "level": "5%,6%"}, "level: String should match pattern"),
    ],
)
async def test_invalid_argument_is_named_with_those_that_exist(
    tool: str, arguments: dict[str, Any], said: str
) -> None:
    gateway = FakeGateway()
    assert said in await error_of(gateway, tool, **arguments)
    assert gateway.requests == []


async def test_tools_are_described_for_reading_only() -> None:
    server = build_server(lambda _: AsyncCoincast("http://gateway"), "1.2.3")
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        assert client.server_info is not None
        assert client.server_info.version == "1.2.3"
        assert "never a direction" in str(client.instructions)
    assert len(tools) == 9
    for tool in tools:
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert "ctx" not in json.dumps(tool.input_schema)
