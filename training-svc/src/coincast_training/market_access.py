"""Find market data for a training outside the service: a running stack, a service, or data of its own.

`open_market` is used by `train_model_for_crypto` and by the commands, so that both work with nothing set. The
order is: the address that was set, a running `make run` (by its state file), a service on the default port,
CoinGecko directly, and at last the sandbox's simulated market. What was chosen is logged and said.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import structlog

from coincast_chassis.errors import Unavailable
from coincast_chassis.grpc.channel import open_channel
from coincast_modelkit.candles import Candles, Panel
from coincast_training.market_client import MarketDataHistory
from coincast_training.ports import History, HistorySource
from coincast_training.settings import Settings

log = structlog.get_logger(__name__)
STATE_FILE = "running.json"
COINGECKO_URL = "https://api.coingecko.com/api/v3"
CONNECT_SECONDS, CALL_SECONDS, PING_SECONDS = 0.5, 20.0, 3.0
# A caller without an API key waits up to a minute; a training may wait that long three times.
ATTEMPTS, LONGEST_PAUSE_SECONDS = 4, 65.0
FREE_DAYS = 365
MIDNIGHT_TOLERANCE = dt.timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Location of a running `make run` on this machine."""

    market_target: str
    training_target: str
    artifacts_dir: Path


@dataclass(frozen=True, slots=True)
class MarketAccess:
    """A source of histories, a sentence that describes it, and the settings to use with it."""

    history: HistorySource
    description: str
    settings: Settings


def find_running_stack(start: Path | None = None) -> RunningStack | None:
    """Return the stack that runs on this machine, if any.

    Looks for `running.json` in `VAR_DIR`, else in `var/` of the working folder and of its parents. The file
    of a stack that was killed is passed over.

    Args:
        start: The folder to look from; None means the working folder.
    """
    here = (start or Path.cwd()).resolve()
    chosen = os.environ.get("VAR_DIR")
    folders = [Path(chosen)] if chosen else [folder / "var" for folder in (here, *here.parents)]
    for folder in folders:
        try:
            found = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
            os.kill(int(found["pid"]), 0)
            state_dir = Path(found["state_dir"])
            if not state_dir.is_absolute():
                state_dir = folder.parent / state_dir
            return RunningStack(found["market_target"], found["training_target"], state_dir / "artifacts")
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


@asynccontextmanager
async def open_market(settings: Settings, *, start: Path | None = None) -> AsyncIterator[MarketAccess]:
    """Open the best available source of histories.

    Args:
        settings: An explicit `market_target` is used even if it does not answer.
        start: Where to look for a running stack from; None means the working folder.

    Yields:
        The source, with settings whose artifact folder is the running stack's unless it was set.
    """
    target, artifacts, description = settings.market_target, None, ""
    if "market_target" in settings.model_fields_set:
        description = f"the market-data service at {target}"
    elif stack := find_running_stack(start):
        target, artifacts = stack.market_target, stack.artifacts_dir
        description = f"the running stack's market-data service at {target}"
    elif await _listens(target):
        description = f"the market-data service at {target}"
    over: dict[str, Any] = {"market_target": target}
    if artifacts is not None and "artifacts_dir" not in settings.model_fields_set:
        over["artifacts_dir"] = artifacts
    settings = settings.model_copy(update=over)
    if description:
        log.info("market_data_source", source=description)
        channel = open_channel(target, service="coincast.market.v1.MarketDataService")
        try:
            yield MarketAccess(market_history(channel, settings), description, settings)
        finally:
            await channel.close()
        return
    async with _own_market(settings) as access:
        log.info("market_data_source", source=access.description)
        yield access


def market_history(channel: Any, settings: Settings) -> MarketDataHistory:
    """Return the history source over a channel to market-data."""
    return MarketDataHistory(
        channel,
        vs_currency=settings.vs_currency,
        timeout_seconds=settings.history_timeout_seconds,
        attempts=settings.history_attempts,
    )


async def _listens(target: str) -> bool:
    """Return whether something accepts connections at host:port."""
    host, _, port = target.rpartition(":")
    with suppress(OSError, ValueError, TimeoutError):
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), CONNECT_SECONDS)
        writer.close()
        return True
    return False


@asynccontextmanager
async def _own_market(settings: Settings) -> AsyncIterator[MarketAccess]:
    """Fetch histories in this process: from CoinGecko where it answers, else from the sandbox."""
    url = os.environ.get("MARKET_UPSTREAM_URL") or COINGECKO_URL
    key = os.environ.get("COINGECKO_API_KEY") or os.environ.get("MARKET_API_KEY")
    header = "x-cg-pro-api-key" if "pro-api" in url else "x-cg-demo-api-key"
    async with httpx2.AsyncClient(
        base_url=url, headers={header: key} if key else {}, timeout=CALL_SECONDS, trust_env=False
    ) as client:
        if await _answers(client):
            history = ChartHistory(client, vs_currency=settings.vs_currency, source="coingecko")
            yield MarketAccess(history, f"CoinGecko directly ({url})", settings)
            return
    try:
        from coincast_sandbox.app import create_app  # noqa: PLC0415 - only where nothing else can be had
    except ImportError as error:
        raise Unavailable(
            f"No market data is available: no stack runs here, nothing listens at {settings.market_target}, "
            f"and {url} does not answer. Start `make run`, or set TRAINING_MARKET_TARGET."
        ) from error
    transport = httpx2.ASGITransport(app=create_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://sandbox/api/v3") as client:
        history = ChartHistory(client, vs_currency=settings.vs_currency, source="sandbox")
        yield MarketAccess(
            history,
            f"the sandbox in this process, which is NOT REAL MARKET DATA ({url} does not answer)",
            settings,
        )


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/ping", timeout=PING_SECONDS)).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


class ChartHistory:
    """A HistorySource over CoinGecko's `coins/{id}/market_chart`: daily closes and volumes, no range."""

    def __init__(self, client: httpx2.AsyncClient, *, vs_currency: str, source: str) -> None:
        self._client, self._vs_currency, self._source = client, vs_currency, source

    async def fetch(self, ids: Sequence[str], days: int) -> History:
        """Fetch the last `days` closed days of each coin, at most the 365 that a free plan gives.

        Raises:
            Unavailable: No history could be fetched.
        """
        panel: dict[str, Candles] = {}
        problems: dict[str, str] = {}
        for coin_id in ids:
            try:
                panel[coin_id] = await self._fetch_coin(coin_id, min(days or FREE_DAYS, FREE_DAYS))
            except (Unavailable, ValueError, KeyError, TypeError) as error:
                problems[coin_id] = str(error)
        if not panel:
            reasons = "; ".join(f"{coin_id}: {reason}" for coin_id, reason in problems.items())
            raise Unavailable(f"No history could be fetched: {reasons}")
        return History(panel=_with_days(panel), source=self._source, problems=problems)

    async def _fetch_coin(self, coin_id: str, days: int) -> Candles:
        query = {"vs_currency": self._vs_currency, "days": str(days), "interval": "daily"}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply = await self._client.get(f"/coins/{coin_id}/market_chart", params=query)
            except httpx2.HTTPError as error:
                raise Unavailable(f"it does not answer ({type(error).__name__})") from error
            if reply.status_code != httpx2.codes.TOO_MANY_REQUESTS or attempt == ATTEMPTS:
                break
            pause = _retry_after(reply.headers.get("retry-after", ""))
            log.info("coingecko_limit_reached", coin_id=coin_id, pause_seconds=pause)
            await asyncio.sleep(pause)
        if reply.status_code != httpx2.codes.OK:
            raise Unavailable(f"it answered with status {reply.status_code}")
        return daily_candles(coin_id, reply.json())


def daily_candles(coin_id: str, chart: dict[str, Any]) -> Candles:
    """Convert a daily chart to candles of closed days.

    A point at midnight UTC is the close of the day before; the newest point, which is now, is left out.

    Raises:
        ValueError: The chart holds no closed day, or a price that is not positive.
    """
    volumes = dict(_closes(chart.get("total_volumes") or []))
    closes = dict(_closes(chart["prices"]))
    if not closes:
        raise ValueError(f"the chart of {coin_id} holds no closed day")
    days = sorted(closes)
    return Candles.of(
        coin_id,
        days,
        [closes[day] for day in days],
        volume=[volumes.get(day, float("nan")) for day in days],
    )


def _closes(points: Sequence[Sequence[float | None]]) -> list[tuple[dt.date, float]]:
    found = []
    for stamp, value in points:
        if stamp is None or value is None:
            continue
        moment = dt.datetime.fromtimestamp(stamp / 1000, dt.UTC)
        midnight = (moment + dt.timedelta(hours=12)).replace(hour=0, minute=0, second=0, microsecond=0)
        if abs(moment - midnight) <= MIDNIGHT_TOLERANCE:
            found.append((midnight.date() - dt.timedelta(days=1), float(value)))
    return found


def _with_days(panel: dict[str, Candles]) -> Panel:
    return {coin_id: candles for coin_id, candles in sorted(panel.items()) if len(candles)}


def _retry_after(text: str) -> float:
    try:
        return min(max(1.0, float(text)), LONGEST_PAUSE_SECONDS)
    except ValueError:
        return LONGEST_PAUSE_SECONDS
