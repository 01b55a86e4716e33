"""Convert errors of the chassis to failures of single items in a list, and back."""

from __future__ import annotations

from collections.abc import Sequence

from coincast_chassis.errors import KINDS, CoincastError, Unavailable
from coincast_market_data.domain import ItemFailure

# Longer waits are not passed on to callers, since official clients obey a Retry-After of at most a minute.
LONGEST_RETRY_AFTER_SECONDS = 60.0
# Kinds of errors that a retry may fix.
TRANSIENT_KINDS = ("unavailable", "timeout", "exhausted")


def item_failure(item: str, error: CoincastError) -> ItemFailure:
    """Return an error as the failure of one item."""
    after = error.retry_after_seconds
    return ItemFailure(
        id=item,
        kind=error.kind,
        message=error.message,
        field=error.field,
        suggestions=tuple(error.suggestions),
        retry_after_seconds=None if after is None else min(after, LONGEST_RETRY_AFTER_SECONDS),
        cause=error,
    )


def raise_if_all_transient(failures: Sequence[ItemFailure]) -> None:
    """Raise the first failure of a request without any item to serve, if a retry may fix all failures.

    An empty reply would otherwise look like a valid answer.

    Raises:
        CoincastError: A retry may fix each failure, and there is one.
    """
    if all(failure.kind in TRANSIENT_KINDS for failure in failures):
        raise_first_transient(failures)


def raise_first_transient(failures: Sequence[ItemFailure]) -> None:
    """Raise the first failure that a retry may fix; return if there is none.

    Raises:
        CoincastError: The failure, as an error of its kind.
    """
    first = next((failure for failure in failures if failure.kind in TRANSIENT_KINDS), None)
    if first is None:
        return
    error = KINDS.get(first.kind, Unavailable)
    raise error(first.message, field=first.field, retry_after_seconds=first.retry_after_seconds)
