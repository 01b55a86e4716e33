"""A collector of traces (OTLP over gRPC) in this process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

SERVICES = ("GATEWAY", "MARKET", "FORECAST", "TRAINING")


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans by trace: (service, name)."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._traces: dict[str, set[tuple[str, str]]] = defaultdict(set)

    def Export(self, request, context):
        for resource in request.resource_spans:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._traces[span.trace_id.hex()].add((service, span.name))
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, trace_id: str) -> set[tuple[str, str]]:
        """The spans of a trace that have come so far."""
        return set(self._traces.get(trace_id, ()))

    def settings(self) -> dict[str, str]:
        """Settings with which services send here the traces of requests that are sampled by their caller."""
        return {f"{name}_OTLP_ENDPOINT": self.endpoint for name in SERVICES} | {
            f"{name}_OTLP_SAMPLE_RATE": "0" for name in SERVICES
        }


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(1).wait()
