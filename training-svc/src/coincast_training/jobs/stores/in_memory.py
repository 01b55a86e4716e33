"""Job store in memory, for the command line and for tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from coincast_training.domain import Job


class InMemoryJobStore:
    """Store jobs until the process ends."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._logs: dict[str, list[str]] = defaultdict(list)
        self._claims: dict[str, str] = {}

    async def save(self, job: Job) -> None:
        """Save the current state of a job."""
        self._jobs[job.job_id] = job

    async def load_all(self) -> list[Job]:
        """Return every job, oldest first."""
        return sorted(self._jobs.values(), key=lambda job: job.submitted_at)

    async def delete(self, job_ids: Sequence[str]) -> None:
        """Delete jobs and their logs."""
        for job_id in job_ids:
            self._jobs.pop(job_id, None)
            self._logs.pop(job_id, None)

    async def append_log(self, job_id: str, lines: Sequence[str]) -> None:
        """Append lines to the log of a job."""
        self._logs[job_id].extend(lines)

    async def read_log(self, job_id: str, tail: int) -> list[str]:
        """Return the last `tail` lines of the log of a job."""
        return self._logs[job_id][-tail:]

    async def claim(self, idempotency_key: str, job_id: str) -> str:
        """Claim an idempotency key for a job; return the id of the job that claimed it first."""
        return self._claims.setdefault(idempotency_key, job_id)
