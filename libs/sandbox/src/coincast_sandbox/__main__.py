"""`python -m coincast_sandbox`: run the sandbox as a separate process."""

from __future__ import annotations

import sys
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from coincast_sandbox.app import SandboxOptions, create_app
from coincast_sandbox.http.plans import PLANS, ApiPlan
from coincast_sandbox.server import server_config
from coincast_sandbox.simulation.candles import CandlesError


class PlanName(StrEnum):
    """The CoinGecko plans that the sandbox can enforce."""

    KEYLESS = "keyless"
    DEMO = "demo"
    BASIC = "basic"
    ANALYST = "analyst"
    LITE = "lite"
    PRO = "pro"


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def main(
    host: Annotated[
        str, typer.Option(envvar="SANDBOX_HOST", help="Address to listen on.", metavar="HOST")
    ] = "127.0.0.1",
    *,
    port: Annotated[int, typer.Option(envvar="SANDBOX_PORT", help="Port to listen on.", metavar="N")] = 8100,
    data: Annotated[
        Path | None,
        typer.Option(envvar="SANDBOX_DATA", help="Folder of <coin id>.csv candles.", metavar="FOLDER"),
    ] = None,
    today: Annotated[
        datetime | None,
        typer.Option(
            envvar="SANDBOX_TODAY", formats=["%Y-%m-%d"], help="The sandbox's current day.", metavar="DATE"
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(envvar="SANDBOX_SEED", help="Random seed of the simulation.", metavar="N"),
    ] = 7,
    plan: Annotated[
        PlanName,
        typer.Option(
            envvar="SANDBOX_PLAN",
            help="CoinGecko's plan: it sets the accepted keys and how far back history goes.",
        ),
    ] = PlanName.KEYLESS,
    keys: Annotated[
        str,
        typer.Option(
            envvar="SANDBOX_KEYS",
            help="Accepted API keys, comma-separated; by default every key is accepted.",
            metavar="KEYS",
        ),
    ] = "",
    reach_days: Annotated[
        int | None,
        typer.Option(
            envvar="SANDBOX_REACH_DAYS",
            help="Days of history that may be requested; 0 for all; the default is that of the plan.",
            metavar="N",
        ),
    ] = None,
    rate_per_minute: Annotated[
        int | None,
        typer.Option(
            envvar="SANDBOX_RATE_PER_MINUTE",
            help="Calls per minute; further calls are answered with 429. 0 for no limit.",
            metavar="N",
        ),
    ] = None,
    plan_limits: Annotated[
        bool,
        typer.Option(
            envvar="SANDBOX_PLAN_LIMITS", help="Enforce the plan's limits on calls per minute and per month."
        ),
    ] = False,
) -> None:
    """Run a simulated CoinGecko API that replays candles or simulates a market, and injects faults."""
    day: date | None = today.date() if today else None
    accepted = frozenset(key for key in keys.split(",") if key)
    terms = PLANS[plan.value]
    if rate_per_minute is None:
        rate_per_minute = terms.calls_per_minute if plan_limits else 0
    options = SandboxOptions(
        data=data,
        today=day,
        seed=seed,
        plan=ApiPlan(plan.value, accepted, reach_days),
        rate_per_minute=rate_per_minute,
        monthly_credits=terms.monthly_credits if plan_limits else 0,
    )
    try:
        app = create_app(options)
    except CandlesError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    uvicorn.Server(server_config(app, host, port)).run()


if __name__ == "__main__":
    app()
