"""The sandbox's day: where it begins, when it ends, and what is served around midnight."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from coincast_sandbox.app import SandboxOptions, create_app

HEADER = "date,open,high,low,close,volume_usd\n"
FIRST = date(2024, 1, 1)


class Wall:
    """A machine's clock that a test moves."""

    def __init__(self, moment: datetime) -> None:
        self.seconds = moment.timestamp()

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [f"{FIRST + timedelta(days=i)},{100 + i},{103 + i},{98 + i},{101 + i},1000\n" for i in range(60)]
    (tmp_path / "bitcoin.csv").write_text(HEADER + "".join(rows))
    return tmp_path


def client_of(options: SandboxOptions) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(create_app(options)), base_url="http://x/api/v3")


async def daily(client: httpx2.AsyncClient) -> list[list[float]]:
    reply = await client.get("/coins/bitcoin/market_chart?vs_currency=usd&days=10&interval=daily")
    points: list[list[float]] = reply.json()["prices"]
    return points


def day_of(point: list[float]) -> date:
    return datetime.fromtimestamp(point[0] / 1000, UTC).date()


async def test_the_last_day_is_there_from_0035_on(folder: Path) -> None:
    wall = Wall(datetime(2030, 5, 5, 0, 34, 50, tzinfo=UTC))
    async with client_of(SandboxOptions(data=folder, wall=wall)) as client:
        last_candle = FIRST + timedelta(days=59)
        early = await daily(client)
        assert day_of(early[-2]) == last_candle, "its close, stamped the next midnight, is not there yet"
        wall.seconds += 11
        late = await daily(client)
        assert (day_of(late[-2]), late[-2][1]) == (last_candle + timedelta(days=1), 101 + 59)


async def test_it_runs_on_past_midnight(folder: Path) -> None:
    wall = Wall(datetime(2030, 5, 5, 23, 59, 58, tzinfo=UTC))
    async with client_of(SandboxOptions(data=folder, wall=wall)) as client:
        before = float((await client.get("/ping")).headers["x-coincast-sandbox-now"])
        wall.seconds += 3600
        after = float((await client.get("/ping")).headers["x-coincast-sandbox-now"])
        assert after - before == 3600
        closed_simulated_day = (await daily(client))[-2]
        assert day_of(closed_simulated_day) == FIRST + timedelta(days=61)


async def test_a_day_within_the_folder_shows_no_later_candle(folder: Path) -> None:
    today = FIRST + timedelta(days=30)
    wall = Wall(datetime(2030, 5, 5, 12, 0, 0, tzinfo=UTC))
    async with client_of(SandboxOptions(data=folder, today=today, wall=wall)) as client:
        points = await daily(client)
        assert (day_of(points[-2]), points[-2][1]) == (today, 101 + 29)
        assert day_of(points[-1]) == today
        assert 98 + 30 <= points[-1][1] <= 103 + 30, "today's price moves within its true candle"
        hours = (await client.get("/coins/bitcoin/market_chart?vs_currency=usd&days=5")).json()["prices"]
        assert max(p[0] for p in hours) == points[-1][0]


async def test_simulation_lives_on_the_machines_day() -> None:
    moment = datetime(2026, 3, 3, 7, 0, 0, tzinfo=UTC)
    async with client_of(SandboxOptions(wall=Wall(moment))) as client:
        assert float((await client.get("/ping")).headers["x-coincast-sandbox-now"]) == moment.timestamp()
