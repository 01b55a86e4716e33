"""CoinGecko's own clients against the gateway, through the real market-data service and the sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import coingecko_sdk
import jinja2
import pytest
import requests
import yaml
from coingecko_sdk import Coingecko
from pycoingecko import CoinGeckoAPI

from coincast_chassis.run import serve as serve_grpc
from coincast_gateway.server import serve
from coincast_gateway.settings import Settings
from coincast_market_data.app import build as build_market
from coincast_market_data.settings import Settings as MarketSettings
from coincast_market_data.settings import UpstreamName
from coincast_sandbox.testing import running_sandbox

COINGECKO_HOST = "api.coingecko.com"
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
                gateway = Settings(
                    port=0, metrics_port=0, redis_url="", market_target=target, allowed_hosts=COINGECKO_HOST
                )
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


def recipe(heading: str, language: str, address: str) -> str:
    """Return the code of a section of the recipes, with the address of the test's gateway."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    return section.split(f"```{language}\n")[1].split("```")[0].replace("http://127.0.0.1:8000", address)


@pytest.mark.parametrize("heading", ["pycoingecko", "The official SDK"])
def test_the_recipes_run(address: str, heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = recipe(heading, "python", address)
    names: dict[str, Any] = {}
    exec(code, names)
    session = getattr(names["client"], "session", None)
    if session is not None:
        session.close()
    assert float(capsys.readouterr().out.split()[0]) > 0


def test_the_fetch_of_a_page_of_any_origin_may_be_read(address: str) -> None:
    url = recipe("A page in a browser", "js", address).split('fetch("')[1].split('"')[0]
    origin = {"origin": "https://somewhere.example"}
    reply = requests.get(url, headers=origin, timeout=10)
    assert reply.json()["bitcoin"]["usd"] > 0
    assert reply.headers["access-control-allow-origin"] == "*"
    requested = {**origin, "access-control-request-method": "GET"}
    preflight = requests.options(url, headers=requested, timeout=10)
    assert preflight.ok
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "GET" in preflight.headers["access-control-allow-methods"]


# How freqtrade wraps pycoingecko: versions of 2026 pass the key on, those of 2024 set address and key again.
FREQTRADE = """
from pycoingecko import CoinGeckoAPI

class Passing(CoinGeckoAPI):
    def __init__(self, api_key="", *, is_demo=True, retries=5):
        super().__init__(retries=retries, demo_api_key=api_key)

class Setting(CoinGeckoAPI):
    def __init__(self, api_key="", *, is_demo=True, retries=5):
        super().__init__(retries=retries)
        self.api_base_url = "https://api.coingecko.com/api/v3/"
        self.session.params.update({"x_cg_demo_api_key": api_key})

for client in (Passing("key"), Setting("key")):
    listed = {coin["symbol"]: coin["id"] for coin in client.get_coins_list()}
    prices = client.get_price(ids=listed["btc"], vs_currencies="usd")
    print(listed["btc"], float(prices["bitcoin"]["usd"]))
"""


def test_freqtrade_gets_its_prices_here(address: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(recipe("freqtrade", "python", address))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = [sys.executable, "-c", FREQTRADE]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [coin for coin, _ in lines] == ["bitcoin", "bitcoin"]
    assert all(float(price) > 0 for _, price in lines)


def test_ghostfolio_gets_what_its_provider_reads(address: str) -> None:
    def fetch(path: str) -> Any:
        headers = {"Host": COINGECKO_HOST, "x-cg-demo-api-key": "a-key-that-must-not-travel"}
        reply = requests.get(f"{address}/api/v3{path}", headers=headers, timeout=10)
        assert reply.status_code == 200, reply.text
        return reply.json()

    assert fetch("/coins/bitcoin")["name"] == "Bitcoin"
    quotes = fetch("/simple/price?ids=bitcoin,ethereum&vs_currencies=usd")
    assert all(quotes[coin]["usd"] > 0 for coin in ("bitcoin", "ethereum"))
    span = fetch(f"/coins/bitcoin/market_chart/range?vs_currency=usd&from={days_ago(90)}&to={days_ago(1)}")
    assert "error" not in span
    assert "status" not in span
    assert all(price > 0 for _, price in span["prices"])
    found = fetch("/search?query=bitcoin")["coins"]
    assert {"id", "name"} <= set(found[0])


def test_the_sensor_of_home_assistant_shows_a_price(address: str) -> None:
    (sensor,) = yaml.safe_load(recipe("Home Assistant", "yaml", address))["sensor"]
    reply = requests.get(sensor["resource"], timeout=10).json()
    rendered = jinja2.Environment().from_string(sensor["value_template"]).render(value_json=reply)
    assert float(rendered) > 0
    coin = sensor["json_attributes_path"].removeprefix("$.")
    assert set(sensor["json_attributes"]) <= set(reply[coin])


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the script of the Google sheet")
def test_the_script_of_the_google_sheet_returns_a_price(address: str) -> None:
    script = recipe("Google Sheets", "js", address).replace("https://prices.example.org", address)
    stand_in = """
const { execFileSync } = require("node:child_process");
const read = "fetch(process.argv[1]).then(r => r.text()).then(text => process.stdout.write(text))";
const UrlFetchApp = {
  fetch: url => ({ getContentText: () => execFileSync(process.execPath, ["-e", read, url]).toString() })
};
"""
    program = f"{stand_in}{script}\nconsole.log(COINPRICE('bitcoin', 'usd'));"
    node = shutil.which("node") or "node"
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) > 0
