"""Metadata of a table: source, moment, version and licence of its data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from coincast_chassis.clock import steady_clock

Metadata = Mapping[str, str]
LICENCES = {
    "sandbox": "Simulated, or replayed from a folder whose own terms hold.",
    # Forecasts and their record: what they were made from is not known to this file.
    "": "Made by Coincast from market data; the terms of their source hold, as CoinGecko's API terms: "
    "https://www.coingecko.com/en/api_terms",
}
COINGECKO = "Data provided by CoinGecko; its API terms hold: https://www.coingecko.com/en/api_terms"


def licence_of(source: str) -> str:
    """Return the terms under which data of a source may be used."""
    return LICENCES.get(source, COINGECKO)


def with_version(described: Metadata) -> dict[str, str]:
    """Return metadata with the version of the installed gateway before it."""
    return {"version": f"coincast {metadata.version('coincast-gateway')}", **described}


def comment_line(described: Metadata) -> bytes:
    """Return metadata as the first line of a CSV file, without the errors, which are at its end."""
    # Some readers would take a first line with commas or semicolons for the header, so it has none.
    parts = [f"{name}={_plain_text(value)}" for name, value in described.items() if name != "errors"]
    return f"# {' | '.join(parts)}\n".encode()


def error_lines(described: Metadata) -> bytes:
    """Return the errors in metadata as the last lines of a CSV file; empty if there are none."""
    return "".join(
        f"# error: {_plain_text(error['id'])}: {_plain_text(error['message'])}\n"
        for error in json.loads(described.get("errors", "[]"))
    ).encode()


def _plain_text(text: str) -> str:
    """Return a text on one line, without the separators of CSV."""
    return " ".join(text.replace(",", " ").replace(";", " ").split())


def document_metadata(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the source, `as_of`, licence and errors of a JSON reply, as metadata of a file."""
    basis = document.get("basis") or {}
    provenance = basis.get("provenance") or {}
    lists = [value for value in document.values() if isinstance(value, list)]
    first = next((each[0] for each in lists if each and isinstance(each[0], dict)), {})
    source = str(document.get("source") or provenance.get("source") or first.get("source") or "")
    as_of = str(document.get("as_of") or basis.get("as_of") or first.get("as_of") or "")
    described = {
        # Records of this system have no source but itself, and are as of now.
        "source": source or "coincast",
        "as_of": as_of or f"{datetime.fromtimestamp(int(steady_clock().now()), UTC):%Y-%m-%dT%H:%M:%SZ}",
        "licence": licence_of(source),
    }
    if document.get("errors"):
        described["errors"] = json.dumps(document["errors"])
    return described
