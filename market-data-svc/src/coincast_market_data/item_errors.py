"""An error of the chassis' tree as the failure of one item in a list, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence

from coincast_chassis.errors import KINDS, CoincastError, Unavailable
from coincast_market_data.domain import ItemFailure

# Downstream a wait is never announced as longer: official clients obey Retry-After up to a minute only.
LONGEST_RETRY_AFTER_SECONDS = 60.0
PASSING = ("unavailable", "timeout", "exhausted")


def item_failure(item: str, error: CoincastError) -> ItemFailure:
    """Return the error that the caller reads about this item."""
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


def raise_if_all_failed(failures: Sequence[ItemFailure], served: int) -> None:
    """Raise if nothing could be served and a retry may help, since an empty reply would look like an answer.

    Args:
        failures: The errors of the items.
        served: Number of items that could be served.

    Raises:
        CoincastError: Nothing could be served, and a retry may help.
    """
    if not served and all(failure.kind in PASSING for failure in failures):
        raise_if_worth_a_retry(failures)


def raise_if_worth_a_retry(failures: Sequence[ItemFailure]) -> None:
    """Raise the first failure that may pass, where there is one."""
    first = next((failure for failure in failures if failure.kind in PASSING), None)
    if first is None:
        return
    error = KINDS.get(first.kind, Unavailable)
    raise error(first.message, field=first.field, retry_after_seconds=first.retry_after_seconds)
