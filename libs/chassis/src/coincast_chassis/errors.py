"""The error classes of all services, free of HTTP and gRPC; each has one gRPC status and one HTTP status.

CoincastError
├── InvalidInput   the request is wrong; `field` names the field, the message the fix
├── NotFound       no such coin, model, job; `suggestions` holds the nearest known names
├── Conflict       another caller was first (a revision changed, a job already runs)
├── NotReady       a precondition is missing (no trained model, no history yet)
├── Exhausted      a limit is used up; `retry_after_seconds` says when capacity returns
├── Unavailable    a dependency does not answer; a retry may help
└── Timeout        the deadline passed
"""

from __future__ import annotations

from collections.abc import Sequence


class CoincastError(Exception):
    """An error that a caller can act on; `field` is the faulty field by its name in the request."""

    kind = "internal"
    # True for an error that another service returned: the service runs and can be reached.
    answered = False

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        retry_after_seconds: float | None = None,
        suggestions: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.suggestions = tuple(suggestions)


class InvalidInput(CoincastError):  # noqa: N818 - the names are the product's vocabulary
    """The request is wrong; sending it again cannot succeed."""

    kind = "invalid_input"


class NotFound(CoincastError):  # noqa: N818 - as above
    """The requested item does not exist."""

    kind = "not_found"


class Conflict(CoincastError):  # noqa: N818 - as above
    """The state changed since the caller read it."""

    kind = "conflict"


class NotReady(CoincastError):  # noqa: N818 - as above
    """A precondition is missing, such as a trained model or a fetched history."""

    kind = "not_ready"


class Exhausted(CoincastError):  # noqa: N818 - as above
    """A limit is used up."""

    kind = "exhausted"


class Unavailable(CoincastError):  # noqa: N818 - as above
    """A dependency does not answer."""

    kind = "unavailable"


class Timeout(CoincastError):  # noqa: N818 - as above
    """The deadline passed before there was an answer."""

    kind = "timeout"


KINDS: dict[str, type[CoincastError]] = {
    error.kind: error
    for error in (InvalidInput, NotFound, Conflict, NotReady, Exhausted, Unavailable, Timeout)
}
