"""Count the modules that a cold request enters in the gateway: `python bench/request_path.py`.

A gateway without cached replies runs in this process over a gRPC service in another one. Every function
call of one request that was not seen before is recorded with `sys.setprofile`; a module counts once, by its
file. The chassis is shown apart from the gateway's own modules, since every service uses it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from types import FrameType
from typing import Any

from gateway_rig import started

from coincast_gateway.app import build
from coincast_gateway.settings import Settings

PATHS = {
    "/prices": b"ids=coin-0,coin-1&vs_currencies=usd",
    "/forecasts": b"ids=coin-7&days=7&model=lightgbm",
}
PACKAGES = ("coincast_gateway", "coincast_chassis")


def package_module(filename: str) -> tuple[str, str] | None:
    """Return the package and the module of a source file, or None for files of other packages."""
    for package in PACKAGES:
        _, found, rest = filename.partition(f"/{package}/")
        if found:
            return package, rest.removesuffix(".py").replace("/", ".")
    return None


async def request(app: Any, path: str, query: bytes) -> int:
    """Send one request to an ASGI application and return the status of the reply."""
    statuses: list[int] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


async def measure(target: str) -> dict[str, dict[str, set[str]]]:
    """Return, for each path, the modules of each package that a cold request enters."""
    settings = Settings(
        port=0,
        redis_url="",
        market_target=target,
        forecast_target=target,
        training_target=target,
        prices_fresh_seconds=0.0,
        forecasts_fresh_seconds=0.0,
    )
    found: dict[str, dict[str, set[str]]] = {}
    async with AsyncExitStack() as stack:
        gateway = await build(settings, stack)
        for path, query in PATHS.items():
            # The first request connects the channel, which is no part of a request's way.
            assert await request(gateway.app, path, query.replace(b"coin", b"other")) == 200
            modules: dict[str, set[str]] = {package: set() for package in PACKAGES}

            def record(
                frame: FrameType, event: str, arg: object, modules: dict[str, set[str]] = modules
            ) -> None:
                known = package_module(frame.f_code.co_filename) if event == "call" else None
                if known is not None:
                    modules[known[0]].add(known[1])

            sys.setprofile(record)
            try:
                assert await request(gateway.app, path, query) == 200
            finally:
                sys.setprofile(None)
            found[path] = modules
    return found


def main() -> None:
    """Print the counts and the names."""
    with started("service") as service:
        for path, modules in asyncio.run(measure(f"127.0.0.1:{service.port}")).items():
            counts = ", ".join(f"{len(names)} of {package}" for package, names in modules.items())
            print(f"{path}: {counts}")
            for package, names in modules.items():
                print(f"  {package}: {' '.join(sorted(names))}")


if __name__ == "__main__":
    main()
