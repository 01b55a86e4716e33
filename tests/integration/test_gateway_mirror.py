"""CoinGecko's own clients against the gateway, through the real market-data service and the sandbox."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import coingecko_sdk
import pytest
import requests
from coingecko_sdk import Coingecko
from pycoingecko import CoinGeckoAPI

from coincast_chassis.run import serve as serve_grpc
from coincast_gateway.server import serve
from coincast_gateway.settings import Settings
from coincast_market_data.app import build as build_market
from coincast_market_data.settings import Settings as MarketSettings
from coincast_market_data.settings import UpstreamName
from coincast_sandbox.testing import running_sandbox

# Within the 365 days that free plans reach back, on the sandbox's calendar, which is the real one here.
LAST_MONTH = (datetime.now(UTC) - timedelta(days=30)).strftime("%d-%m-%Y")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a gateway over market-data over the sandbox; blocking clients run in this thread."""
    archive = tmp_path_factory.mktemp("archive")
    with running_sandbox() as sandbox:
        started, stop = threading.Event(), threading.Event()
        found: list[str] = []

        async def run() -> None:
            market = MarketSettings(
                port=0, metrics_port=0, redis_url="redis://127.0.0.1:1/0", upstream=UpstreamName.SANDBOX,
                upstream_url=sandbox.base_url, per_minute_limit=100_000, archive_dir=archive, warm_ids="",
            )  # fmt: skip
            async with AsyncExitStack() as stack:
                target = await stack.enter_async_context(serve_grpc("market", market, build_market))
                gateway = Settings(port=0, metrics_port=0, redis_url="", market_target=target)
                found.append(await stack.enter_async_context(serve(gateway)))
                started.set()
                await asyncio.to_thread(stop.wait)

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        assert started.wait(30)
        yield found[0]
        stop.set()
        thread.join(15)


@pytest.fixture
def old(address: str) -> Iterator[CoinGeckoAPI]:
    client = CoinGeckoAPI(demo_api_key="a-key-that-must-not-travel")
    client.api_base_url = f"{address}/api/v3/"
    yield client
    client.session.close()


@pytest.fixture
def official(address: str) -> Iterator[Coingecko]:
    with Coingecko(
        base_url=f"{address}/api/v3",
        demo_api_key="k",
        environment="demo",
        _strict_response_validation=True,
        max_retries=0,
    ) as client:
        yield client


def days_ago(days: int) -> str:
    """UNIX seconds, as the SDK wants them."""
    return str(int((datetime.now(UTC) - timedelta(days=days)).timestamp()))


def test_pycoingecko_works_by_its_address_alone(old: CoinGeckoAPI) -> None:
    assert old.ping() == {"gecko_says": "(V3) To the Moon!"}
    price = old.get_price(ids="bitcoin,ethereum,nocoin", vs_currencies="usd,eur", include_24hr_change="true")
    assert set(price) == {"bitcoin", "ethereum"}
    assert {"usd", "eur", "usd_24h_change"} <= set(price["bitcoin"])
    assert "usd" in old.get_supported_vs_currencies()
    assert any(coin["id"] == "bitcoin" for coin in old.get_coins_list())
    assert old.get_coins_markets(vs_currency="usd", per_page=3)[0]["current_price"] > 0
    assert old.get_coin_by_id("bitcoin")["market_data"]["current_price"]["usd"] > 0
    chart = old.get_coin_market_chart_by_id("bitcoin", "usd", 90)
    assert set(chart) == {"prices", "market_caps", "total_volumes"}
    first, last = chart["prices"][0][0] // 1000, chart["prices"][-1][0] // 1000
    span = old.get_coin_market_chart_range_by_id("bitcoin", "usd", first, last)
    assert span["prices"]
    assert len(old.get_coin_ohlc_by_id("bitcoin", "usd", 7)[0]) == 5
    assert old.get_coin_history_by_id("bitcoin", LAST_MONTH)["id"] == "bitcoin"
    assert old.search("bitcoin")["coins"][0]["id"] == "bitcoin"
    with pytest.raises(ValueError, match="coin not found"):
        old.get_coin_by_id("no-such-coin")


CALLS: dict[str, Callable[[Coingecko], Any]] = {
    "ping": lambda c: c.ping.get(),
    "price": lambda c: c.simple.price.get(vs_currencies="usd", ids="bitcoin", include_market_cap=True),
    "currencies": lambda c: c.simple.supported_vs_currencies.get(),
    "list": lambda c: c.coins.list.get(),
    "markets": lambda c: c.coins.markets.get(vs_currency="usd", per_page=5, sparkline=True),
    "coin": lambda c: c.coins.get_id("bitcoin"),
    "chart": lambda c: c.coins.market_chart.get("bitcoin", vs_currency="usd", days="30"),
    "range": lambda c: c.coins.market_chart.get_range(
        "bitcoin", vs_currency="usd", from_=days_ago(90), to=days_ago(1)
    ),
    "ohlc": lambda c: c.coins.ohlc.get("bitcoin", vs_currency="usd", days="7"),
    "history": lambda c: c.coins.history.get("bitcoin", date=LAST_MONTH),
    "search": lambda c: c.search.get(query="eth"),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_official_sdk_validates_every_reply(official: Coingecko, name: str) -> None:
    assert CALLS[name](official) is not None


def test_the_official_sdk_reads_our_errors(official: Coingecko) -> None:
    with pytest.raises(coingecko_sdk.NotFoundError):
        official.coins.get_id("no-such-coin")


def test_slashes_keys_and_quirks(address: str) -> None:
    def get(path: str, **more: Any) -> requests.Response:
        return requests.get(f"{address}/api/v3{path}", timeout=10, **more)

    assert get("/ping/").json() == {"gecko_says": "(V3) To the Moon!"}
    assert get("/simple/price?ids=bitcoin").json() == {"error": "Missing parameter vs_currencies"}
    assert get("/simple/price?vs_currencies=usd").status_code == 422
    assert get("/simple/price?ids=nocoin&vs_currencies=usd").json() == {}
    assert get("/coins/markets?vs_currency=xyz").json() == {"error": "invalid vs_currency"}
    assert get("/coins/no-such-coin/market_chart?vs_currency=usd&days=1").json() == {
        "error": "coin not found"
    }
    unmirrored = get("/nfts/list")
    assert unmirrored.status_code == 404
    assert "not mirrored" in unmirrored.json()["error"]["status"]["error_message"]
    reply = get(
        "/coins/bitcoin/", headers={"x-cg-pro-api-key": "secret"}, params={"x_cg_demo_api_key": "secret"}
    )
    assert reply.headers["x-coincast-source"] == "sandbox"
    assert reply.json()["id"] == "bitcoin"


@pytest.mark.parametrize("heading", ["pycoingecko", "The official SDK"])
def test_the_recipes_run(address: str, heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    code = section.split("```python\n")[1].split("```")[0].replace("http://127.0.0.1:8000", address)
    names: dict[str, Any] = {}
    exec(code, names)
    session = getattr(names["client"], "session", None)
    if session is not None:
        session.close()
    assert float(capsys.readouterr().out.split()[0]) > 0


def test_the_fetch_of_a_page_of_any_origin_may_be_read(address: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
    section = page.split("## A page in a browser\n")[1].split("\n## ")[0]
    url = section.split('fetch("')[1].split('"')[0].replace("http://127.0.0.1:8000", address)
    origin = {"origin": "https://somewhere.example"}
    reply = requests.get(url, headers=origin, timeout=10)
    assert reply.json()["bitcoin"]["usd"] > 0
    assert reply.headers["access-control-allow-origin"] == "*"
    requested = {**origin, "access-control-request-method": "GET"}
    preflight = requests.options(url, headers=requested, timeout=10)
    assert preflight.ok
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "GET" in preflight.headers["access-control-allow-methods"]
