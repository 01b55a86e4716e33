"""Content negotiation: JSON, CSV, Arrow or Parquet, by `format=` or by Accept."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from coincast_gateway.errors.problems import NOT_ACCEPTABLE
from coincast_gateway.errors.validation import reject


class Format(StrEnum):
    """A representation of a reply."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}
TABLES = (Format.CSV, Format.ARROW, Format.PARQUET)
# What an Accept header may name.
ACCEPTED = {
    "application/json": Format.JSON,
    "application/*": Format.JSON,
    "application/problem+json": Format.JSON,
    "text/csv": Format.CSV,
    "text/*": Format.CSV,
    "application/vnd.apache.arrow.stream": Format.ARROW,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
}


def choose_format(
    accept: bytes, *, wanted: str = "", offered: Collection[Format], default: Format = Format.JSON
) -> Format:
    """Return the format of a reply: that of `format=` where it is given, else the first one in Accept.

    Args:
        accept: The Accept header.
        wanted: The value of `format=`; empty where it was not given.
        offered: What the route can answer with.
        default: The format for a client that accepts anything.

    Raises:
        ProblemException: 406 where Accept names nothing that is offered.
    """
    if wanted:
        return Format(wanted)
    if not accept or accept == b"*/*" or accept.startswith(MEDIA_TYPES[default].encode()):
        return default
    for name in (part.partition(";")[0].strip().lower() for part in accept.decode("latin-1").split(",")):
        if name == "*/*":
            return default
        found = ACCEPTED.get(name)
        if found is Format.JSON and name == "application/*" and default in offered:
            return default
        if found is not None and found in offered:
            return found
    can = [MEDIA_TYPES[each].partition(";")[0] for each in (default, *offered) if each in offered]
    names = list(dict.fromkeys(can))
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    raise reject(NOT_ACCEPTABLE, f"This can be served as {text}.", field="Accept", allowed=text)
