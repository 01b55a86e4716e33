"""Choose the source of market data before any process starts."""

from __future__ import annotations

import asyncio
import os

import httpx2

from coincast_modelkit.candle_files.daily import candle_files
from coincast_modelkit.candle_files.tables import CandleFileError, coin_of_file
from coincast_stack.errors import SetupError
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.processes.probes import as_json, trusted
from coincast_stack.upstream.check import target_of

ANSWER_WITHIN_SECONDS = 3.0


async def choose_upstream(options: StackOptions) -> Upstream:
    """Return COINGECKO or SANDBOX, never AUTO.

    Raises:
        SetupError: The folder of candles does not exist or lacks a coin.
    """
    if options.upstream == Upstream.COINGECKO:
        return Upstream.COINGECKO
    if options.upstream == Upstream.AUTO:
        to = target_of(os.environ, options.coingecko_api_key)
        ping = f"{to.public_url}/ping"
        if await coingecko_answers(ping, proxy_url=to.proxy_url, ca_file=to.ca_file):
            return Upstream.COINGECKO
    check_folder(options)
    return Upstream.SANDBOX


async def coingecko_answers(url: str, *, proxy_url: str = "", ca_file: str = "") -> bool:
    """Return whether the real CoinGecko answers a ping completely within three seconds.

    Other answers (a block page, a portal that asks for a login, the sandbox) return False.

    Args:
        url: Address of the ping.
        proxy_url: Forward proxy to CoinGecko (MARKET_PROXY_URL); empty for none.
        ca_file: File of further certificates to trust (MARKET_UPSTREAM_CA_FILE); empty for none.
    """
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            async with httpx2.AsyncClient(
                timeout=ANSWER_WITHIN_SECONDS,
                trust_env=False,
                proxy=proxy_url or None,
                verify=trusted(ca_file),
            ) as client:
                reply = await client.get(url)
    except (httpx2.HTTPError, ValueError, OSError):
        return False
    if reply.status_code != httpx2.codes.OK or "x-coincast-sandbox" in reply.headers:
        return False
    says = as_json(reply.content)
    return isinstance(says, dict) and "gecko_says" in says


def check_folder(options: StackOptions) -> None:
    """Raise SetupError if DATA is not a folder of candles, or lacks a requested coin."""
    if options.data is None:
        return
    if not options.data.is_dir():
        raise SetupError(f"no such folder of candles: {options.data}; set DATA= to one, or leave it out")
    found = folder_coins(options)
    if not found:
        raise SetupError(
            f"no candle files (<coin id>.csv, .parquet, .feather or .json) in {options.data}; set DATA= to a "
            "folder of them"
        )
    lacking = [coin for coin in options.coins if coin not in found]
    if lacking:
        raise SetupError(f"no candles of {', '.join(lacking)} in {options.data}; it has {', '.join(found)}")


def folder_coins(options: StackOptions) -> tuple[str, ...]:
    """Return the ids of the coins that the files of the folder are named after; empty without a folder."""
    if options.data is None:
        return ()
    try:
        return tuple(sorted({coin_of_file(path) for path in candle_files(options.data)}))
    except CandleFileError:
        return ()
