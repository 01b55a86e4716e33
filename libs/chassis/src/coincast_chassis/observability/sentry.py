"""Error reports to Sentry, with secrets redacted; imported only if a DSN is set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import sentry_sdk
from sentry_sdk.types import Event, Hint
from structlog.typing import EventDict, WrappedLogger

from coincast_chassis import context
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.redaction import scrub

_LEVELS = ("error", "critical")


def report(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Send errors of the logs to Sentry, and other events as breadcrumbs; return the event unchanged."""
    level, message = str(event.get("level", "info")), str(event.get("event", ""))
    if level not in _LEVELS:
        data = {name: value for name, value in event.items() if isinstance(value, str | int | float)}
        sentry_sdk.add_breadcrumb(category="log", level=level, message=message, data=data)
    elif event.get("exc_info"):
        sentry_sdk.capture_exception(_exception(event["exc_info"]))
    else:
        sentry_sdk.capture_message(message, level="error")
    return event


def _exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    return exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1]


def _before_send(event: Event, hint: Hint) -> Event | None:
    """Drop errors that the client caused; redact other events and add the ids of the request."""
    error = (hint.get("exc_info") or (None, None))[1]
    if isinstance(error, CoincastError) and error.kind != "internal":
        return None
    ids = {"request_id": context.request_id(), "trace_id": context.trace_id()}
    scrubbed: dict[str, Any] = scrub(dict(event))
    scrubbed["tags"] = {
        **(scrubbed.get("tags") or {}),
        **{name: value for name, value in ids.items() if value},
    }
    return cast(Event, scrubbed)


def open_sentry(
    service: str, dsn: str, *, environment: str, version: str, traces_sample_rate: float = 0.0
) -> None:
    """Start to report errors to Sentry.

    Args:
        service: Name of the service.
        dsn: Address of the Sentry project.
        environment: Name of the environment, on every report.
        version: Version of the service, on every report.
        traces_sample_rate: Share of requests that Sentry traces, 0 to 1.
    """
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=f"coincast-{service}@{version}",
        server_name=service,
        traces_sample_rate=traces_sample_rate,
        send_default_pii=False,
        include_local_variables=False,
        default_integrations=False,
        before_send=_before_send,
        before_send_transaction=_before_send,
        before_breadcrumb=lambda crumb, _hint: scrub(crumb),
        shutdown_timeout=2,
    )


@contextmanager
def transaction(name: str) -> Iterator[None]:
    """Report one request to Sentry, with its duration and its errors, at the sample rate."""
    with sentry_sdk.isolation_scope(), sentry_sdk.start_transaction(op="server", name=name):
        yield


def close_sentry() -> None:
    """Send pending reports, for two seconds at most."""
    sentry_sdk.get_client().close(timeout=2)
