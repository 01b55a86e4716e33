"""The ladder: who answers when a model cannot, and what a step that failed says. Pure."""

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
    """Why a step did not answer, or data was not whole: the metric's label."""

    NOT_LOADED = "not_loaded"
    REFUSED = "refused"
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    STUCK = "stuck"
    NOT_FINITE = "not_finite"
    NOT_ABLE = "not_able"
    STALE_HISTORY = "stale_history"


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step that did not answer: the cause for counting, a sentence for the reader."""

    cause: Cause
    sentence: str


def explain(failures: tuple[StepFailure, ...], served_by: str) -> str:
    """One plain sentence for the reply: what failed, who answered; empty where nothing failed."""
    if not failures:
        return ""
    return f"{'; '.join(failure.sentence for failure in failures)}; {served_by} answered instead."


# Computing features for the first time costs up to this much a coin on a busy machine.
COIN_SECONDS = 0.04
# What the steps below keep for themselves of a caller's time: technical takes a few milliseconds a coin.
RESERVE_SECONDS = 1.5
RESERVE_COIN_SECONDS = 0.008


def batch_limit_seconds(limit_seconds: float, coins: int) -> float:
    """The limit of one coin, longer for many: past it a call hangs, it is not merely long."""
    return limit_seconds + COIN_SECONDS * (coins - 1)


def step_limit_seconds(limit_seconds: float, coins: int, remaining_seconds: float | None) -> float:
    """What a step may take: its own limit, longer for many coins, and of what the caller has left at most
    half or all but the reserve, so that the steps below get their turn.
    """
    limit_seconds = batch_limit_seconds(limit_seconds, coins)
    if remaining_seconds is None:
        return limit_seconds
    reserve = RESERVE_SECONDS + RESERVE_COIN_SECONDS * coins
    return max(0.0, min(limit_seconds, max(remaining_seconds / 2, remaining_seconds - reserve)))
