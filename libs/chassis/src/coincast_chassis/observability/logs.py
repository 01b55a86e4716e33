"""Structured logs on stdout: JSON lines, or text for a terminal; request id and trace id on every line."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from coincast_chassis import context
from coincast_chassis.observability.redaction import scrub


def _add_context(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if request_id := context.request_id():
        event.setdefault("request_id", request_id)
    if trace_id := context.trace_id():
        event.setdefault("trace_id", trace_id)
    return event


def _scrub(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: scrub(value, name) for name, value in event.items()}


def _is_an_error(record: logging.LogRecord) -> bool:
    """Return False for a cancelled call, which gRPC logs as an error if it had not started yet."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _dumps(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure_logs(
    service: str, *, level: str = "info", format: str = "json", taps: Sequence[Processor] = ()
) -> None:
    """Set structlog and the standard library's logging to one format for the whole process.

    Args:
        service: Name of the service; it is added to every line.
        level: Lowest level that is logged.
        format: `json`, or text for a terminal.
        taps: Processors that receive every event before it is rendered, such as the reporter of errors.
    """

    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_context,
    ]
    if format == "json":
        last: list[Processor] = [
            # Local variables are left out, since they hold API keys and whole price histories.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            _scrub,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ]
    else:
        last = [_scrub, structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *taps, *last],
        )
    )
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_an_error)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; call it as `log.info("what happened", key=value)`. Values are never secrets."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
