"""The Python client and the `coincast` command against a running gateway."""

from __future__ import annotations

import asyncio
import json
import sys

from coincast_client import AsyncCoincast
from tests.contract.gateway.fakes import world


async def command(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coincast_client", *arguments,
        env={"COLUMNS": "140", "PATH": "/usr/bin", "PYTHONIOENCODING": "utf-8"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    print(output.decode())
    return process.returncode or 0, output.decode()


async def test_every_method_reads_a_real_reply() -> None:
    async with world() as there, AsyncCoincast(there.url) as coincast:
        assert (await coincast.prices(["bitcoin", "nocoin"])).errors[0].id == "nocoin"
        assert (await coincast.forecasts(["bitcoin"], days=3)).forecasts[0].points[-1].horizon_days == 3
        assert len((await coincast.history("bitcoin", days=5)).candles) == 5
        assert (await coincast.models()).models[0].name == "lightgbm"
        assert {part.name for part in (await coincast.health()).components} >= {"gateway", "forecast"}


async def test_the_command_shows_tables_a_chart_and_json() -> None:
    async with world() as there:
        at = ("--url", there.url)
        code, text = await command("prices", "bitcoin", *at)
        assert code == 0
        code, text = await command("prices", "bitcoin", "bitcon", *at)
        assert code == 1
        assert "37,000" in text
        assert "Did you mean bitcoin" in text
        code, text = await command("forecast", "bitcoin", "--days", "3", *at)
        assert code == 0
        assert "bitcoin in 3 days: 36,200 to 37,800 dollars" in text
        assert "80 % interval" in text
        assert "median" in text
        code, text = await command("coins", "bit", *at)
        assert code == 0
        code, text = await command("history", "bitcoin", "--days", "3", *at)
        assert "36," in text
        code, text = await command("forecast", "bitcoin", "--json", *at)
        assert len(json.loads(text)["forecasts"][0]["points"]) == 7
        code, text = await command("models", *at)
        assert "lightgbm" in text
        code, text = await command("health", *at)
        assert "market-data" in text
        code, text = await command("prices", "bitcon", *at)
        assert code == 2
        assert "Did you mean bitcoin" in text
