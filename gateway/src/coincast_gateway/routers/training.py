"""Training jobs: submit, follow, cancel."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from google.protobuf.message import Message

from coincast.training.v1 import training_pb2 as pb
from coincast_gateway.clients.training import TrainingClient
from coincast_gateway.errors.problems import CONFLICT, NOT_FOUND, NOT_READY, UNSUPPORTED
from coincast_gateway.formats.csv import rows_of
from coincast_gateway.formats.sse import EVENT_STREAM, Event
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.from_proto import response_model_for
from coincast_gateway.schemas.requests.market import NoQuery
from coincast_gateway.schemas.requests.training import JobBody, JobQuery, JobsQuery, LogsQuery
from coincast_gateway.serialization.proto import to_dict
from coincast_gateway.serving.endpoint import BEHIND, Call, Endpoint

ONE_JOB = (*BEHIND, NOT_FOUND)
# What can be done next with a job that was queued.
AFTERWARDS = tuple((name, "job_id", "/job/job_id") for name in ("job", "cancel_job", "job_logs"))
GOES_ON = (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)


class TrainingRoutes:
    """Answers from training-svc's job queue."""

    def __init__(self, training: TrainingClient) -> None:
        self._training = training

    async def submit(self, query: object, call: Call) -> RenderedResponse:
        """Queue a job. The same Idempotency-Key gives the same job."""
        body: JobBody = call.body
        request = pb.SubmitJobRequest(
            spec=pb.TrainingSpec(**body.model_dump()),
            requested_by=call.requested_by,
            # gRPC may send a call again whose reply was lost; without a key that would be a second job.
            idempotency_key=call.idempotency_key or uuid.uuid4().hex,
        )
        response = await self._training.backend.call(self._training.jobs.SubmitJob, request)
        return render_json(to_dict(response), status=202)

    async def latest(self, query: JobsQuery, call: Call) -> RenderedResponse:
        """The latest jobs."""
        return await self._ask("ListJobs", pb.ListJobsRequest(limit=query.limit, model=query.model))

    async def get(self, query: JobQuery, call: Call) -> RenderedResponse:
        """One job."""
        return await self._ask("GetJob", pb.GetJobRequest(job_id=query.job_id))

    async def cancel(self, query: JobQuery, call: Call) -> RenderedResponse:
        """End a job."""
        return await self._ask("CancelJob", pb.CancelJobRequest(job_id=query.job_id))

    async def logs(self, query: LogsQuery, call: Call) -> RenderedResponse:
        """The end of a job's log."""
        return await self._ask("GetJobLogs", pb.GetJobLogsRequest(job_id=query.job_id, tail=query.tail))

    async def watch(self, query: JobQuery, call: Call) -> AsyncIterator[Event]:
        """A job at each change; the event `ended` tells how it ended."""
        stream = self._training.backend.watch(
            self._training.jobs.WatchJob, pb.WatchJobRequest(job_id=query.job_id)
        )
        seen: pb.Job | None = None
        async for reply in stream:
            if reply.job == seen:
                continue  # it only logged something
            seen = reply.job
            yield Event(
                "progress" if seen.state in GOES_ON else "ended", to_dict(pb.GetJobResponse(job=seen))
            )

    async def _ask(self, method: str, request: Message) -> RenderedResponse:
        return render_json(
            to_dict(await self._training.backend.call(getattr(self._training.jobs, method), request))
        )

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint(
                path="/training/jobs",
                name="jobs",
                tag="training",
                answer=self.latest,
                query=JobsQuery,
                reply=response_model_for(pb.ListJobsResponse),
                kept=False,
                table=rows_of("jobs"),
                summary="The latest training jobs",
            ),
            Endpoint(
                path="/training/jobs",
                name="submit_job",
                method="POST",
                status=202,
                tag="training",
                answer=self.submit,
                query=NoQuery,
                body=JobBody,
                reply=response_model_for(pb.SubmitJobResponse),
                kept=False,
                scope="train",
                problems=(*BEHIND, NOT_READY, CONFLICT, UNSUPPORTED),
                leads_to=AFTERWARDS,
                summary="Queue a training job; the same Idempotency-Key gives the same job",
            ),
            Endpoint(
                path="/training/jobs/{job_id}",
                name="job",
                tag="training",
                answer=self.get,
                query=JobQuery,
                reply=response_model_for(pb.GetJobResponse),
                kept=False,
                problems=ONE_JOB,
                summary="One training job",
            ),
            Endpoint(
                path="/training/jobs/{job_id}",
                name="cancel_job",
                method="DELETE",
                tag="training",
                answer=self.cancel,
                query=JobQuery,
                reply=response_model_for(pb.CancelJobResponse),
                kept=False,
                scope="train",
                problems=(*ONE_JOB, NOT_READY, CONFLICT),
                summary="Cancel a training job",
            ),
            Endpoint(
                path="/training/jobs/{job_id}/events",
                name="job_events",
                tag="training",
                events=self.watch,
                query=JobQuery,
                media_type=EVENT_STREAM,
                kept=False,
                problems=ONE_JOB,
                summary="A training job's progress as server-sent events",
                description="`progress` at each change, with the job as JSON; `ended` is the last and "
                "tells how. A `problem` ends the stream early, a reader that connects again goes on.",
            ),
            Endpoint(
                path="/training/jobs/{job_id}/logs",
                name="job_logs",
                tag="training",
                answer=self.logs,
                query=LogsQuery,
                reply=response_model_for(pb.GetJobLogsResponse),
                kept=False,
                scope="train",
                problems=ONE_JOB,
                summary="The end of a training job's log",
            ),
        ]
