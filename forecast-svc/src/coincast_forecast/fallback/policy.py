"""The fallback policy: which model answers when another cannot, and how long a step may take. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from coincast_forecast.domain import ENSEMBLE, LAST_PRICE, LIGHTGBM, LSTM, TECHNICAL

FALLBACK_CHAINS: dict[str, tuple[str, ...]] = {
    ENSEMBLE: (ENSEMBLE, LIGHTGBM, LSTM, TECHNICAL, LAST_PRICE),
    LIGHTGBM: (LIGHTGBM, TECHNICAL, LAST_PRICE),
    LSTM: (LSTM, TECHNICAL, LAST_PRICE),
    TECHNICAL: (TECHNICAL, LAST_PRICE),
}


class Cause(StrEnum):
    """Why a step failed or data was not whole; the label of a metric."""

    NOT_LOADED = "not_loaded"
    REFUSED = "refused"
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    STUCK = "stuck"
    NOT_FINITE = "not_finite"
    IMPLAUSIBLE = "implausible"
    NOT_ABLE = "not_able"
    STALE_HISTORY = "stale_history"
    PARTIAL_HISTORY = "partial_history"
    UNCONFIRMED_HISTORY = "doubted_history"


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step that failed: the cause for metrics, a sentence for the reply."""

    cause: Cause
    sentence: str


def explain(failures: tuple[StepFailure, ...], served_by: str) -> str:
    """Return one sentence that says what failed and who answered; empty where nothing failed."""
    if not failures:
        return ""
    return f"{'; '.join(failure.sentence for failure in failures)}; {served_by} answered instead."


# Computing features for the first time costs up to this much a coin on a busy machine.
COIN_SECONDS = 0.04
# Time of the caller that is reserved for the next steps: technical takes a few milliseconds a coin.
RESERVE_SECONDS = 1.5
RESERVE_COIN_SECONDS = 0.008


def batch_limit_seconds(limit_seconds: float, coins: int) -> float:
    """Return how long a batch may take before it counts as hung: the limit of one coin, extended for many."""
    return limit_seconds + COIN_SECONDS * (coins - 1)


def step_limit_seconds(limit_seconds: float, coins: int, remaining_seconds: float | None) -> float:
    """Return how long a step may take.

    It is the step's own limit, extended for many coins, and bounded by the caller's remaining time: a step
    may use half of it, or all but the reserve for the next steps, whichever is more.
    """
    limit_seconds = batch_limit_seconds(limit_seconds, coins)
    if remaining_seconds is None:
        return limit_seconds
    reserve = RESERVE_SECONDS + RESERVE_COIN_SECONDS * coins
    return max(0.0, min(limit_seconds, max(remaining_seconds / 2, remaining_seconds - reserve)))
