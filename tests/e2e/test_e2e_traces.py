"""One trace from the gateway to the upstream, over HTTP and gRPC, in a real system with a collector."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from coincast_stack.options import StackOptions
from coincast_stack.testing import StackHandle, stack_for_tests

pytestmark = pytest.mark.timeout(300)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans by trace: (service, name)."""

    def __init__(self) -> None:
        self.traces: dict[str, set[tuple[str, str]]] = {}

    def Export(self, request, context):
        for resource in request.resource_spans:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.traces.setdefault(span.trace_id.hex(), set()).add((service, span.name))
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[str, Collector]]:
    servicer, server = Collector(), grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", servicer
    server.stop(1).wait()


@pytest.fixture
def stack(collector, tmp_path: Path) -> Iterator[StackHandle]:
    endpoint, _ = collector
    traced = {f"{name}_OTLP_ENDPOINT": endpoint for name in ("GATEWAY", "MARKET", "FORECAST", "TRAINING")}
    with stack_for_tests(StackOptions(tmp_path, train=(), extra_environment=traced), ready=False) as running:
        yield running


def test_a_request_is_one_trace(stack, collector):
    _, seen = collector
    trace_id, until = "ab" * 16, time.monotonic() + 120
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    expected = {
        ("gateway", "GET /coins/litecoin/history"),
        ("gateway", "coincast.market.v1.MarketDataService/GetHistory"),
        ("market-data", "coincast.market.v1.MarketDataService/GetHistory"),
    }
    with httpx2.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as client:
        while time.monotonic() < until and not expected <= seen.traces.get(trace_id, set()):
            with contextlib.suppress(httpx2.TransportError):  # it may still be starting
                client.get("/coins/litecoin/history", params={"days": 40}, headers=headers)
            time.sleep(1)
    spans = seen.traces.get(trace_id, set())
    assert expected <= spans, f"missing: {expected - spans}"
    assert any(service == "market-data" and name.startswith("GET coins/") for service, name in spans), spans
