"""Logs, error reports, traces and build info, which every process starts first and stops last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from coincast_chassis.observability import metrics
from coincast_chassis.observability.logs import configure_logs
from coincast_chassis.observability.tracing import Tracing, open_tracing, use_tracing
from coincast_chassis.settings import ServiceSettings

Around = Callable[[str], AbstractContextManager[None]]


@contextmanager
def telemetry(name: str, settings: ServiceSettings) -> Iterator[Tracing]:
    """Configure logs, Sentry and traces from the settings; yield the Tracing for channels and server."""
    version = metrics.tell_build(name)
    with _logs(name, settings, version) as around:
        tracing = open_tracing(
            name,
            settings.otlp_endpoint,
            sample_rate=settings.otlp_sample_rate,
            environment=settings.environment,
            version=version,
        )
        tracing = tracing.with_requests(around) if around else tracing
        try:
            with use_tracing(tracing):
                yield tracing
        finally:
            tracing.close()


@contextmanager
def _logs(name: str, settings: ServiceSettings, version: str) -> Iterator[Around | None]:
    if not settings.sentry_dsn:
        configure_logs(name, level=settings.log_level, format=settings.log_format)
        yield None
        return
    from coincast_chassis.observability import sentry  # noqa: PLC0415 - its client takes almost half a second to import

    sentry.open_sentry(
        name,
        settings.sentry_dsn,
        environment=settings.environment,
        version=version,
        traces_sample_rate=settings.sentry_traces_sample_rate,
    )
    configure_logs(name, level=settings.log_level, format=settings.log_format, taps=[sentry.report])
    try:
        yield sentry.transaction
    finally:
        sentry.close_sentry()
