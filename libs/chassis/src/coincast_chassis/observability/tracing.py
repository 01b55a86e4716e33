"""OpenTelemetry spans of gRPC and HTTP requests.

Spans are recorded only if a collector is configured; W3C trace context is passed on in any case.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from coincast_chassis import context

_PROPAGATOR = TraceContextTextMapPropagator()
TRACEPARENT = "traceparent"


class Tracing:
    """The spans of one process. Without a tracer nothing is recorded, and trace ids are still passed on."""

    def __init__(
        self,
        tracer: trace.Tracer | None = None,
        shutdown: Callable[[], None] = lambda: None,
        *,
        around_requests: Callable[[str], AbstractContextManager[None]] | None = None,
    ) -> None:
        self._tracer, self._shutdown = tracer, shutdown
        self._around_requests = around_requests

    @contextmanager
    def span(
        self, name: str, *, kind: trace.SpanKind = trace.SpanKind.INTERNAL, traceparent: str | None = None
    ) -> Iterator[trace.Span]:
        """Yield a span for the block: a child of `traceparent` if given, else of the running span."""
        with ExitStack() as stack:
            if self._around_requests is not None and kind is trace.SpanKind.SERVER:
                stack.enter_context(self._around_requests(name))
            if self._tracer is None:
                yield trace.INVALID_SPAN
                return
            parent = _PROPAGATOR.extract({TRACEPARENT: traceparent}) if traceparent else None
            yield stack.enter_context(self._tracer.start_as_current_span(name, context=parent, kind=kind))

    def with_requests(self, around: Callable[[str], AbstractContextManager[None]]) -> Tracing:
        """Return a copy that also enters `around(name)` for each served request (Sentry's transactions)."""
        return Tracing(self._tracer, self._shutdown, around_requests=around)

    @property
    def active(self) -> bool:
        """Return whether requests need a span or a transaction."""
        return self._tracer is not None or self._around_requests is not None

    @property
    def enabled(self) -> bool:
        """Return whether spans are recorded."""
        return self._tracer is not None

    def close(self) -> None:
        """Send pending spans and stop; bounded by the exporter's timeout."""
        self._shutdown()


_current: contextvars.ContextVar[Tracing | None] = contextvars.ContextVar("coincast_tracing", default=None)


def current_tracing() -> Tracing:
    """Return the tracing of this process, which `use_tracing` sets; by default one that is off."""
    return _current.get() or Tracing()


@contextmanager
def use_tracing(tracing: Tracing) -> Iterator[Tracing]:
    """Make a tracing the current one for the block and all tasks that start in it."""
    token = _current.set(tracing)
    try:
        yield tracing
    finally:
        _current.reset(token)


def open_tracing(
    service: str, endpoint: str, *, sample_rate: float = 1.0, environment: str = "", version: str = ""
) -> Tracing:
    """Return a tracing that exports spans to a collector.

    Args:
        service: Name of the service.
        endpoint: Address of the collector; http:// is plaintext, https:// is TLS, empty turns tracing off.
        sample_rate: Share of the traces that are sent, 0 to 1.
        environment: Name of the environment, on every span.
        version: Version of the service, on every span.
    """
    if not endpoint:
        return Tracing()
    from coincast_chassis.observability import tracing_export  # noqa: PLC0415 - the SDK takes half a second to import

    exporter = tracing_export.otlp_exporter(endpoint)
    attributes = {
        "service.name": service,
        "service.version": version,
        "deployment.environment.name": environment,
    }
    return Tracing(*tracing_export.exporting(exporter, attributes, sample_rate=sample_rate))


def outgoing_traceparent() -> str:
    """Return the `traceparent` for the next hop: the span's, else the bound trace id with a new parent."""
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        _PROPAGATOR.inject(carrier)
        return carrier[TRACEPARENT]
    trace_id = context.trace_id()
    return f"00-{trace_id}-{context.new_request_id()}-00" if trace_id else ""


def current_trace_id(metadata: Mapping[str, str]) -> str:
    """Return the trace id of the running span, else that of the incoming `traceparent`, else a new one."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return trace.format_trace_id(span.trace_id)
    return context.parse_traceparent(metadata.get(TRACEPARENT)) or context.new_trace_id()
