"""OpenTelemetry: spans over gRPC and HTTP, off unless a collector is configured; W3C trace context always."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from coincast_chassis import context

_PROPAGATOR = TraceContextTextMapPropagator()
TRACEPARENT = "traceparent"


class Tracing:
    """The spans of one process. With no exporter it costs a comparison and still hands trace ids on."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("coincast") if provider else None

    @contextmanager
    def span(
        self, name: str, *, kind: trace.SpanKind = trace.SpanKind.INTERNAL, traceparent: str | None = None
    ) -> Iterator[trace.Span]:
        """A span for the block, child of `traceparent` where given, else of the running span."""
        if self._tracer is None:
            yield trace.INVALID_SPAN
            return
        parent = _PROPAGATOR.extract({TRACEPARENT: traceparent}) if traceparent else None
        with self._tracer.start_as_current_span(name, context=parent, kind=kind) as span:
            yield span

    @property
    def enabled(self) -> bool:
        """Whether spans are kept."""
        return self._tracer is not None

    def close(self) -> None:
        """Send what is left and stop; bounded by the exporter's timeout."""
        if self._provider is not None:
            self._provider.shutdown()


def open_tracing(
    service: str,
    endpoint: str,
    *,
    sample_rate: float = 1.0,
    environment: str = "",
    version: str = "",
    exporter: SpanExporter | None = None,
) -> Tracing:
    """Tracing to the collector at `endpoint` (http:// is plaintext, https:// TLS); empty: none."""
    if not endpoint and exporter is None:
        return Tracing()
    resource = Resource.create(
        {"service.name": service, "service.version": version, "deployment.environment.name": environment}
    )
    provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(sample_rate)))
    exporter = exporter or OTLPSpanExporter(
        endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=2
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def outgoing_traceparent() -> str:
    """The `traceparent` for the next hop: the running span's, else the bound trace id with a new parent."""
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        _PROPAGATOR.inject(carrier)
        return carrier[TRACEPARENT]
    trace_id = context.trace_id()
    return f"00-{trace_id}-{context.new_request_id()}-00" if trace_id else ""


def current_trace_id(metadata: Mapping[str, str]) -> str:
    """The trace id of the running span, else that of the incoming `traceparent`, else a new one."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return trace.format_trace_id(span.trace_id)
    return context.parse_traceparent(metadata.get(TRACEPARENT)) or context.new_trace_id()
