"""The fallback policy: the order of models for each requested model, and the time limits of steps."""

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
    """Cause of a failed step or of incomplete data; it is a label of a metric."""

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
    """A failed step: its cause for metrics, and a sentence for the reply."""

    cause: Cause
    sentence: str


def explain(failures: tuple[StepFailure, ...], served_by: str) -> str:
    """Return one sentence with the failures and the model that answered; empty without failures."""
    if not failures:
        return ""
    return f"{'; '.join(failure.sentence for failure in failures)}; {served_by} answered instead."


# Time per coin for computing features the first time, at most, on a busy machine.
COIN_SECONDS = 0.04
# Part of the caller's time that is reserved for the next steps: technical takes a few milliseconds per coin.
RESERVE_SECONDS = 1.5
RESERVE_COIN_SECONDS = 0.008


def batch_limit_seconds(limit_seconds: float, coins: int) -> float:
    """Return when a batch counts as hung: after the limit of one coin plus a time per further coin."""
    return limit_seconds + COIN_SECONDS * (coins - 1)


def step_limit_seconds(limit_seconds: float, coins: int, remaining_seconds: float | None) -> float:
    """Return the time limit of a step.

    It is the step's own limit, extended for many coins, and bounded by the caller's remaining time. A step
    may use half of the remaining time, or all of it except the reserve for the next steps, whichever is
    longer.
    """
    limit_seconds = batch_limit_seconds(limit_seconds, coins)
    if remaining_seconds is None:
        return limit_seconds
    reserve = RESERVE_SECONDS + RESERVE_COIN_SECONDS * coins
    return max(0.0, min(limit_seconds, max(remaining_seconds / 2, remaining_seconds - reserve)))
