"""Errors of a call to the gateway.

CoincastClientError
├── Unreachable      no answer: wrong address, no network, too slow
├── Refused          a problem reply (RFC 9457): `status`, `type`, `detail`, `field`, `suggestions` and more
└── UnexpectedReply  something answered that is not the gateway
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CoincastClientError(Exception):
    """The base of all errors of this client."""


class Unreachable(CoincastClientError):  # noqa: N818 - named after the failure, like the other errors
    """There was no answer."""


class UnexpectedReply(CoincastClientError):  # noqa: N818 - as above
    """The reply does not come from a gateway."""


class Refused(CoincastClientError):  # noqa: N818 - as above
    """The gateway answered with a problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail", f"HTTP {status}")))
        self.status = status
        self.type = str(problem.get("type", ""))
        self.detail = str(problem.get("detail", ""))
        self.field = problem.get("field")
        self.suggestions: tuple[str, ...] = tuple(problem.get("suggestions") or ())
        self.retry_after_seconds: int | None = problem.get("retry_after_seconds")
        self.request_id = str(problem.get("request_id", ""))
