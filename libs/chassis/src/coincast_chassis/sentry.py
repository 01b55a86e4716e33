"""Error reports to Sentry, off without a DSN; secrets are scrubbed before anything leaves the process."""

import logging
import re
from typing import Any, cast

import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Event, Hint

from coincast_chassis import context
from coincast_chassis.errors import CoincastError

HIDDEN = "[hidden]"
_SECRET_KEY = re.compile(
    r"key|token|secret|password|passwd|authorization|cookie|dsn|credential", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"(?P<lead>x_cg_(?:demo|pro)_api_key=|x-api-key:\s*|Bearer\s+|://[^/\s:@]*:)(?P<secret>[^\s&@'\"]+)",
    re.IGNORECASE,
)


def scrub(value: Any, key: str = "") -> Any:
    """The value with everything hidden that is named or looks like a secret."""
    if key and _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, dict):
        return {k: scrub(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return _SECRET_TEXT.sub(rf"\g<lead>{HIDDEN}", value) if isinstance(value, str) else value


def _before_send(event: Event, hint: Hint) -> Event | None:
    """Drop the caller's own mistakes, scrub the rest, add the request's ids."""
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
) -> bool:
    """Start reporting; False where no DSN is set."""
    if not dsn:
        return False
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=f"coincast-{service}@{version}",
        server_name=service,
        traces_sample_rate=traces_sample_rate,
        send_default_pii=False,
        include_local_variables=False,
        default_integrations=False,
        integrations=[LoggingIntegration(level=logging.INFO, event_level=logging.ERROR)],
        before_send=_before_send,
        before_breadcrumb=lambda crumb, _hint: scrub(crumb),
        shutdown_timeout=2,
    )
    return True


def close_sentry() -> None:
    """Send what is left, for two seconds at most."""
    sentry_sdk.get_client().close(timeout=2)
