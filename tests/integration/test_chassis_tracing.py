"""Traces against a local collector: one trace across two services, off where no collector is set."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.trace import SpanKind

from coincast.market.v1 import market_pb2_grpc
from coincast_chassis import context
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.observability.tracing import Tracing, current_tracing, open_tracing, use_tracing
from tests.contract.chassis_toy import NAME, REQUEST, Toy, served


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.services: set[str] = set()

    async def Export(self, request, servicer_context):
        for resource in request.resource_spans:
            attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            for scope in resource.scope_spans:
                self.spans.update({(span.name, span.kind): span for span in scope.spans})
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[str, Collector]]:
    server, servicer = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"http://127.0.0.1:{port}", servicer
    await server.stop(0)


class Seeing(Toy):
    async def GetStatus(self, request, servicer_context):
        self.trace_id = context.trace_id()
        return await super().GetStatus(request, servicer_context)


async def call_traced(tracing: Tracing, toy: Toy) -> None:
    with use_tracing(tracing):
        async with (
            served(toy, not_serving_seconds=0) as address,
            open_channel(address, service=NAME) as channel,
        ):
            with current_tracing().span("GET /prices", kind=SpanKind.SERVER):
                await market_pb2_grpc.MarketDataServiceStub(channel).GetStatus(REQUEST)
    await asyncio.to_thread(tracing.close)


async def test_one_trace_from_the_door_to_the_service_behind(collector):
    endpoint, seen = collector
    toy = Seeing()
    await call_traced(open_tracing("toy", endpoint), toy)
    method = f"{NAME}/GetStatus"
    door, client, server = (seen.spans[key] for key in (("GET /prices", 2), (method, 3), (method, 2)))
    assert door.trace_id == client.trace_id == server.trace_id
    assert (client.parent_span_id, server.parent_span_id) == (door.span_id, client.span_id)
    assert toy.trace_id == door.trace_id.hex()
    assert seen.services == {"toy"}


async def test_a_rate_of_nought_keeps_no_span_but_hands_ids_on(collector):
    endpoint, seen = collector
    toy = Seeing()
    await call_traced(open_tracing("toy", endpoint, sample_rate=0.0), toy)
    assert seen.spans == {}
    assert len(toy.trace_id) == 32


async def test_it_is_off_without_a_collector():
    toy = Seeing()
    tracing = open_tracing("toy", "")
    assert not tracing.enabled
    await call_traced(tracing, toy)
    assert len(toy.trace_id) == 32
