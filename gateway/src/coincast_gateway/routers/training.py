"""Training jobs: submit, watch, cancel."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from google.protobuf.message import Message

from coincast.training.v1 import training_pb2 as pb
from coincast_chassis.errors import InvalidInput
from coincast_gateway.auth.authenticator import READ, TRAIN, Caller
from coincast_gateway.clients.training import TrainingClient
from coincast_gateway.dependencies import Streams, Training
from coincast_gateway.errors.problems import (
    CONFLICT,
    INVALID,
    NOT_FOUND,
    NOT_READY,
    UNSUPPORTED,
    reject,
    service_responses,
)
from coincast_gateway.formats.csv import rows_of
from coincast_gateway.formats.negotiation import csv_rows
from coincast_gateway.formats.sse import Events, json_event
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.from_proto import response_model_for
from coincast_gateway.schemas.requests.training import JobBody, JobId, JobsQuery, LogsQuery
from coincast_gateway.serialization import to_dict

router = APIRouter(tags=["training"])
ONE_JOB = service_responses(NOT_FOUND)
RUNNING = (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)
# OpenAPI links from a submitted job to the operations on it.
LINKS = {
    name: {"operationId": name, "parameters": {"job_id": "$response.body#/job/job_id"}}
    for name in ("job", "cancel_job", "job_logs")
}
SUBMIT_RESPONSES = service_responses(NOT_READY, CONFLICT, UNSUPPORTED) | {202: {"links": LINKS}}
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=128,
        pattern=r"^[\x20-\x7e]*$",
        description="At most 128 printable ASCII characters. A repeated key returns the same job; with "
        "another body it is refused.",
    ),
]
JobInPath = Annotated[JobId, Path()]


async def call_jobs(training: TrainingClient, method: str, request: Message) -> RenderedResponse:
    """Call a method of the job queue and return its response as JSON.

    Args:
        training: The client of training-svc.
        method: The name of the method of TrainingService.
        request: Its message.

    Raises:
        CoincastError: The call failed.
    """
    return render_json(to_dict(await training.backend.call(getattr(training.jobs, method), request)))


@router.get(
    "/training/jobs",
    operation_id="jobs",
    summary="The latest training jobs",
    response_model=response_model_for(pb.ListJobsResponse),
    responses=service_responses(),
    dependencies=[READ],
)
@csv_rows(rows_of("jobs"))
async def list_jobs(query: Annotated[JobsQuery, Query()], training: Training) -> RenderedResponse:
    """Return the latest jobs, newest first."""
    return await call_jobs(training, "ListJobs", pb.ListJobsRequest(limit=query.limit, model=query.model))


@router.post(
    "/training/jobs",
    operation_id="submit_job",
    status_code=202,
    summary="Queue a training job; a repeated Idempotency-Key returns the same job",
    response_model=response_model_for(pb.SubmitJobResponse),
    responses=SUBMIT_RESPONSES,
    dependencies=[TRAIN],
)
async def submit_job(
    body: JobBody, training: Training, caller: Caller, idempotency_key: IdempotencyKey = ""
) -> RenderedResponse:
    """Queue a training job; the same Idempotency-Key with another body is refused with 422."""
    request = pb.SubmitJobRequest(
        spec=pb.TrainingSpec(**body.model_dump()),
        requested_by=caller,
        # gRPC retries a call whose response was lost. Without a key, the retry would queue a second job.
        idempotency_key=idempotency_key or uuid.uuid4().hex,
    )
    try:
        response = await training.backend.call(training.jobs.SubmitJob, request)
    except InvalidInput as error:
        if error.field == "idempotency_key":
            # The key was used with another body. It is a header here, so the problem names the header.
            raise reject(INVALID, error.message, field="Idempotency-Key", allowed="a new key") from None
        raise
    return render_json(to_dict(response), status=202)


@router.get(
    "/training/jobs/{job_id}",
    operation_id="job",
    summary="One training job",
    response_model=response_model_for(pb.GetJobResponse),
    responses=ONE_JOB,
    dependencies=[READ],
)
async def get_job(job_id: JobInPath, training: Training) -> RenderedResponse:
    """Return one job."""
    return await call_jobs(training, "GetJob", pb.GetJobRequest(job_id=job_id))


@router.delete(
    "/training/jobs/{job_id}",
    operation_id="cancel_job",
    summary="Cancel a training job",
    response_model=response_model_for(pb.CancelJobResponse),
    responses=service_responses(NOT_FOUND, NOT_READY, CONFLICT),
    dependencies=[TRAIN],
)
async def cancel_job(job_id: JobInPath, training: Training) -> RenderedResponse:
    """Cancel a job that is queued or running."""
    return await call_jobs(training, "CancelJob", pb.CancelJobRequest(job_id=job_id))


@router.get(
    "/training/jobs/{job_id}/logs",
    operation_id="job_logs",
    summary="The end of a training job's log",
    response_model=response_model_for(pb.GetJobLogsResponse),
    responses=ONE_JOB,
    dependencies=[TRAIN],
)
async def get_job_logs(
    job_id: JobInPath, query: Annotated[LogsQuery, Query()], training: Training
) -> RenderedResponse:
    """Return the last lines of a job's log."""
    return await call_jobs(training, "GetJobLogs", pb.GetJobLogsRequest(job_id=job_id, tail=query.tail))


async def watch_job(training: TrainingClient, job_id: str) -> Events:
    """Yield an event at each change of a job; the last one is `ended`."""
    stream = training.backend.watch(training.jobs.WatchJob, pb.WatchJobRequest(job_id=job_id))
    seen: pb.Job | None = None
    async for reply in stream:
        if reply.job == seen:
            continue  # the job only logged a line
        seen = reply.job
        name = "progress" if seen.state in RUNNING else "ended"
        yield json_event(name, to_dict(pb.GetJobResponse(job=seen)))


async def job_event_stream(
    job_id: JobInPath, training: Training, streams: Streams, request: Request
) -> AsyncIterator[Events]:
    """Open the stream of a job's events, or raise the problem that prevents it."""
    async with streams.open(watch_job(training, job_id), path=request.url.path) as events:
        yield events


@router.get(
    "/training/jobs/{job_id}/events",
    operation_id="job_events",
    summary="A training job's progress as server-sent events",
    response_class=EventSourceResponse,
    responses=ONE_JOB,
    dependencies=[READ],
)
async def get_job_events(
    events: Annotated[Events, Depends(job_event_stream)],
) -> AsyncIterator[ServerSentEvent]:
    """Send `progress` with the job as JSON at each change, and `ended` with its final state.

    A `problem` event ends the stream early; the client can connect again.
    """
    async for event in events:
        yield event
