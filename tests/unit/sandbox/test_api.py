"""The sandbox speaks CoinGecko's shapes, over a real socket."""

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast_sandbox.app import SandboxOptions
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.testing import RunningSandbox, running_sandbox

FIRST = date(2023, 1, 1)
DAYS = 800


def write_candles(folder: Path, coin_id: str, level: float) -> None:
    with (folder / f"{coin_id}.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["date", "open", "high", "low", "close", "volume_usd"])
        for i in range(DAYS):
            opened, close = level * (1 + i / 1000), level * (1 + (i + 1) / 1000)
            out.writerow([FIRST + timedelta(days=i), opened, close * 1.02, opened * 0.97, close, 1e6 + i])


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candles")
    write_candles(folder, "bitcoin", 30000.0)
    write_candles(folder, "ethereum", 2000.0)
    return folder


@pytest.fixture(scope="module")
def replay(candles: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxOptions(data=candles)) as sandbox:
        yield sandbox


def get(sandbox: RunningSandbox, path: str, **headers: str) -> httpx2.Response:
    return httpx2.get(sandbox.base_url + path, headers=headers, trust_env=False)


def rows(candles: Path) -> list[dict[str, str]]:
    with (candles / "bitcoin.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_reply_says_sandbox_and_its_own_now(replay: RunningSandbox) -> None:
    last_day = FIRST + timedelta(days=DAYS)
    for path, status in (("/ping", 200), ("/coins/nobody", 404), ("/nowhere", 404)):
        reply = get(replay, path)
        assert reply.status_code == status
        assert reply.headers["x-coincast-sandbox"] == "1"
        now = datetime.fromtimestamp(float(reply.headers["x-coincast-sandbox-now"]), UTC)
        assert now.date() == last_day, "today is the day after the last candle"
        assert abs((now.time().hour - datetime.now(UTC).hour) % 24) in {0, 1, 23}
        assert parsedate_to_datetime(reply.headers["date"]).date() == last_day


def test_daily_points_are_the_closes_of_the_folder(replay: RunningSandbox, candles: Path) -> None:
    chart = get(replay, "/coins/bitcoin/market_chart?vs_currency=usd&days=200").json()
    assert len(chart["prices"]) == len(chart["market_caps"]) == len(chart["total_volumes"])
    midnights, now = chart["prices"][:-1], chart["prices"][-1]
    closes = {r["date"]: float(r["close"]) for r in rows(candles)}
    for stamp, price in midnights:
        assert stamp % 86_400_000 == 0
        day = datetime.fromtimestamp(stamp / 1000, UTC).date() - timedelta(days=1)
        assert price == closes[day.isoformat()]
    assert now[0] % 86_400_000 != 0
    assert 199 <= len(midnights) <= 200


@pytest.mark.parametrize(
    ("days", "seconds"), [(1, 300), (2, 3600), (30, 3600), (90, 3600), (91, 86400), (365, 86400)]
)
def test_granularity_follows_the_span(replay: RunningSandbox, days: int, seconds: int) -> None:
    stamps = [
        p[0] for p in get(replay, f"/coins/bitcoin/market_chart?vs_currency=usd&days={days}").json()["prices"]
    ]
    steps = {(b - a) // 1000 for a, b in pairwise(stamps[:-1])}
    assert steps == {seconds}
    if seconds < 86400:
        assert stamps[0] % 300_000 != 0, "points are not aligned to the clock"


def test_hourly_points_give_back_each_days_candle(replay: RunningSandbox, candles: Path) -> None:
    points = get(replay, "/coins/bitcoin/market_chart?vs_currency=usd&days=30").json()["prices"]
    by_day: dict[str, list[float]] = {}
    for stamp, price in points[:-1]:
        by_day.setdefault(datetime.fromtimestamp(stamp / 1000, UTC).date().isoformat(), []).append(price)
    whole = {r["date"]: r for r in rows(candles)}
    checked = 0
    for day, prices in by_day.items():
        if day in whole and len(prices) == 24:
            r = {k: float(v) for k, v in whole[day].items() if k != "date"}
            found = (prices[0], max(prices), min(prices), prices[-1])
            assert found == pytest.approx((r["open"], r["high"], r["low"], r["close"]), rel=1e-12)
            checked += 1
    assert checked >= 28


def test_simple_price_leaves_out_what_it_does_not_know(replay: RunningSandbox) -> None:
    flags = (
        "include_market_cap=true&include_24hr_vol=true&include_24hr_change=true&include_last_updated_at=true"
    )
    found = get(replay, f"/simple/price?ids=bitcoin,nobody&vs_currencies=usd,xyz,eur&{flags}").json()
    assert set(found) == {"bitcoin"}
    assert set(found["bitcoin"]) == {
        "usd", "usd_market_cap", "usd_24h_vol", "usd_24h_change",
        "eur", "eur_market_cap", "eur_24h_vol", "eur_24h_change", "last_updated_at",
    }  # fmt: skip
    exact = get(replay, "/simple/price?ids=bitcoin&vs_currencies=usd&precision=3").json()["bitcoin"]["usd"]
    assert round(exact, 3) == exact


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/simple/price?ids=bitcoin", 422, {"error": "Missing parameter vs_currencies"}),
        ("/coins/nobody/market_chart?vs_currency=usd&days=1", 404, {"error": "coin not found"}),
        ("/coins/bitcoin/ohlc?vs_currency=usd&days=2", 422, {"error": "Invalid days value"}),
        ("/coins/bitcoin/market_chart?vs_currency=zzz&days=1", 422, {"error": "invalid vs_currency"}),
        ("/coins/bitcoin/history?date=2024-01-01", 400, {"error": "invalid date"}),
    ],
)
def test_errors_are_coingeckos(replay: RunningSandbox, path: str, status: int, body: dict[str, Any]) -> None:
    reply = get(replay, path)
    assert (reply.status_code, reply.json()) == (status, body)


def test_free_plans_reach_365_days(replay: RunningSandbox) -> None:
    assert get(replay, "/coins/bitcoin/market_chart?vs_currency=usd&days=365").status_code == 200
    refused = get(replay, "/coins/bitcoin/market_chart?vs_currency=usd&days=366")
    assert refused.status_code == 401
    assert refused.json()["error"]["status"]["error_code"] == 10012


@pytest.mark.parametrize(("days", "width"), [(1, 1800), (7, 14400), (30, 14400), (90, 345600), (365, 345600)])
def test_ohlc_stamps_are_closes(replay: RunningSandbox, days: int, width: int) -> None:
    found = get(replay, f"/coins/bitcoin/ohlc?vs_currency=usd&days={days}").json()
    assert all(b[0] - a[0] == width * 1000 for a, b in pairwise(found))
    assert all(low <= min(o, c) <= max(o, c) <= high for _, o, high, low, c in found)
    now = float(get(replay, "/ping").headers["x-coincast-sandbox-now"])
    assert now * 1000 - width * 1000 < found[-1][0] <= now * 1000


def test_slashes_and_other_documents(replay: RunningSandbox) -> None:
    coin = get(replay, "/coins/bitcoin/").json()
    assert coin["market_data"]["current_price"]["usd"] > 0
    markets = get(
        replay, "/coins/markets?vs_currency=usd&sparkline=true&price_change_percentage=1h,7d"
    ).json()
    assert [m["id"] for m in markets] == ["bitcoin", "ethereum"]
    assert len(markets[0]["sparkline_in_7d"]["price"]) == 168
    assert get(replay, "/search?query=BTC").json()["coins"][0]["id"] == "bitcoin"
    assert "market_data" not in get(replay, "/coins/bitcoin/history?date=01-01-2035").json()


@pytest.mark.parametrize(
    ("plan", "header", "status", "code"),
    [
        ("demo", {}, 401, 10002),
        ("demo", {"x-cg-demo-api-key": "good"}, 200, None),
        ("demo", {"x-cg-demo-api-key": "bad"}, 401, 10002),
        ("demo", {"x-cg-pro-api-key": "good"}, 400, 10010),
        ("pro", {"x-cg-demo-api-key": "good"}, 400, 10011),
        ("pro", {"x-cg-pro-api-key": "good"}, 200, None),
        ("pro", {}, 401, 10002),
    ],
)
def test_keys_belong_to_their_plan(
    candles: Path, plan: str, header: dict[str, str], status: int, code: int | None
) -> None:
    with running_sandbox(SandboxOptions(data=candles, plan=ApiPlan(plan, frozenset({"good"})))) as sandbox:
        reply = get(sandbox, "/ping", **header)
        assert reply.status_code == status
        assert code is None or str(code) in reply.text
        in_query = "&".join(f"{k.replace('-', '_')}={v}" for k, v in header.items())
        assert get(sandbox, f"/ping?{in_query}").status_code == status


def test_the_minute_is_limited(candles: Path) -> None:
    with running_sandbox(SandboxOptions(data=candles, rate_per_minute=3)) as sandbox:
        statuses = [get(sandbox, "/ping").status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = get(sandbox, "/ping")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["status"]["error_code"] == 429
        calls = sandbox.calls()
        assert (calls["total"], calls["statuses"], calls["peak_per_minute"]) == (6, {"200": 3, "429": 3}, 6)


def test_a_simulated_market_needs_no_folder() -> None:
    with running_sandbox() as sandbox:
        assert sandbox.health()["coins"] == 300
        page = get(sandbox, "/coins/markets?vs_currency=usd&per_page=250").json()
        assert len(page) == 250
        assert any(row["market_cap"] is None for row in page), "numbers can be null, as at CoinGecko"


def test_days_past_the_folder_stay_the_same_in_any_process(candles: Path) -> None:
    today = FIRST + timedelta(days=DAYS + 40)
    path = "/coins/bitcoin/market_chart/range?vs_currency=usd&interval=daily&from=1735689600&to=1740787200"
    found = []
    for _ in range(2):
        with running_sandbox(SandboxOptions(data=candles, today=today)) as sandbox:
            get(sandbox, "/simple/price?ids=bitcoin&vs_currencies=usd")
            found.append(get(sandbox, path).json()["prices"])
    assert found[0] == found[1]
    assert len(found[0]) > 20
