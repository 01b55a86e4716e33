"""Compare the gateway's speed with its limits, in requests per second of the server's CPU.

Run `python bench/gateway_speed.py [rounds]`. The bounds are:

- hot, a reply from the cache: at least 85 % of a bare ASGI function that returns the same bytes;
- uncached, through gRPC: at least 35 % of a plain FastAPI route that returns bytes;
- identical concurrent requests, uncached: at least 65 % of the same.

Each ratio is taken within a round, and the median over interleaved rounds is printed. The processor of a
shared machine may be twice as fast in one minute as in the next, but for all servers of a round alike.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack

import uvloop
from gateway_rig import Running, envoy, get, per_cpu_second, post, started

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 15
# Seconds of the server's CPU per measurement.
SECONDS = 0.6
CONNECTIONS = 16
# Ends the names of cases that are measured with one connection.
ALONE = ", one caller"
# Cases in which the server calls no other process.
WITHOUT_SERVICE = ("bare ASGI", "hot /prices", "bare ASGI, forecast", "hot /forecasts")
HOT = get("/prices?ids=coin-0,coin-1&vs_currencies=usd")
FORECAST = get("/forecasts?ids=bitcoin&days=7&model=lightgbm")
_count = itertools.count()


def distinct() -> bytes:
    """Return a request of a coin that no earlier request named."""
    return get(f"/prices?ids=coin-{next(_count)}&vs_currencies=usd")


def transcoded() -> bytes:
    """Return such a request in the form of the transcoder."""
    body = b'{"ids": ["coin-%d"], "vs_currencies": ["usd"]}' % next(_count)
    return post("/coincast.market.v1.MarketDataService/GetPrices", body)


async def measure(cases: dict[str, tuple[Running, Callable[[], bytes]]]) -> dict[str, list[float]]:
    """Return the rates of interleaved rounds; the first round only warms up."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(ROUNDS + 1):
        for name, (server, make) in cases.items():
            callers = 1 if name.endswith(ALONE) else CONNECTIONS
            rate = await per_cpu_second(
                server, make, seconds=SECONDS, connections=callers, awake=name in WITHOUT_SERVICE
            )
            if number:
                found[name].append(rate)
    return found


def ratio(rates: dict[str, list[float]], name: str, limit: str) -> float:
    """Return the median over the rounds of the ratio of two rates within a round."""
    return statistics.median(one / other for one, other in zip(rates[name], rates[limit], strict=True))


async def measure_envoy(port: int) -> float:
    """Return the rate of an Envoy that is started for this measurement.

    An Envoy that waits between rounds would reuse a connection that the service has closed.
    """
    with envoy(port) as peer:
        return await per_cpu_second(peer, transcoded, seconds=SECONDS, connections=CONNECTIONS)


def main() -> None:
    """Print every figure with its limit and its bound; exit with 1 if a bound is missed."""
    with ExitStack() as stack:
        service = stack.enter_context(started("service"))
        target = f"127.0.0.1:{service.port}"
        bare = stack.enter_context(started("bare", target))
        plain = stack.enter_context(started("fastapi", target))
        hot = stack.enter_context(started("gateway", target))
        uncached = stack.enter_context(started("uncached", target))
        relay = stack.enter_context(started("relay", target))
        cases: dict[str, tuple[Running, Callable[[], bytes]]] = {
            # A case follows its limit, so that both are measured within about two seconds.
            "bare ASGI": (bare, lambda: HOT),
            "hot /prices": (hot, lambda: HOT),
            "bare ASGI, forecast": (bare, lambda: FORECAST),
            "hot /forecasts": (hot, lambda: FORECAST),
            "plain FastAPI bytes": (plain, lambda: HOT),
            "uncached /prices": (uncached, distinct),
            "identical /prices": (uncached, lambda: HOT),
            "bare ASGI and gRPC": (relay, distinct),
            "plain FastAPI bytes, one caller": (plain, lambda: HOT),
            "uncached /prices, one caller": (uncached, distinct),
        }
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rates = runner.run(measure(cases))
            transcoder = statistics.median(runner.run(measure_envoy(service.port)) for _ in range(3))
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"{name:31} {rate:10.0f} requests per CPU second, {1e6 / rate:7.1f} us of CPU each")
    print(f"{'Envoy transcoder':31} {transcoder:10.0f} requests per CPU second")
    bounds = [
        ("hot /prices", "bare ASGI", 0.85),
        ("hot /forecasts", "bare ASGI, forecast", 0.85),
        ("uncached /prices", "plain FastAPI bytes", 0.35),
        ("identical /prices", "plain FastAPI bytes", 0.65),
    ]
    missed = 0
    for name, limit, bound in bounds:
        share = ratio(rates, name, limit)
        missed += share < bound
        print(f"{name}: {share:.0%} of {limit} (bound {bound:.0%}){'' if share >= bound else '  MISSED'}")
    most = ratio(rates, "bare ASGI and gRPC", "plain FastAPI bytes")
    print(f"bare ASGI, a gRPC call each: {most:.0%} of plain FastAPI bytes (all that a call each allows)")
    alone = ratio(rates, "uncached /prices" + ALONE, "plain FastAPI bytes" + ALONE)
    print(f"uncached /prices, one caller: {alone:.0%} of plain FastAPI bytes (no call to share)")
    peer = statistics.median(rates["uncached /prices"]) / transcoder
    print(f"uncached /prices: {peer:.0%} of Envoy's transcoder (peer)")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
