"""The measured traps of grpcio, each closed by an option or an order of steps in the chassis."""

import asyncio
import json
import time
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from coincast.market.v1 import market_pb2, market_pb2_grpc
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.errors import Unavailable
from coincast_chassis.grpc.channel import open_channel, service_config
from coincast_chassis.grpc.server import SERVER_OPTIONS, GrpcServer
from tests.contract.chassis_toy import NAME, REQUEST, Toy, served

ADD = market_pb2_grpc.add_MarketDataServiceServicer_to_server


@pytest.fixture
async def toy_server():
    """Makes started servers of a toy each, and stops them after the test whatever happened."""
    servers: list[GrpcServer] = []

    async def make(toy: Toy, *, warm: bool = True) -> GrpcServer:
        server = GrpcServer(ServiceApp([Servicer(ADD, toy, NAME)]), host="127.0.0.1", port=0)
        servers.append(server)
        await server.start()
        if warm:
            await server.warm()
        return server

    yield make
    for server in servers:
        await server.stop(not_serving_seconds=0, drain_seconds=0)


async def test_a_second_server_cannot_bind_the_same_port():
    async with served(Toy(), not_serving_seconds=0) as address:
        with pytest.raises(Unavailable, match="in use"):
            GrpcServer(ServiceApp([]), host="127.0.0.1", port=int(address.rsplit(":", 1)[1]))


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch):
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with (
        served(Toy(), not_serving_seconds=0) as address,
        open_channel(address, service=NAME) as channel,
    ):
        reply = await market_pb2_grpc.MarketDataServiceStub(channel).GetStatus(REQUEST)
    assert reply.version == "1"


async def test_a_reply_of_16_mib_passes():
    toy = Toy(version="x" * (16 << 20))
    async with served(toy, not_serving_seconds=0) as address, open_channel(address, service=NAME) as channel:
        reply = await market_pb2_grpc.MarketDataServiceStub(channel).GetStatus(REQUEST)
    assert len(reply.version) == 16 << 20


async def test_health_and_reflection_answer_by_the_standard():
    async with served(Toy(), not_serving_seconds=0) as address, open_channel(address, service="") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", NAME):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        requested = reflection_pb2.ServerReflectionRequest(list_services="")
        async for listed in reflection.ServerReflectionInfo(iter([requested])):
            assert NAME in {service.name for service in listed.list_services_response.service}
            break


async def test_until_it_is_warm_it_does_not_serve(toy_server):
    server = await toy_server(Toy(), warm=False)
    async with open_channel(server.address, service="") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        before = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
        await server.warm()
        after = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
    assert before.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert after.status == health_pb2.HealthCheckResponse.SERVING


async def callers_until(stop: asyncio.Event, stub, outcomes: list[object], count: int = 10) -> None:
    async def one() -> None:
        while not stop.is_set():
            try:
                outcomes.append((await stub.GetStatus(REQUEST)).version)
            except Exception as error:
                outcomes.append(error)
            await asyncio.sleep(0.002)

    await asyncio.gather(*(one() for _ in range(count)))


async def test_all_calls_move_off_a_backend_that_stops_and_none_is_lost(toy_server):
    first, second = Toy("first"), Toy("second")
    first.sleep_seconds = second.sleep_seconds = 0.01
    servers = [await toy_server(first), await toy_server(second)]
    outcomes: list[Any] = []
    stop = asyncio.Event()
    async with open_channel("ipv4:" + ",".join(s.address for s in servers), service=NAME) as channel:
        stub = market_pb2_grpc.MarketDataServiceStub(channel)
        load = asyncio.create_task(callers_until(stop, stub, outcomes))
        await asyncio.sleep(0.5)
        assert set(outcomes) == {"first", "second"}
        await servers[0].stop(not_serving_seconds=0.3, drain_seconds=5)
        outcomes.clear()
        await asyncio.sleep(0.3)
        stop.set()
        await load
    assert set(outcomes) == {"second"}


async def test_an_unhealthy_backend_gets_no_calls_though_it_answers(toy_server):
    sick, sound = Toy("sick"), Toy("sound")
    servers = [await toy_server(sick, warm=False), await toy_server(sound)]
    async with open_channel("ipv4:" + ",".join(s.address for s in servers), service=NAME) as channel:
        stub = market_pb2_grpc.MarketDataServiceStub(channel)
        for _ in range(40):
            await stub.GetStatus(REQUEST)
    assert (sick.calls, sound.calls) == (0, 40)


async def test_a_call_in_flight_at_the_stop_gets_its_answer(toy_server):
    toy = Toy()
    toy.sleep_seconds = 0.8
    server = await toy_server(toy)
    async with open_channel(server.address, service=NAME) as channel:
        stub = market_pb2_grpc.MarketDataServiceStub(channel)
        call = asyncio.ensure_future(stub.GetStatus(REQUEST))
        await asyncio.sleep(0.2)
        started = time.perf_counter()
        await server.stop(not_serving_seconds=0.1, drain_seconds=60)
        assert (await call).version == "1"
        assert time.perf_counter() - started < 30


async def test_retries_are_throttled_and_health_is_watched():
    config = json.loads(service_config(NAME))
    assert config["retryThrottling"] == {"maxTokens": 200, "tokenRatio": 1}
    assert config["healthCheckConfig"] == {"serviceName": NAME}


async def test_connections_end_in_time_for_new_replicas_to_be_found():
    assert dict(SERVER_OPTIONS)["grpc.max_connection_age_ms"] <= 20_000


async def test_a_caller_that_leaves_ends_the_work_behind_it():
    ended = asyncio.Event()

    class Slow(Toy):
        async def GetStatus(self, request, context):
            try:
                await asyncio.sleep(30)
            finally:
                ended.set()
            return market_pb2.GetStatusResponse()

    async with (
        served(Slow(), not_serving_seconds=0) as address,
        open_channel(address, service=NAME) as channel,
    ):
        call = asyncio.ensure_future(market_pb2_grpc.MarketDataServiceStub(channel).GetStatus(REQUEST))
        await asyncio.sleep(0.2)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 2)
        assert call.cancelled()
