"""Export of spans. It needs OpenTelemetry's SDK, so it is imported only if tracing is on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Return an exporter over OTLP/gRPC; if the collector is unreachable, only the spans are lost."""
    return OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=2)


def exporting(
    exporter: SpanExporter, attributes: Mapping[str, str], *, sample_rate: float = 1.0
) -> tuple[Tracer, Callable[[], None]]:
    """Return a tracer that sends batches of spans to `exporter`, and the function that shuts it down.

    If the incoming trace context says whether to sample, that decision is used.
    """
    sampler = ParentBased(TraceIdRatioBased(sample_rate))
    provider = TracerProvider(resource=Resource.create(dict(attributes)), sampler=sampler)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    return provider.get_tracer("coincast"), provider.shutdown
