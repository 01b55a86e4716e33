"""Convert errors to ItemError messages and back, for requests of which some items fail and others succeed."""

from __future__ import annotations

from coincast.common.v1 import common_pb2 as common
from coincast_chassis.errors import KINDS, CoincastError

_PREFIX = "ERROR_KIND_"


def to_item_error(error: CoincastError, *, item: str = "") -> common.ItemError:
    """Return an error as an ItemError; `item` is the id of the item that failed."""
    return common.ItemError(
        id=item,
        kind=common.ErrorKind.Value(_PREFIX + error.kind.upper()),
        message=error.message,
        field=error.field,
        suggestions=error.suggestions,
        retry_after_seconds=error.retry_after_seconds,
    )


def from_item_error(item: common.ItemError) -> CoincastError:
    """Return the error of an ItemError; a plain CoincastError for a kind that this version does not know."""
    kind = common.ErrorKind.Name(item.kind) if item.kind in common.ErrorKind.values() else ""
    cls = KINDS.get(kind.removeprefix(_PREFIX).lower(), CoincastError)
    retry_after = item.retry_after_seconds if item.HasField("retry_after_seconds") else None
    found = cls(
        item.message,
        field=item.field,
        retry_after_seconds=retry_after,
        suggestions=tuple(item.suggestions),
    )
    found.answered = True
    return found
