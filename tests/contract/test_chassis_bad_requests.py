"""Requests that are too large or no message of their type: refused before anything is done with them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
import pytest

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import (
    ForecastServiceServicer,
    add_ForecastServiceServicer_to_server,
)
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.run import serve
from coincast_chassis.settings import ServiceSettings

NAME = "coincast.forecast.v1.ForecastService"


class Counting(ForecastServiceServicer):
    def __init__(self) -> None:
        self.calls = 0

    async def GetForecasts(self, request: pb.GetForecastsRequest, context: object) -> pb.GetForecastsResponse:
        self.calls += 1
        return pb.GetForecastsResponse()

    async def SimulatePaths(self, request: pb.SimulatePathsRequest, context: object):
        self.calls += 1
        yield pb.SimulatePathsResponse()


def bad_text(field: bytes) -> bytes:
    """An id that is not UTF-8."""
    return field + b"\x02\xc3\x28"


@pytest.mark.parametrize("method", ["GetForecasts", "SimulatePaths"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bad_text(b"\x0a"), grpc.StatusCode.INVALID_ARGUMENT),
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (b"\x0a\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (
            pb.GetForecastsRequest(ids=["x" * 1000] * 1100).SerializeToString(),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ],
)
async def test_a_bad_request_reaches_no_service(method: str, body: bytes, status: grpc.StatusCode) -> None:
    servicer = Counting()

    async def build(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        return ServiceApp([Servicer(add_ForecastServiceServicer_to_server, servicer, NAME)])

    settings = ServiceSettings(port=0, not_serving_seconds=0, drain_seconds=0)
    async with serve("forecast", settings, build) as address, grpc.aio.insecure_channel(address) as channel:
        path = f"/{NAME}/{method}"
        stream: Any = channel.unary_stream(path)
        unary: Any = channel.unary_unary(path)
        forecasts: Any = channel.unary_unary(f"/{NAME}/GetForecasts")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            if method == "SimulatePaths":
                async for _ in stream(body, timeout=20):
                    pass
            else:
                await unary(body, timeout=20)
        assert caught.value.code() is status
        good = await forecasts(b"", timeout=20)
        assert good == b""
    assert servicer.calls == 1
