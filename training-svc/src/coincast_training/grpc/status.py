"""Status of the training service: queue, schedule, drift, ledger and disk."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from coincast.training.v1 import training_pb2 as pb
from coincast_training import __version__
from coincast_training.domain import JobState
from coincast_training.drift.monitor import DriftMonitor
from coincast_training.grpc.proto_mapping import drift_to_pb, timestamp
from coincast_training.jobs.service import JobService
from coincast_training.schedule.cron import Calendar
from coincast_training.scoring.lag import LedgerWatch
from coincast_training.trainers.registry import trainable_models


class StatusService:
    """Collect the status of all components."""

    def __init__(
        self,
        *,
        jobs: JobService,
        artifacts_dir: Path,
        redis: Redis,
        calendar: Calendar,
        monitor: DriftMonitor,
        ledger: LedgerWatch,
    ) -> None:
        self._jobs, self._artifacts_dir, self._redis = jobs, artifacts_dir, redis
        self._calendar, self._monitor, self._ledger = calendar, monitor, ledger
        self._started = time.monotonic()

    async def status(self) -> pb.GetStatusResponse:
        """Return the status of the service."""
        size, free = await asyncio.to_thread(disk_usage_of, self._artifacts_dir)
        succeeded = [
            job.finished_at for job in self._jobs.recent(limit=500) if job.state is JobState.SUCCEEDED
        ]
        return pb.GetStatusResponse(
            version=__version__,
            uptime_seconds=time.monotonic() - self._started,
            queued_jobs=self._jobs.count(JobState.QUEUED),
            running_jobs=self._jobs.count(JobState.RUNNING),
            next_scheduled_at=timestamp(self._calendar.next_run_at()),
            last_success_at=timestamp(max((at for at in succeeded if at is not None), default=None)),
            drift=[drift_to_pb(found) for found in self._monitor.last.values()],
            ledger=await self._ledger.status(),
            trainable_models=trainable_models(),
            redis_up=await self._redis_answers(),
            artifacts_size_bytes=size,
            artifacts_free_bytes=free,
        )

    async def _redis_answers(self) -> bool:
        try:
            return bool(await self._redis.ping())
        except (RedisError, OSError):
            return False


def disk_usage_of(folder: Path) -> tuple[int, int]:
    """Return the size of the files in a folder, and the free space on its disk, in bytes."""
    if not folder.exists():
        return 0, 0
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(sizes), shutil.disk_usage(folder).free
