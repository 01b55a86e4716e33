"""Find market data for a training outside the service.

`open_market` is used by `train_model_for_crypto` and by the commands, so that both work without settings. It
takes the first of these sources: the address in the settings, a running `make run` (found by its state file),
a service on the default port, CoinGecko directly, and the simulated market of the sandbox. The choice is
logged and announced.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import structlog

from coincast_chassis.errors import Unavailable
from coincast_chassis.grpc.channel import open_channel
from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_training.market_client import MarketDataHistory
from coincast_training.ports import History, HourlyHistory
from coincast_training.settings import Settings

Announce = Callable[[str], None]
log = structlog.get_logger(__name__)
STATE_FILE = "running.json"
COINGECKO_URL = "https://api.coingecko.com/api/v3"
PAID_URL = "https://pro-api.coingecko.com/api/v3"
PAID_HEADER, DEMO_HEADER = "x-cg-pro-api-key", "x-cg-demo-api-key"
SANDBOX_HEADER = "x-coincast-sandbox"
SANDBOX_DESCRIPTION = "a sandbox, which is NOT REAL MARKET DATA"
CONNECT_SECONDS, CALL_SECONDS, PING_SECONDS = 0.5, 20.0, 3.0
# A caller without an API key can wait up to a minute for the next call. A training waits up to three times.
ATTEMPTS, LONGEST_PAUSE_SECONDS = 4, 65.0
FREE_DAYS = 365
# The points of a chart are some minutes after the full hour.
TOLERANCE = dt.timedelta(minutes=15)
# CoinGecko gives hourly points for spans of at most this length.
HOURLY_DAYS = 90


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Addresses and folder of a running `make run` on this machine."""

    market_target: str
    training_target: str
    artifacts_dir: Path


@dataclass(frozen=True, slots=True)
class MarketAccess:
    """A source of histories, a sentence that describes it, and the settings to use with it."""

    history: MarketDataHistory | ChartHistory
    description: str
    settings: Settings


def find_running_stack(start: Path | None = None) -> RunningStack | None:
    """Return the stack that runs on this machine; None if there is none.

    The function looks for `running.json` in `VAR_DIR`, else in `var/` of the working folder and of its
    parents, and last in the folder of the user, where each `make run` writes `running-PID.json`; the newest
    stack counts. The file of a stack that was killed is ignored.

    Args:
        start: The first folder to look in; None means the working folder.
    """
    here = (start or Path.cwd()).resolve()
    chosen = os.environ.get("VAR_DIR")
    near = [folder / "var" for folder in (here, *here.parents)]
    files = [folder / STATE_FILE for folder in ([Path(chosen)] if chosen else near)]
    for path in files if chosen else [*files, *_state_files_of_user()]:
        folder = path.parent
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            os.kill(int(found["pid"]), 0)
            state_dir = Path(found["state_dir"])
            if not state_dir.is_absolute():
                state_dir = folder.parent / state_dir
            return RunningStack(found["market_target"], found["training_target"], state_dir / "artifacts")
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _state_files_of_user() -> list[Path]:
    """Return the state files in the user's folder, newest first."""
    written: list[tuple[float, Path]] = []
    for path in _user_state_dir().glob("running*.json"):
        # A stack that has just ended removes its file.
        with suppress(OSError):
            written.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(written, reverse=True)]


def _user_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "coincast"


@asynccontextmanager
async def open_market(
    settings: Settings, *, start: Path | None = None, announce: Announce | None = None
) -> AsyncIterator[MarketAccess]:
    """Open the best available source of histories.

    Args:
        settings: Settings of the service. If `market_target` is set, it is used even if it does not answer.
        start: The first folder to look in for a running stack; None means the working folder.
        announce: Called with a description of the chosen source.

    Yields:
        The source, and the settings to use with it. They have the artifact folder of the running stack,
        unless another one is set.

    Raises:
        Unavailable: There is no market data.
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
        if announce is not None:
            announce(description)
        channel = open_channel(target, service="coincast.market.v1.MarketDataService")
        try:
            yield MarketAccess(market_history(channel, settings), description, settings)
        finally:
            await channel.close()
        return
    async with _own_market(settings) as access:
        log.info("market_data_source", source=access.description)
        if announce is not None:
            announce(access.description)
        yield access


def market_history(channel: Any, settings: Settings) -> MarketDataHistory:
    """Return a history source that calls market-data over a channel."""
    return MarketDataHistory(
        channel,
        vs_currency=settings.vs_currency,
        timeout_seconds=settings.history_timeout_seconds,
        attempts=settings.history_attempts,
    )


async def _listens(target: str) -> bool:
    """Return whether a program accepts connections at host:port."""
    host, _, port = target.rpartition(":")
    with suppress(OSError, ValueError, TimeoutError):
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), CONNECT_SECONDS)
        writer.close()
        return True
    return False


@asynccontextmanager
async def _own_market(settings: Settings) -> AsyncIterator[MarketAccess]:
    """Open a source in this process: CoinGecko if it answers, else the sandbox.

    Raises:
        Unavailable: CoinGecko gives no data with the configured key, or the sandbox is not installed.
    """
    async with AsyncExitStack() as stack:
        reasons = []
        for url, headers in _addresses():
            client = await stack.enter_async_context(
                httpx2.AsyncClient(
                    base_url=url,
                    headers=headers,
                    timeout=CALL_SECONDS,
                    trust_env=False,
                    proxy=os.environ.get("MARKET_PROXY_URL") or None,
                )
            )
            source, reason = await _source_at(client, "/key" if PAID_HEADER in headers else "/ping")
            if source:
                history = ChartHistory(client, vs_currency=settings.vs_currency, source=source)
                words = "CoinGecko directly" if source == "coingecko" else SANDBOX_DESCRIPTION
                yield MarketAccess(history, f"{words} ({url})", settings)
                return
            reasons.append(f"{url} {reason}")
        tried = "; ".join(reasons)
        if _key():
            # With a key, the user expects real data: simulated data would be misleading.
            raise Unavailable(
                f"CoinGecko gives no data with COINGECKO_API_KEY: {tried}. Correct the key or leave it empty."
            )
        try:
            from coincast_sandbox.app import create_app  # noqa: PLC0415 - only used without another source
        except ImportError as error:
            raise Unavailable(
                f"No market data is available: no stack runs here, nothing listens at "
                f"{settings.market_target}, and {tried}. Start `make run`, or set TRAINING_MARKET_TARGET."
            ) from error
        transport = httpx2.ASGITransport(app=create_app())
        client = await stack.enter_async_context(
            httpx2.AsyncClient(transport=transport, base_url="http://sandbox/api/v3")
        )
        history = ChartHistory(client, vs_currency=settings.vs_currency, source="sandbox")
        description = f"the sandbox in this process, which is NOT REAL MARKET DATA ({tried})"
        yield MarketAccess(history, description, settings)


def _key() -> str:
    return os.environ.get("COINGECKO_API_KEY") or os.environ.get("MARKET_API_KEY") or ""


def _addresses() -> list[tuple[str, dict[str, str]]]:
    """Return the addresses of CoinGecko to try, with their headers; with a key, the paid host is first."""
    key, url = _key(), os.environ.get("MARKET_UPSTREAM_URL", "").rstrip("/")
    if not key:
        return [(url or COINGECKO_URL, {})]
    return [(url or PAID_URL, {PAID_HEADER: key}), (url or COINGECKO_URL, {DEMO_HEADER: key})]


async def _source_at(client: httpx2.AsyncClient, path: str) -> tuple[str, str]:
    """Return the source that answers, `coingecko` or `sandbox`; else an empty name and the reason."""
    try:
        reply = await client.get(path, timeout=PING_SECONDS)
        document = reply.json() if reply.status_code == httpx2.codes.OK else None
    except httpx2.HTTPError as error:
        return "", f"does not answer ({type(error).__name__})"
    except ValueError:
        return "", "answers, but not like CoinGecko"
    if reply.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        # The later calls wait for the limit.
        return "coingecko", ""
    if reply.status_code != httpx2.codes.OK:
        return "", f"answers with status {reply.status_code}"
    if not isinstance(document, dict) or not ({"gecko_says", "plan"} & document.keys()):
        return "", "answers, but not like CoinGecko"
    return ("sandbox" if SANDBOX_HEADER in reply.headers else "coingecko"), ""


class ChartHistory:
    """Histories from CoinGecko's `coins/{id}/market_chart`: closes and daily volumes, no high and low."""

    def __init__(self, client: httpx2.AsyncClient, *, vs_currency: str, source: str) -> None:
        self._client, self._vs_currency, self._source = client, vs_currency, source

    async def fetch(self, ids: Sequence[str], days: int) -> History:
        """Fetch the last `days` closed days of each coin, at most the 365 days of a free plan.

        A coin that fails is in `problems` of the result.

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

    async def fetch_hourly(self, ids: Sequence[str], days: int) -> HourlyHistory:
        """Fetch the last `days` times 24 closed hours of each coin, at most the 365 days of a free plan.

        A coin that fails is in `problems` of the result.

        Raises:
            Unavailable: No history could be fetched.
        """
        panel: dict[str, HourlyCandles] = {}
        problems: dict[str, str] = {}
        for coin_id in ids:
            try:
                panel[coin_id] = await self._fetch_hours(coin_id, min(days or FREE_DAYS, FREE_DAYS))
            except (Unavailable, ValueError, KeyError, TypeError) as error:
                problems[coin_id] = str(error)
        if not panel:
            reasons = "; ".join(f"{coin_id}: {reason}" for coin_id, reason in problems.items())
            raise Unavailable(f"No hours could be fetched: {reasons}")
        return HourlyHistory(dict(sorted(panel.items())), self._source, problems)

    async def _fetch_hours(self, coin_id: str, days: int) -> HourlyCandles:
        newest = await self._get(f"/coins/{coin_id}/market_chart", {"days": str(min(days, HOURLY_DAYS))})
        charts = [newest]
        oldest = min(stamp for stamp, _ in newest["prices"]) / 1000
        left = days - HOURLY_DAYS
        while left > 0:
            span = min(left, HOURLY_DAYS) * 86_400
            query = {"from": str(int(oldest - span)), "to": str(int(oldest))}
            charts.append(await self._get(f"/coins/{coin_id}/market_chart/range", query))
            oldest -= span
            left -= HOURLY_DAYS
        closes = {hour: value for chart in reversed(charts) for hour, value in _hours(chart["prices"])}
        if not closes:
            raise ValueError(f"the chart of {coin_id} has no closed hour")
        hours = sorted(closes)
        return HourlyCandles.of(coin_id, hours, [closes[hour] for hour in hours])

    async def _fetch_coin(self, coin_id: str, days: int) -> Candles:
        query = {"days": str(days), "interval": "daily"}
        return daily_candles(coin_id, await self._get(f"/coins/{coin_id}/market_chart", query))

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """Fetch a chart; wait and repeat the call if the limit of calls per minute is reached."""
        query = {"vs_currency": self._vs_currency, **query}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply = await self._client.get(path, params=query)
            except httpx2.HTTPError as error:
                raise Unavailable(f"it does not answer ({type(error).__name__})") from error
            if reply.status_code != httpx2.codes.TOO_MANY_REQUESTS or attempt == ATTEMPTS:
                break
            pause = _retry_after(reply.headers.get("retry-after", ""))
            log.info("coingecko_limit_reached", path=path, pause_seconds=pause)
            await asyncio.sleep(pause)
        if reply.status_code != httpx2.codes.OK:
            raise Unavailable(f"it answered with status {reply.status_code}")
        chart: dict[str, Any] = reply.json()
        return chart


def daily_candles(coin_id: str, chart: dict[str, Any]) -> Candles:
    """Convert a daily chart to candles of closed days.

    A point at midnight UTC is the close of the day before. The newest point, of the current time, is left
    out.

    Raises:
        ValueError: The chart has no closed day, or a price that is not positive.
    """
    volumes = dict(_closes(chart.get("total_volumes") or []))
    closes = dict(_closes(chart["prices"]))
    if not closes:
        raise ValueError(f"the chart of {coin_id} has no closed day")
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
        if abs(moment - midnight) <= TOLERANCE:
            found.append((midnight.date() - dt.timedelta(days=1), float(value)))
    return found


def _hours(points: Sequence[Sequence[float | None]]) -> list[tuple[dt.datetime, float]]:
    """Return start and close of each closed hour; a point at a full hour is the close of the hour before."""
    found = []
    for stamp, value in points:
        if stamp is None or value is None:
            continue
        moment = dt.datetime.fromtimestamp(stamp / 1000, dt.UTC)
        full = (moment + dt.timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0)
        if abs(moment - full) <= TOLERANCE:
            found.append(((full - dt.timedelta(hours=1)).replace(tzinfo=None), float(value)))
    return found


def _with_days(panel: dict[str, Candles]) -> Panel:
    return {coin_id: candles for coin_id, candles in sorted(panel.items()) if len(candles)}


def _retry_after(text: str) -> float:
    try:
        return min(max(1.0, float(text)), LONGEST_PAUSE_SECONDS)
    except ValueError:
        return LONGEST_PAUSE_SECONDS
