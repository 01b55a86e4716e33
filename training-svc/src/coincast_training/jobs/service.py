"""The job queue: accept jobs, run one at a time for each model, and resume after a restart."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from itertools import islice

import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, NotReady, Unavailable
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_training.domain import Job, JobState, TrainingSpec
from coincast_training.jobs.estimate import remaining_seconds
from coincast_training.jobs.ports import (
    KEPT_JOBS,
    Event,
    Failed,
    Finished,
    JobStore,
    LogEvent,
    ProgressEvent,
    Runner,
)
from coincast_training.jobs.validation import JobLimits, validate_spec

log = structlog.get_logger(__name__)
Listener = Callable[[Job], None]
WATCHERS_SECONDS = 60.0
# Longer than a job takes to end its process, with the time that the process is given, and to store its state.
END_SECONDS = 15.0
# Limits of the lines of a log in memory; the store keeps more of them.
MAX_WATCHED_LINES = 2000
MAX_LINE_CHARACTERS = 4000


class JobService:
    """Accept, queue and run jobs, and store their state.

    Only one instance may write to a store. The store keeps the jobs when the instance ends.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        runner: Runner,
        clock: Clock,
        limits: JobLimits | None = None,
        max_queued: int = 20,
        max_running: int = 1,
        max_attempts: int = 3,
        timeout_seconds: float = 6 * 3600,
        on_ended: Listener | None = None,
        unavailable_reason: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._store, self._runner, self._clock = store, runner, clock
        self._limits = limits or JobLimits()
        self._max_queued, self._max_running, self._max_attempts = max_queued, max_running, max_attempts
        self._timeout_seconds = timeout_seconds
        self._on_ended, self._unavailable_reason = on_ended, unavailable_reason
        self._jobs: dict[str, Job] = {}
        self._lines: dict[str, _WatchedLines] = defaultdict(_WatchedLines)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Condition()
        self._submitting = asyncio.Lock()
        self._loaded = False

    async def start(self) -> None:
        """Load the stored jobs.

        A job that was running is queued again, or marked as interrupted after many attempts.
        """
        for job in await self._store.load_all():
            self._jobs[job.job_id] = job
            if job.state is JobState.RUNNING:
                await self._store_and_update(self._after_restart(job))
        self._loaded = True
        self._start_waiting()

    def _after_restart(self, job: Job) -> Job:
        if job.cancel_requested:
            return replace(job, state=JobState.CANCELLED, finished_at=self._clock.now())
        if job.attempt + 1 < self._max_attempts:
            return replace(
                job, state=JobState.QUEUED, attempt=job.attempt + 1, stage="waiting after a restart"
            )
        return replace(
            job,
            state=JobState.INTERRUPTED,
            finished_at=self._clock.now(),
            error=f"The service stopped during this job {job.attempt + 1} times; it is not started again.",
        )

    async def stop(self) -> None:
        """Stop the running processes; their jobs stay RUNNING in the store, and `start` queues them again."""
        await cancel_and_wait(list(self._tasks.values()), again_after_seconds=END_SECONDS)

    async def submit(
        self, spec: TrainingSpec, *, requested_by: str, idempotency_key: str = "", reason: str = ""
    ) -> Job:
        """Queue a job; a repeated idempotency key returns the first job.

        Args:
            spec: Model, coins and options of the training.
            requested_by: Name of the requester, for the audit log.
            idempotency_key: Key of at most 200 characters; it may not be used again with another spec.
            reason: First line of the log of the job.

        Raises:
            InvalidInput: The spec is wrong, or the key belongs to a job with another spec.
            NotReady: The model cannot be trained here.
            Exhausted: The queue is full.
            Unavailable: The queue is not loaded.
        """
        spec = validate_spec(spec, self._limits)
        if reason_against := self._unavailable_reason(spec.model):
            raise NotReady(reason_against, field="model")
        if len(idempotency_key) > 200:
            raise InvalidInput("idempotency_key may have at most 200 characters.", field="idempotency_key")
        if not self._loaded:
            raise Unavailable(
                "The job queue is not loaded yet: Redis, which stores it, has not answered since the start.",
                retry_after_seconds=5,
            )
        async with self._submitting:
            job = Job(
                job_id=uuid.uuid4().hex[:16],
                spec=spec,
                state=JobState.QUEUED,
                submitted_at=self._clock.now(),
                requested_by=requested_by or "unknown",
                stage="waiting in the queue",
            )
            if idempotency_key:
                first = await self._store.claim(idempotency_key, job.job_id)
                if first in self._jobs:
                    return _same_request(self._jobs[first], spec)
                job = replace(job, job_id=first)
            self._check_room()
            await self._store_and_update(job)
            if reason:
                await self._log(job.job_id, reason)
        self._start_waiting()
        return job

    def _check_room(self) -> None:
        queued = self.count(JobState.QUEUED)
        if queued >= self._max_queued:
            raise Exhausted(
                f"The queue is full with {queued} waiting jobs; try again when some are done.",
                retry_after_seconds=60,
            )

    def count(self, state: JobState) -> int:
        """Return the number of jobs in this state."""
        return sum(job.state is state for job in self._jobs.values())

    def get(self, job_id: str) -> Job:
        """Return the current state of a job.

        Raises:
            NotFound: There is no such job.
        """
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound(
                f"There is no job {job_id!r}; `jobs list` shows the existing ones.", field="job_id"
            ) from None

    def recent(self, *, model: str = "", limit: int = 50) -> list[Job]:
        """Return the newest jobs, the newest first, of one model or of all."""
        jobs = [job for job in self._jobs.values() if model in ("", job.spec.model)]
        return sorted(jobs, key=lambda job: job.submitted_at, reverse=True)[:limit]

    async def logs(self, job_id: str, tail: int) -> list[str]:
        """Return the last `tail` lines of the log of a job."""
        self.get(job_id)
        return await self._store.read_log(job_id, tail)

    async def cancel(self, job_id: str) -> Job:
        """Remove a job from the queue, or end its process; an ended job does not change."""
        job = self.get(job_id)
        if job.state.ended:
            return job
        if (task := self._tasks.get(job_id)) is not None:
            await self._store_and_update(replace(job, cancel_requested=True))
            await cancel_and_wait({task}, again_after_seconds=END_SECONDS)
            return self.get(job_id)
        return await self._end(job, JobState.CANCELLED, stage="cancelled while waiting")

    async def watch(self, job_id: str) -> AsyncIterator[tuple[Job, list[str]]]:
        """Yield the job now and at each change, with the new lines of its log, until it ends."""
        seen = self.get(job_id)
        if seen.state.ended:
            yield seen, []
            return
        written = self._lines[job_id]
        sent = written.count
        yield seen, []
        while not seen.state.ended:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._jobs.get(job_id) != seen or written.count > sent  # noqa: B023 - awaited at once
                )
            seen, lines = self.get(job_id), written.after(sent)
            sent = written.count
            yield seen, lines

    async def _store_and_update(self, job: Job) -> None:
        await self._store.save(job)
        await self._update(job)

    async def _update(self, job: Job) -> None:
        self._jobs[job.job_id] = job
        async with self._changed:
            self._changed.notify_all()

    async def _end(self, job: Job, state: JobState, **changes: object) -> Job:
        ended = replace(
            job,
            state=state,
            finished_at=self._clock.now(),
            remaining_seconds=None,
            **changes,  # type: ignore[arg-type] # fields by name
        )
        try:
            await self._store_and_update(ended)
        except CoincastError as error:
            log.warning("job_state_not_stored", job_id=job.job_id, state=state, error=str(error))
            await self._update(ended)
        asyncio.get_running_loop().call_later(WATCHERS_SECONDS, self._lines.pop, job.job_id, None)
        if self._on_ended is not None:
            self._on_ended(ended)
        await self._forget_old_jobs()
        return ended

    async def _forget_old_jobs(self) -> None:
        """Remove the oldest ended jobs beyond KEPT_JOBS: submissions must fill neither memory nor Redis.

        If Redis fails, the jobs are removed from it at the next start.
        """
        # The jobs are in the order of their submission.
        ended = [job for job in self._jobs.values() if job.state.ended]
        old = ended[: max(0, len(ended) - KEPT_JOBS)]
        for job in old:
            del self._jobs[job.job_id]
            self._lines.pop(job.job_id, None)
        if old:
            try:
                await self._store.delete([job.job_id for job in old])
            except CoincastError as error:
                log.warning("old_jobs_not_deleted", jobs=len(old), error=str(error))

    def _start_waiting(self) -> None:
        """Start waiting jobs, the oldest first: at most one for each model, and `max_running` in total."""
        running = {self._jobs[job_id].spec.model for job_id in self._tasks}
        waiting = sorted(
            (job for job in self._jobs.values() if job.state is JobState.QUEUED),
            key=lambda job: job.submitted_at,
        )
        for job in waiting:
            if len(self._tasks) >= self._max_running:
                return
            if job.spec.model not in running and job.job_id not in self._tasks:
                running.add(job.spec.model)
                self._tasks[job.job_id] = asyncio.create_task(self._run(job.job_id), name=f"job-{job.job_id}")

    async def _run(self, job_id: str) -> None:
        try:
            await self._run_guarded(job_id)
        finally:
            del self._tasks[job_id]
            if not asyncio.current_task().cancelling() or self._jobs[job_id].cancel_requested:  # type: ignore[union-attr] # inside a task
                self._start_waiting()

    async def _run_guarded(self, job_id: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._run_events(job_id)
        except TimeoutError:
            limit = f"The job ran longer than the limit of {self._timeout_seconds:.0f} s."
            await self._end(self._jobs[job_id], JobState.FAILED, error=limit)
        except asyncio.CancelledError:
            if self._jobs[job_id].cancel_requested:
                await asyncio.shield(self._end(self._jobs[job_id], JobState.CANCELLED, stage="cancelled"))
            raise
        except Exception as error:  # a failed job must not stop the service
            log.exception("job_broke", job_id=job_id)
            await self._end(
                self._jobs[job_id], JobState.FAILED, error=f"The runner failed: {without_path(error)}"
            )

    async def _run_events(self, job_id: str) -> None:
        job = replace(
            self._jobs[job_id], state=JobState.RUNNING, started_at=self._clock.now(), stage="starting"
        )
        await self._store_and_update(job)
        async with aclosing(self._runner.run(job)) as events:
            async for event in events:
                await self._handle_event(job_id, event)
        if not self._jobs[job_id].state.ended:
            await self._end(
                self._jobs[job_id],
                JobState.FAILED,
                error="The job's process ended without reporting a result; see its log.",
            )

    async def _handle_event(self, job_id: str, event: Event) -> None:
        job = self._jobs[job_id]
        match event:
            case ProgressEvent(fraction, stage):
                fraction = max(job.progress, min(fraction, 1.0))
                remaining = remaining_seconds(job, fraction, self._clock.now())
                await self._update(replace(job, progress=fraction, stage=stage, remaining_seconds=remaining))
            case LogEvent(line):
                await self._log(job_id, line)
            case Finished(outcome):
                await self._end(
                    job,
                    JobState.SUCCEEDED,
                    progress=1.0,
                    stage="done",
                    version=outcome.version,
                    promotion=outcome.promotion,
                )
            case Failed(message):
                await self._end(job, JobState.FAILED, error=message)

    async def _log(self, job_id: str, line: str) -> None:
        line = line[:MAX_LINE_CHARACTERS]
        try:
            await self._store.append_log(job_id, [line])
        except CoincastError:
            log.warning("job_log_not_stored", job_id=job_id, line=line)
        self._lines[job_id].append(line)
        async with self._changed:
            self._changed.notify_all()


class _WatchedLines:
    """The newest lines of a job's log in memory, for those who watch it; older ones are in the store only."""

    def __init__(self) -> None:
        self._newest: deque[str] = deque(maxlen=MAX_WATCHED_LINES)
        # The number of lines so far, including those that were dropped.
        self.count = 0

    def append(self, line: str) -> None:
        """Add a line; the oldest one is dropped if there are too many."""
        self._newest.append(line)
        self.count += 1

    def after(self, sent: int) -> list[str]:
        """Return the lines after the first `sent` ones, as far as they are in memory."""
        wanted = min(self.count - sent, len(self._newest))
        return list(islice(self._newest, len(self._newest) - wanted, None))


def _same_request(job: Job, spec: TrainingSpec) -> Job:
    """Return the job of an idempotency key, if it has the same spec.

    Raises:
        InvalidInput: The job has another spec. With one key for two jobs, one of them could not be found.
    """
    if job.spec != spec:
        raise InvalidInput(
            f"The idempotency key belongs to job {job.job_id}, which was submitted with other values; "
            "send the same values, or a new key.",
            field="idempotency_key",
        )
    return job
