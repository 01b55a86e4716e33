"""`python -m coincast_sandbox`: the sandbox as a process of its own."""

import sys
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from coincast_sandbox.app import SandboxOptions, create_app
from coincast_sandbox.http.access import Plan
from coincast_sandbox.server import server_config
from coincast_sandbox.simulation.candles import CandlesError


class PlanName(StrEnum):
    """CoinGecko's plans, as far as they differ here."""

    KEYLESS = "keyless"
    DEMO = "demo"
    PRO = "pro"


def main(
    host: Annotated[str, typer.Option(envvar="SANDBOX_HOST", help="Address to listen on.")] = "127.0.0.1",
    *,
    port: Annotated[int, typer.Option(envvar="SANDBOX_PORT", help="Port to listen on.")] = 8100,
    data: Annotated[
        Path | None, typer.Option(envvar="SANDBOX_DATA", help="Folder of <coin id>.csv candles.")
    ] = None,
    today: Annotated[
        datetime | None,
        typer.Option(envvar="SANDBOX_TODAY", formats=["%Y-%m-%d"], help="The sandbox's current day."),
    ] = None,
    seed: Annotated[int, typer.Option(envvar="SANDBOX_SEED", help="Of everything that is made up.")] = 7,
    plan: Annotated[
        PlanName, typer.Option(envvar="SANDBOX_PLAN", help="Which keys and reach.")
    ] = PlanName.KEYLESS,
    keys: Annotated[
        str, typer.Option(envvar="SANDBOX_KEYS", help="Good keys, comma-separated; none: any.")
    ] = "",
    reach_days: Annotated[
        int,
        typer.Option(envvar="SANDBOX_REACH_DAYS", help="How far back the free plans see; 0: all the way."),
    ] = 365,
    rate_per_minute: Annotated[
        int, typer.Option(envvar="SANDBOX_RATE_PER_MINUTE", help="Calls a minute before 429; 0: no limit.")
    ] = 0,
) -> None:
    """A stand-in for CoinGecko: replays candles or simulates a market, and injects faults."""
    day: date | None = today.date() if today else None
    known = frozenset(key for key in keys.split(",") if key)
    options = SandboxOptions(data, day, seed, Plan(plan.value, known, reach_days), rate_per_minute)
    try:
        app = create_app(options)
    except CandlesError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    uvicorn.Server(server_config(app, host, port)).run()


if __name__ == "__main__":
    typer.run(main)
