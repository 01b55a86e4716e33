"""What the job service needs from outside: a store that outlives it, and a runner of one job."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from coincast_training.domain import Job, Outcome


class JobStore(Protocol):
    """Keeps jobs and their logs. Raises `Unavailable` where it cannot be reached."""

    async def save(self, job: Job) -> None:
        """Keeps the job's newest state."""
        ...

    async def load_all(self) -> list[Job]:
        """Every job that is kept, oldest first."""
        ...

    async def append_log(self, job_id: str, lines: Sequence[str]) -> None:
        """Adds lines to the job's log."""
        ...

    async def read_log(self, job_id: str, tail: int) -> list[str]:
        """The last `tail` lines of the job's log."""
        ...

    async def claim(self, idempotency_key: str, job_id: str) -> str:
        """The job that first claimed the key: `job_id` itself where it is new."""
        ...


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A running job came this far."""

    fraction: float
    stage: str


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A running job said something."""

    line: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A running job has written its version."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """A running job gave up, and why."""

    message: str


Event = ProgressEvent | LogEvent | Finished | Failed


class Runner(Protocol):
    """Runs one job. Closing the iterator ends the job's process."""

    def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """What the job tells, until its process has ended."""
        ...
