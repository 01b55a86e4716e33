"""The record of a rehearsal, and its checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coincast_stack.rehearsal.proxy import Call, busiest_minute

PRICES_SECONDS = 10.0
FIRST_FORECAST_SECONDS = 20.0
TRAINED_MODELS = frozenset({"lightgbm", "lstm", "ml_ensemble"})
# Kinds of errors that are allowed for a single coin if the error says when to retry.
FOR_NOW = frozenset({"not_ready", "exhausted", "unavailable", "timeout"})
OK, TOO_MANY, UNAVAILABLE = 200, 429, 503


@dataclass(frozen=True, slots=True)
class Milestone:
    """The first time at which something was observed.

    Attributes:
        seconds: Seconds since the services answered.
        calls: Number of calls to the upstream until then; it does not depend on the load of the machine.
        note: The reason field of the reply; empty if it has none.
    """

    seconds: float
    calls: int
    note: str = ""


@dataclass(slots=True)
class RehearsalRecord:
    """The observations of one rehearsal.

    Attributes:
        plan: The plan that was rehearsed.
        per_minute: Calls per minute that the plan allows.
        coins: The coins that were requested.
        launch_seconds: Seconds from the start of the processes until the gateway answered.
        prices: The first reply with a price of every coin.
        forecasts: The first forecast by a trained model for each coin, in order of arrival.
        faults: Descriptions of replies that are not allowed, without repetition.
        calls: Every call that reached the upstream.
    """

    plan: str
    per_minute: int
    coins: tuple[str, ...]
    launch_seconds: float = 0.0
    prices: Milestone | None = None
    forecasts: dict[str, Milestone] = field(default_factory=dict)
    faults: dict[str, None] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    @property
    def busiest_minute(self) -> int:
        """Return the largest number of calls in any window of 60 seconds."""
        return busiest_minute([call.at for call in self.calls])

    @property
    def refused_calls(self) -> int:
        """Return the number of calls that the upstream refused because the plan's limit was reached."""
        return sum(call.status == TOO_MANY for call in self.calls)

    @property
    def complete(self) -> bool:
        """Return whether prices and a forecast of every coin were received."""
        return self.prices is not None and set(self.forecasts) == set(self.coins)

    def failures(self, allowance: float = 1.0) -> list[str]:
        """Return one sentence for each failed check; empty if all checks pass.

        Args:
            allowance: Factor of the time limits, for a machine under load.
        """
        failed = [f"A reply that is not allowed: {fault}" for fault in self.faults]
        if self.busiest_minute > self.per_minute:
            failed.append(f"{self.busiest_minute} calls in a minute; the plan allows {self.per_minute}.")
        if self.refused_calls:
            failed.append(f"The upstream refused {self.refused_calls} calls with 429.")
        first = next(iter(self.forecasts.values()), None)
        failed += _late("prices of every coin", self.prices, PRICES_SECONDS * allowance)
        failed += _late("a first forecast by a trained model", first, FIRST_FORECAST_SECONDS * allowance)
        missing = [coin for coin in self.coins if coin not in self.forecasts]
        if missing:
            failed.append(f"No forecast by a trained model of {', '.join(missing)}.")
        return failed


def _late(what: str, milestone: Milestone | None, limit: float) -> list[str]:
    if milestone is None:
        return [f"There was no reply with {what}."]
    if milestone.seconds > limit:
        return [f"The first reply with {what} took {milestone.seconds:.1f} s; the limit is {limit:.0f} s."]
    return []


def fault_of(path: str, status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Return why a reply of the gateway is not allowed; empty if it is allowed.

    Allowed are 200, and 503 or 429 with Retry-After. The error of a single coin in a 200 must be of a
    temporary kind and say when to retry.

    Args:
        path: Path of the request.
        status: Status of the reply.
        headers: Headers of the reply, names in lower case.
        body: Body of the reply.
    """
    if status in (UNAVAILABLE, TOO_MANY):
        return "" if "retry-after" in headers else f"{path}: {status} without Retry-After"
    if status != OK:
        # Only the detail: with the request's id, repetitions of a fault would not be recognised.
        detail = document_of(body).get("detail") or body[:300].decode(errors="replace")
        return f"{path}: {status} {detail}".rstrip()
    for error in document_of(body).get("errors", []):
        if error.get("kind") not in FOR_NOW or error.get("retry_after_seconds") is None:
            return f"{path}: {error.get('id')}: {error.get('kind')}: {error.get('message')}"
    return ""


def priced_coins(body: bytes) -> set[str]:
    """Return the coins that have a price in a reply of /prices."""
    return {row["id"] for row in document_of(body).get("prices", []) if row.get("price")}


def trained_forecast(body: bytes) -> dict[str, Any] | None:
    """Return the first forecast of a reply that a trained model made, or None."""
    for forecast in document_of(body).get("forecasts", []):
        if forecast.get("served_by") in TRAINED_MODELS and forecast.get("points"):
            return dict(forecast)
    return None


def document_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty one if the body is not a JSON object."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
