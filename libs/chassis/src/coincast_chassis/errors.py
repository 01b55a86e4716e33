"""The one tree of errors, free of HTTP and gRPC; each kind has one gRPC status and one HTTP status.

CoincastError
├── InvalidInput   the request is wrong; `field` names the field, the message the fix
├── NotFound       no such coin, model, job; `suggestions` holds the nearest known names
├── Conflict       another caller was first (a revision changed, a job already runs)
├── NotReady       the answer needs something that is not there yet (no model, no history)
├── Exhausted      a limit is used up; `retry_after_seconds` says when it is not
├── Unavailable    something that is needed does not answer; a retry may help
└── Timeout        the deadline passed
"""

from __future__ import annotations

from collections.abc import Sequence


class CoincastError(Exception):
    """An error that a person or a caller can act on; `field` names the faulty field as the request does."""

    kind = "internal"
    # Whether another service reported the error itself, which shows that it runs and can be reached.
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


class InvalidInput(CoincastError):  # noqa: N818 - the tree's names are the product's vocabulary
    """The request is wrong and stays wrong however often it is sent."""

    kind = "invalid_input"


class NotFound(CoincastError):  # noqa: N818 - as above
    """The requested item does not exist."""

    kind = "not_found"


class Conflict(CoincastError):  # noqa: N818 - as above
    """The state moved since the caller looked."""

    kind = "conflict"


class NotReady(CoincastError):  # noqa: N818 - as above
    """Something must happen first: a model be trained, a history be fetched."""

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
