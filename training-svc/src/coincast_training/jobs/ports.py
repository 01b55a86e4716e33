"""Ports of the job service: a persistent store and a runner of jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from coincast_training.domain import Job, Outcome

# The number of ended jobs that are stored, the newest ones.
KEPT_JOBS = 500


class JobStore(Protocol):
    """Store jobs and their logs; every method raises `Unavailable` if the store cannot be reached."""

    async def save(self, job: Job) -> None:
        """Save the current state of a job."""
        ...

    async def load_all(self) -> list[Job]:
        """Return every stored job, oldest first."""
        ...

    async def delete(self, job_ids: Sequence[str]) -> None:
        """Delete jobs and their logs."""
        ...

    async def append_log(self, job_id: str, lines: Sequence[str]) -> None:
        """Append lines to the log of a job."""
        ...

    async def read_log(self, job_id: str, tail: int) -> list[str]:
        """Return the last `tail` lines of the log of a job."""
        ...

    async def claim(self, idempotency_key: str, job_id: str) -> str:
        """Claim an idempotency key for a job; return the id of the job that claimed it first."""
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
    """The event of a running job that has written its version."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """The event of a running job that has failed, with the reason."""

    message: str


Event = ProgressEvent | LogEvent | Finished | Failed


class Runner(Protocol):
    """Run one job; closing the iterator ends the process of the job."""

    def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Yield the events of a job until its process has ended."""
        ...
