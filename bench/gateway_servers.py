"""Servers of the gateway's benchmarks: `python bench/gateway_servers.py KIND [target]`.

Each kind is a server:

- bare: an ASGI function that returns ready bytes;
- fastapi: a plain FastAPI route that returns bytes;
- relay: a bare ASGI function that makes one gRPC call to `target`;
- gateway: the gateway in front of the service at `target`;
- uncached: the same, with a cache whose entries are never fresh;
- service: a gRPC service that answers at once.

All HTTP servers use the same uvicorn configuration. The server prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import uvicorn
import uvloop
from fastapi import FastAPI
from fastapi.responses import Response

from coincast.common.v1 import common_pb2 as common
from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.forecast.v1 import forecast_pb2_grpc as fc_rpc
from coincast.market.v1 import market_pb2 as mk
from coincast.market.v1 import market_pb2_grpc as mk_rpc
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.observability.logs import configure_logs
from coincast_chassis.run import serve as serve_grpc
from coincast_chassis.settings import ServiceSettings
from coincast_gateway.app import build
from coincast_gateway.edge.http_protocol import SocketBounds, limited_protocol
from coincast_gateway.serialization import forecasts_document
from coincast_gateway.server import Server, freeze_gc, listen, uvicorn_config
from coincast_gateway.settings import Settings
from coincast_market_data.grpc.batch import stream_batch

ROWS = 8
PROVENANCE = {
    "as_of": "2026-01-01T00:00:00Z",
    "age_seconds": 1.5,
    "source": "live",
    "stale": False,
    "reason": None,
}
BODY = orjson.dumps(
    {
        "prices": [
            {
                "id": f"coin-{n}", "vs_currency": "usd", "price": 37_000.123 + n, "market_cap": 7.2e11,
                "volume_24h": 1e9, "change_24h_percent": 1.5,
                "last_updated_at": "2026-01-01T00:00:00Z", **PROVENANCE,
            }
            for n in range(ROWS)
        ],
        "errors": [],
    }
)  # fmt: skip


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Return ready bytes for the requested path, the least work that a server can do."""
    body, length = READY_BODIES[scope["path"]]
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def relay(target: str) -> Any:
    """Return a bare ASGI function that makes one gRPC call.

    No server that makes a gRPC call for each request can be faster.
    """
    stub = mk_rpc.MarketDataServiceStub(open_channel(target, service="coincast.market.v1.MarketDataService"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = mk.GetPricesRequest(ids=["coin-0"], vs_currencies=["usd"], encode_json=True)
        reply = await stub.GetPrices(request, timeout=5)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply.json))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.json})

    return app


def fastapi_app() -> FastAPI:
    """Return an application with one plain route that returns bytes, without telemetry, as in the gateway."""
    off = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
    app = FastAPI(telemetry=off, openapi_url=None)  # type: ignore[arg-type]  # all keys but two of them

    @app.get("/prices")
    async def prices() -> Response:
        return Response(BODY, media_type="application/json")

    return app


class Market(mk_rpc.MarketDataServiceServicer):
    """Return fixed prices: ready JSON for the gateway, messages for a transcoder."""

    def __init__(self) -> None:
        rows = orjson.loads(BODY)["prices"]
        keys = ("id", "vs_currency", "price", "market_cap", "volume_24h", "change_24h_percent")
        where = common.Provenance(age_seconds=1.5, source=common.SOURCE_LIVE)
        prices = [mk.Price(**{key: row[key] for key in keys}, provenance=where) for row in rows]
        self._ready = mk.GetPricesResponse(json=BODY)
        self._messages = mk.GetPricesResponse(prices=prices)

    async def GetPrices(  # noqa: N802 - the contract's name
        self, request: mk.GetPricesRequest, context: Any
    ) -> mk.GetPricesResponse:
        """Return the fixed prices in the requested form."""
        return self._ready if request.encode_json else self._messages

    def GetPricesForMany(  # noqa: N802 - as above
        self, request: mk.GetPricesForManyRequest, context: Any
    ) -> AsyncIterator[mk.GetPricesForManyResponse]:
        """Stream a reply to each query, as market-data does."""
        return stream_batch(request.questions, lambda question: self.GetPrices(question, context))


class Forecasts(fc_rpc.ForecastServiceServicer):
    """Return the same forecast for every coin."""

    async def GetForecasts(  # noqa: N802 - as above
        self, request: fc.GetForecastsRequest, context: Any
    ) -> fc.GetForecastsResponse:
        """Return the forecast of each requested coin."""
        bounds = [fc.Interval(level_percent=level, lower=1, upper=2) for level in (80, 95)]
        points = [
            fc.ForecastPoint(date="2026-01-02", horizon_days=d, price=1.5, intervals=bounds)
            for d in range(1, 8)
        ]
        return fc.GetForecastsResponse(
            forecasts=[fc.Forecast(id=i, model="lightgbm", points=points) for i in request.ids]
        )


def forecast_body() -> bytes:
    """Return the JSON that the gateway makes of that forecast."""
    reply = asyncio.run(Forecasts().GetForecasts(fc.GetForecastsRequest(ids=["bitcoin"]), None))
    return orjson.dumps(forecasts_document(reply))


READY_BODIES = {
    path: (body, b"%d" % len(body)) for path, body in (("/prices", BODY), ("/forecasts", forecast_body()))
}


async def service(target: str) -> None:
    """Run the services Market and Forecasts on one port until killed."""
    market, forecasts = Market(), Forecasts()

    async def both(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        add_market, add_forecasts = (
            mk_rpc.add_MarketDataServiceServicer_to_server,
            fc_rpc.add_ForecastServiceServicer_to_server,
        )
        return ServiceApp(
            [
                Servicer(add_market, market, "coincast.market.v1.MarketDataService"),
                Servicer(add_forecasts, forecasts, "coincast.forecast.v1.ForecastService"),
            ]
        )

    async with serve_grpc("bench", ServiceSettings(port=0), both) as address:
        print(address.rpartition(":")[2], flush=True)
        await asyncio.Event().wait()


async def http(kind: str, target: str) -> None:
    """Run an HTTP server of this kind in the gateway's own server process."""
    fresh = 0.0 if kind == "uncached" else 3600.0
    settings = Settings(
        port=0, redis_url="", market_target=target, forecast_target=target, training_target=target,
        prices_fresh_seconds=fresh, forecasts_fresh_seconds=fresh, max_in_flight=4096,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        gateway = await build(settings, stack)
        config = uvicorn_config(gateway, settings)
        if kind in ("bare", "fastapi", "relay"):
            app: Any = {"bare": lambda: bare, "fastapi": fastapi_app, "relay": lambda: relay(target)}[kind]()
            config = uvicorn.Config(
                app,
                loop="none",
                # The gateway's HTTP protocol, but without its replies from the cache.
                http=limited_protocol(
                    SocketBounds(settings.max_header_bytes, settings.header_seconds, settings.max_connections)
                ),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
            )
        # The gateway freezes the collector when it starts, so the other servers do it as well.
        freeze_gc()
        listener = listen("127.0.0.1", 0)
        print(listener.getsockname()[1], flush=True)
        await Server(config, gateway, not_serving_seconds=0).serve([listener])


def main() -> None:
    """Run the server of the given kind."""
    # The pipe that the port is printed to is not read afterwards: many log lines would fill and block it.
    configure_logs("bench", level="critical")
    kind, target = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(service(target) if kind == "service" else http(kind, target))


if __name__ == "__main__":
    main()
