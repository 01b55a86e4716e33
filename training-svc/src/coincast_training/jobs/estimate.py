"""Estimate how long a running job still takes."""

from __future__ import annotations

from coincast_training.domain import Job

TELLING_FRACTION = 0.02


def remaining_seconds(job: Job, fraction: float, now: float) -> float | None:
    """Return the seconds left at the mean pace so far; None while too little is done to estimate it."""
    if job.started_at is None or fraction < TELLING_FRACTION:
        return None
    return max(0.0, (now - job.started_at) * (1 - fraction) / fraction)
