"""What every process starts first and stops last: logs, error reports, traces, build info."""

from collections.abc import Iterator
from contextlib import contextmanager

from coincast_chassis import metrics
from coincast_chassis.logs import configure_logs
from coincast_chassis.sentry import close_sentry, open_sentry
from coincast_chassis.settings import ServiceSettings
from coincast_chassis.tracing import Tracing, open_tracing


@contextmanager
def telemetry(name: str, settings: ServiceSettings) -> Iterator[Tracing]:
    """Logs, Sentry and traces as the settings say; yields the traces for channels and server."""
    configure_logs(name, level=settings.log_level, format=settings.log_format)
    version = metrics.tell_build(name)
    open_sentry(
        name,
        settings.sentry_dsn,
        environment=settings.environment,
        version=version,
        traces_sample_rate=settings.sentry_traces_sample_rate,
    )
    tracing = open_tracing(
        name,
        settings.otlp_endpoint,
        sample_rate=settings.otlp_sample_rate,
        environment=settings.environment,
        version=version,
    )
    try:
        yield tracing
    finally:
        tracing.close()
        close_sentry()
