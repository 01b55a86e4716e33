"""Submit a training job and wait for its end: python retrain.py TARGET MODEL. Exit code 1 if it fails."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from coincast.training.v1 import training_pb2, training_pb2_grpc
from coincast_chassis.grpc.channel import open_channel

SERVICE = "coincast.training.v1.TrainingService"
ENDED = {
    training_pb2.JOB_STATE_SUCCEEDED: 0,
    training_pb2.JOB_STATE_FAILED: 1,
    training_pb2.JOB_STATE_CANCELLED: 1,
    training_pb2.JOB_STATE_INTERRUPTED: 1,
}


async def main(target: str, model: str) -> int:
    """Submit a job and wait for its end. A second submission of a model on the same day returns the same job.

    Args:
        target: The address of the training service.
        model: The name of the model.

    Returns:
        The exit code: 0 if the job succeeded.
    """
    key = f"retrain-{model}-{datetime.now(UTC):%Y-%m-%d}"
    spec = training_pb2.TrainingSpec(model=model, promote_if_better=True)
    async with open_channel(target, service=SERVICE) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        request = training_pb2.SubmitJobRequest(spec=spec, requested_by="cronjob", idempotency_key=key)
        job = (await stub.SubmitJob(request)).job
        async for update in stub.WatchJob(training_pb2.WatchJobRequest(job_id=job.job_id)):
            job = update.job
    sys.stdout.write(f"{job.job_id}: {training_pb2.JobState.Name(job.state)} {job.version} {job.error}\n")
    return ENDED.get(job.state, 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))
