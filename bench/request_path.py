"""Count the modules that a cold request enters, over all services: `python bench/request_path.py`.

Gateway, market-data and forecast run in this process, with the sandbox, Valkey and the starter versions. Each
call of a function on behalf of a request is recorded with `sys.setprofile`: in the main thread those whose
context has the id of the request, which all services bind; in other threads all calls until the reply. A
module is recorded once, by its file. Three requests are made, each for a coin that no service has cached. A
module counts only if all three enter it, since background work falls into other threads by chance. The
modules are printed in the order in which the last request enters them. The exit code is 1 if a request
enters more modules than its bound allows.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "contract"))

from market_harness import running_market, settings_for
from valkey_harness import running_valkey

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis import context
from coincast_chassis.clock import SystemClock
from coincast_chassis.observability.logs import configure_logs
from coincast_chassis.run import serve
from coincast_forecast.app import build as build_forecast
from coincast_forecast.settings import Settings as ForecastSettings
from coincast_gateway.app import build as build_gateway
from coincast_gateway.settings import Settings as GatewaySettings
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_sandbox.testing import running_sandbox
from coincast_stack.processes.ports import free_port
from coincast_training.registry.registry import Registry
from coincast_training.starter.install import install_starters

PATHS = {
    "/prices": "ids={}&vs_currencies=usd",
    "/forecasts": "ids={}&days=7&model=lightgbm",
}
PACKAGES = ("gateway", "market_data", "forecast", "modelkit", "chassis")
# The most modules of the gateway and the chassis together, and of all packages.
BOUNDS = {"/prices": (23, 40), "/forecasts": (26, 78)}
# The first request of a path opens connections and imports modules, and is not counted.
REQUESTS = 3

REQUEST_ID = "request-path"

# The modules that the request entered so far, in order; None between requests.
entered: dict[str, None] | None = None
modules_of_files: dict[str, str | None] = {}


def module_of(filename: str) -> str | None:
    """Return `package.module` of a source file, or None for files of other packages."""
    if filename not in modules_of_files:
        found = None
        for package in PACKAGES:
            _, inside, rest = filename.partition(f"/coincast_{package}/")
            if inside:
                found = f"{package}.{rest.removesuffix('.py').replace('/', '.')}"
        modules_of_files[filename] = found
    return modules_of_files[filename]


def record(frame: FrameType, event: str, arg: object) -> None:
    """Record the module of a called function; a profile function."""
    if entered is None or event != "call":
        return
    if threading.current_thread() is threading.main_thread() and context.request_id() != REQUEST_ID:
        return
    module = module_of(frame.f_code.co_filename)
    # The body of a module runs at its import, which no later request repeats.
    if module is not None and frame.f_code.co_name != "<module>":
        entered.setdefault(module)


async def request(app: Any, path: str, query: str) -> tuple[int, bytes]:
    """Send one request to an ASGI application and return the status and the body of the reply."""
    statuses: list[int] = []
    parts: list[bytes] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:8000"), (b"x-request-id", REQUEST_ID.encode())],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return statuses[0], b"".join(parts)


async def warm_up(app: Any, path: str, coin: str) -> None:
    """Request a path until the reply is no fallback: a model version takes seconds to load."""
    for _ in range(60):
        status, body = await request(app, path, PATHS[path].format(coin))
        if status == 200 and b'"degraded":true' not in body:
            return
        await asyncio.sleep(1.0)
    raise AssertionError(f"{path} still answers {status}: {body[:500]!r}")


async def path_of(app: Any, path: str, coins: list[str]) -> list[str]:
    """Return the modules that every request of a path enters, in the order of the last one."""
    global entered  # noqa: PLW0603 - a profile function has no other way to its results
    await warm_up(app, path, coins[0])
    paths: list[dict[str, None]] = []
    for coin in coins[1:]:
        entered = {}
        sys.setprofile(record)
        try:
            status, body = await request(app, path, PATHS[path].format(coin))
        finally:
            sys.setprofile(None)
            paths.append(entered)
            entered = None
        assert status == 200, f"{path} of {coin} answered {status}: {body[:500]!r}"
        assert b'"degraded":true' not in body, f"{path} of {coin} answered by a fallback: {body[:500]!r}"
        # Background work of this request must end before the next one is recorded.
        await asyncio.sleep(0.5)
    return [module for module in paths[-1] if all(module in each for each in paths)]


async def measure(folder: Path, stack: AsyncExitStack) -> dict[str, list[str]]:
    """Start the services and return the modules of each path."""
    redis_url = stack.enter_context(running_valkey()).url
    sandbox = stack.enter_context(running_sandbox())
    # Only now, so that the thread of the sandbox, which is no part of the product, is not recorded.
    threading.setprofile(record)
    install_starters(Registry(folder / "artifacts", clock=SystemClock()))
    market = await stack.enter_async_context(
        running_market(settings_for(sandbox, folder / "archive", redis_url=redis_url, plan=PlanName.DEMO))
    )
    listed = (await market.ListCoins(pb.ListCoinsRequest(limit=40))).coins
    # The last coins of the list: models fetch the histories of the largest coins anyway.
    coins = [coin.id for coin in listed][-2 * (REQUESTS + 1) :]
    # The gateway gets the port before the forecast service runs. The service starts after the requests of
    # prices, because its background work would be recorded with them.
    port = free_port()
    settings = GatewaySettings(
        port=0,
        redis_url=redis_url,
        market_target=market.address,
        forecast_target=f"127.0.0.1:{port}",
        training_target="127.0.0.1:1",
        market_deadline_seconds=60.0,
        forecast_deadline_seconds=60.0,
    )
    gateway = await build_gateway(settings, stack)
    found = {"/prices": await path_of(gateway.app, "/prices", coins[: REQUESTS + 1])}
    forecast_settings = ForecastSettings(
        port=port,
        market_target=market.address,
        redis_url=redis_url,
        artifacts_dir=folder / "artifacts",
        spool_dir=folder / "spool",
        not_serving_seconds=0.0,
        # Rare, so that the search for new versions does not fall into all three requests.
        watch_seconds=30.0,
        # Recording makes calls several times slower.
        history_timeout_seconds=60.0,
        step_timeout_seconds=60.0,
    )
    await stack.enter_async_context(serve("forecast", forecast_settings, build_forecast))
    return found | {"/forecasts": await path_of(gateway.app, "/forecasts", coins[REQUESTS + 1 :])}


async def run() -> dict[str, list[str]]:
    """Run the services in temporary folders, and return the modules of each path."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            return await measure(Path(folder), stack)


def main() -> None:
    """Print the modules of each path and their counts; exit with 1 if a bound is exceeded."""
    configure_logs("bench", level="error")
    missed = False
    for path, modules in asyncio.run(run()).items():
        counts = {package: sum(each.startswith(f"{package}.") for each in modules) for package in PACKAGES}
        front, all_modules = counts["gateway"] + counts["chassis"], len(modules)
        missed |= front > BOUNDS[path][0] or all_modules > BOUNDS[path][1]
        print(f"{path}: {all_modules} modules (bound {BOUNDS[path][1]}),", end=" ")
        print(f"{front} of them gateway and chassis (bound {BOUNDS[path][0]})")
        for package, number in counts.items():
            names = [each.partition(".")[2] for each in modules if each.startswith(f"{package}.")]
            print(f"  {package} {number}: {' '.join(names)}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
