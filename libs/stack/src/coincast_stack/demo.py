"""`make demo`: start everything in a temporary folder, print one forecast, and remove everything."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlencode

from rich.console import Console

from coincast_stack.console import ProgressLines, forecast_table
from coincast_stack.errors import StackError
from coincast_stack.options import StackOptions
from coincast_stack.processes.probes import as_json, get
from coincast_stack.run import say_unused_rows, say_upstream
from coincast_stack.stack import Launch, Stack, running_stack
from coincast_stack.status.readiness import wait_until_ready

READY_SECONDS = 1800.0
FORECAST_SECONDS = 60.0
POLL_SECONDS = 0.5
NO_ARTIFACT_NEEDED = ("technical", "auto")


async def demo(
    options: StackOptions,
    coin: str,
    days: int,
    model: str,
    out: Console,
    *,
    launch: Launch = running_stack,
) -> bytes:
    """Start a stack without any state, print one forecast, and stop the stack.

    Args:
        options: Options of the stack.
        coin: CoinGecko id of the coin.
        days: Days ahead, 1 to 30.
        model: Name of the model.
        out: The console.
        launch: Starts the stack.

    Returns:
        The gateway's JSON reply.

    Raises:
        StackError: A part of the system failed.
    """
    progress = ProgressLines(out)
    progress("starting every service on free ports, with no model yet", None)
    async with launch(options) as stack:
        say_upstream(stack, options, out)
        await say_unused_rows(stack, out)
        await wait_until_ready(stack, options.train, progress, READY_SECONDS)
        progress("requesting the forecast", None)
        reply = await _forecast(stack, coin, days, model)
        for artifact in sorted((stack.layout.state_dir / "artifacts").glob("*/v*/manifest.json")):
            out.print(f"artifact: {artifact.parent.relative_to(stack.layout.state_dir)}", highlight=False)
        document = as_json(reply)
        out.print(forecast_table(document["forecasts"][0]))
        progress("stopping", None)
    return reply


async def _forecast(stack: Stack, coin: str, days: int, model: str) -> bytes:
    query = urlencode({"ids": coin, "days": days, "model": model})
    deadline = time.monotonic() + FORECAST_SECONDS
    while True:
        status, body = await get(f"{stack.gateway_url}/forecasts?{query}", timeout_seconds=15)
        document = as_json(body)
        wrong = _what_is_wrong(status, document, model)
        if not wrong:
            return body
        if time.monotonic() > deadline:
            raise StackError(f"no forecast of {coin} by {model}: {wrong}")
        stack.raise_if_dead()
        await asyncio.sleep(POLL_SECONDS)


def _what_is_wrong(status: int, document: object, model: str) -> str:
    """Return why the reply is not a forecast by the requested model; empty if it is one."""
    if status != 200 or not isinstance(document, dict):
        return f"the gateway answered {status}: {document}"
    if not document.get("forecasts"):
        return f"the reply has no forecast: {document.get('errors')}"
    forecast = document["forecasts"][0]
    if model not in NO_ARTIFACT_NEEDED and forecast.get("served_by") != model:
        return f"served by {forecast.get('served_by')}: {forecast.get('reason')}"
    return ""
