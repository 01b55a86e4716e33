"""The Python client and the `coincast` command against a running gateway."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from pathlib import Path

import httpx2
import pytest

from coincast_client import AsyncCoincast, Coincast
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


# Operations whose method has another name.
METHODS = {
    "forecast_models": "models",
    "health_detailed": "health",
    "health_ready": "ready",
    "health_trends": "trends",
    "health_component": "component",
    "submit_job": "train",
    "export_histories": "export",
    "export_ledger": "export",
}
# Pages, probes and metrics are for browsers and machines; CoinGecko's paths have clients of their own.
WITHOUT_METHOD = {"health", "metrics"}
PARAMETERS = {"id": "coin_id", "from": "from_", "Idempotency-Key": "idempotency_key"}
# `export` takes the format by the ending of the file, and a stream continues by itself.
NOT_PARAMETERS = {"format", "last-event-id"}


async def test_client_has_a_method_with_every_parameter_of_each_route() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        document = (await http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    missing = []
    for operation in (each for path in document["paths"].values() for each in path.values()):
        name = operation["operationId"]
        if operation["tags"][0] in ("pages", "mirror") or name in WITHOUT_METHOD:
            continue
        method = getattr(Coincast, METHODS.get(name, name), None)
        if method is None:
            missing.append(name)
            continue
        signature = inspect.signature(method).parameters
        if any(each.kind is each.VAR_KEYWORD for each in signature.values()):
            continue
        wanted = {each["name"] for each in operation.get("parameters", ())} - NOT_PARAMETERS
        if body := operation.get("requestBody"):
            schema = body["content"]["application/json"]["schema"]
            for reference in [schema, *schema.get("anyOf", ())]:
                wanted |= set(
                    schemas.get(reference.get("$ref", "").rpartition("/")[2], {}).get("properties", ())
                )
        names = {PARAMETERS.get(each, each) for each in wanted}
        if "coin_id" in signature:
            names = {"coin_id" if each == "ids" else each for each in names}
        missing += [f"{name}.{each}" for each in names - set(signature)]
    assert not missing


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


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("--version", 0, "coincast "),
        ("prices nocoin", 2, "nocoin"),
        ("prices bitcoin nocoin", 1, "nocoin"),
        ("prices bitcoin --bogus", 2, "No such option: --bogus"),
        ("prices bitcoin --url nonsense", 2, "'nonsense' is not the address of a gateway"),
        ("prices bitcoin --url http://127.0.0.1:1", 1, "does not answer"),
        ("touch bitcoin -5%", 0, "touches"),
        ("touch bitcoin 5% -2.5% --days 2", 0, "touches"),
        ("touch bitcoin 5% --bogus", 2, "No such option: --bogus"),
        ("touch bitcoin 5% -x", 2, "No such option: -x"),
        ("touch bitcoin 5% --as-of 2023-11-01", 0, "made later from the data known then"),
        ("touch bitcoin half", 2, "level"),
        ("risk bitcoin=6000 --as-of 2023-11-01", 0, "made later from the data known then"),
        ("risk bitcoin", 2, "is not a holding"),
        ("coins nothing-like-it", 1, "0 coins match"),
        ("watch nocoin --updates 1", 1, "nocoin"),
        ("watch bitcoin --updates 1", 0, "bitcoin"),
        ("export foo --out x.csv", 2, "is not a table"),
        ("nosuch", 2, "No such command"),
    ],
)
async def test_exit_codes_and_messages(line: str, code: int, said: str) -> None:
    async with world() as there:
        words = line.split()
        at = [] if "--url" in words or words[0] in {"--version", "nosuch"} else ["--url", there.url]
        found, text = await command(*words, *at)
    assert (found, said in " ".join(text.split())) == (code, True), text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("coincast fore", {"forecast"}),
        ("coincast prices bit", {"bitcoin"}),
        ("coincast prices bitcoin eth", {"ethereum"}),
        ("coincast forecast ", {"bitcoin", "ethereum"}),
        ("coincast touch bit", {"bitcoin"}),
        ("coincast history b", {"bitcoin"}),
        ("coincast forecast bitcoin --model l", {"lightgbm", "lstm"}),
        ("coincast forecast bitcoin --vs", {"--vs"}),
        ("coincast export h", {"histories"}),
        ("coincast export histories eth", {"ethereum"}),
        ("coincast prices nothing-like-it", set()),
    ],
)
async def test_the_command_completes_coins_models_and_commands(line: str, expected: set[str]) -> None:
    async with world() as there:
        code, text = await complete(line, there.url)
    assert code == 0
    assert expected <= set(text.split())
    assert bool(text.split()) == bool(expected)


async def test_completion_without_a_gateway_is_empty() -> None:
    assert await complete("coincast prices bit", "http://127.0.0.1:1") == (0, "")


async def complete(line: str, url: str) -> tuple[int, str]:
    """Return the exit code and the suggestions for a shell's line whose last word is incomplete."""
    words = line.split(" ")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("coincast")),
        env={
            "PATH": "/usr/bin", "COINCAST_URL": url, "_COINCAST_COMPLETE": "complete_bash",
            "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
        },
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode().strip()
