"""Estimate the remaining time of a running job."""

from __future__ import annotations

from coincast_training.domain import Job

MIN_FRACTION = 0.02


def remaining_seconds(job: Job, fraction: float, now: float) -> float | None:
    """Return the seconds left at the mean speed so far; None before MIN_FRACTION is done."""
    if job.started_at is None or fraction < MIN_FRACTION:
        return None
    return max(0.0, (now - job.started_at) * (1 - fraction) / fraction)
