"""Ports of the job service: a persistent store and a runner of jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from coincast_training.domain import Job, Outcome


class JobStore(Protocol):
    """Store jobs and their logs. Raises `Unavailable` if the store cannot be reached."""

    async def save(self, job: Job) -> None:
        """Save the job's newest state."""
        ...

    async def load_all(self) -> list[Job]:
        """Return every stored job, oldest first."""
        ...

    async def append_log(self, job_id: str, lines: Sequence[str]) -> None:
        """Append lines to the job's log."""
        ...

    async def read_log(self, job_id: str, tail: int) -> list[str]:
        """Return the last `tail` lines of the job's log."""
        ...

    async def claim(self, idempotency_key: str, job_id: str) -> str:
        """Return the job that first claimed the key: `job_id` itself if the key is new."""
        ...


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Progress of a running job."""

    fraction: float
    stage: str


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A log line of a running job."""

    line: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A running job has written its version."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """A running job failed, and why."""

    message: str


Event = ProgressEvent | LogEvent | Finished | Failed


class Runner(Protocol):
    """Run one job. Closing the iterator ends the job's process."""

    def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Yield the job's events until its process has ended."""
        ...
