"""Protobuf to domain and back, for jobs; the registry's and the accuracy's stand in files of their own."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from coincast.training.v1 import training_pb2 as pb
from coincast_training.domain import Job, JobState, TrainingSpec
from coincast_training.schedule.monitor import Checked

STATES = {
    JobState.QUEUED: pb.JOB_STATE_QUEUED,
    JobState.RUNNING: pb.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
    JobState.CANCELLED: pb.JOB_STATE_CANCELLED,
    JobState.INTERRUPTED: pb.JOB_STATE_INTERRUPTED,
}
FROM_STATES = {value: state for state, value in STATES.items()}


def timestamp(seconds: float | None) -> Timestamp | None:
    """UNIX seconds as a Timestamp; None stays absent."""
    if seconds is None:
        return None
    whole = int(seconds // 1)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))


def seconds(stamp: Timestamp) -> float:
    """A Timestamp as UNIX seconds."""
    return stamp.seconds + stamp.nanos / 1e9


def spec_from_pb(spec: pb.TrainingSpec) -> TrainingSpec:
    """What was asked for, not yet checked."""
    return TrainingSpec(
        model=spec.model,
        ids=tuple(spec.ids),
        days=spec.days,
        tune_trials=spec.tune_trials,
        promote_if_better=spec.promote_if_better,
        from_version=spec.from_version,
    )


def spec_to_pb(spec: TrainingSpec) -> pb.TrainingSpec:
    """The spec of a job."""
    return pb.TrainingSpec(
        model=spec.model,
        ids=spec.ids,
        days=spec.days,
        tune_trials=spec.tune_trials,
        promote_if_better=spec.promote_if_better,
        from_version=spec.from_version,
    )


def job_to_pb(job: Job) -> pb.Job:
    """A job as the contract gives it."""
    return pb.Job(
        job_id=job.job_id,
        spec=spec_to_pb(job.spec),
        state=STATES[job.state],
        progress=job.progress,
        stage=job.stage,
        submitted_at=timestamp(job.submitted_at),
        started_at=timestamp(job.started_at),
        finished_at=timestamp(job.finished_at),
        remaining_seconds=job.remaining_seconds,
        version=job.version,
        error=job.error,
        requested_by=job.requested_by,
        promotion=job.promotion,
        attempt=job.attempt,
    )


def job_from_pb(job: pb.Job) -> Job:
    """A job that another process told of."""
    return Job(
        job_id=job.job_id,
        spec=spec_from_pb(job.spec),
        state=FROM_STATES[job.state],
        progress=job.progress,
        stage=job.stage,
        submitted_at=seconds(job.submitted_at),
        started_at=seconds(job.started_at) if job.HasField("started_at") else None,
        finished_at=seconds(job.finished_at) if job.HasField("finished_at") else None,
        remaining_seconds=job.remaining_seconds if job.HasField("remaining_seconds") else None,
        version=job.version,
        error=job.error,
        requested_by=job.requested_by,
        promotion=job.promotion,
        attempt=job.attempt,
    )


def drift_to_pb(checked: Checked) -> pb.DriftStatus:
    """What the last check of a model found, and what was done about it."""
    done = [f"Acted: {checked.action}."] if checked.drift.drifted else []
    return pb.DriftStatus(
        model=checked.model,
        drifted=checked.drift.drifted,
        reasons=[*checked.drift.reasons, *done],
        checked_at=timestamp(checked.checked_at),
    )
