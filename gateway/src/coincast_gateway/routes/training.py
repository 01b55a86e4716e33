"""Training jobs: submit, follow, cancel."""

import uuid
from collections.abc import AsyncIterator

from google.protobuf.message import Message

from coincast.training.v1 import training_pb2 as pb
from coincast_gateway.encode.plain import plain
from coincast_gateway.models.derived import shape_of
from coincast_gateway.problems import CONFLICT, NOT_FOUND, NOT_READY, UNSUPPORTED
from coincast_gateway.queries.market import NoQuery
from coincast_gateway.queries.training import JobBody, JobQuery, JobsQuery, LogsQuery
from coincast_gateway.replies import Reply, json_reply
from coincast_gateway.services.training import Training
from coincast_gateway.serving.endpoint import BEHIND, Call, Endpoint
from coincast_gateway.serving.events import EVENT_STREAM, Event
from coincast_gateway.serving.tables import rows_of

ONE_JOB = (*BEHIND, NOT_FOUND)
# What can be done next with a job that was queued.
AFTERWARDS = tuple((name, "job_id", "/job/job_id") for name in ("job", "cancel_job", "job_logs"))
GOES_ON = (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)


class TrainingRoutes:
    """Answers from training-svc's job queue."""

    def __init__(self, training: Training) -> None:
        self._training = training

    async def submit(self, query: object, call: Call) -> Reply:
        """Queue a job. The same Idempotency-Key gives the same job."""
        body: JobBody = call.body
        request = pb.SubmitJobRequest(
            spec=pb.TrainingSpec(**body.model_dump()),
            requested_by=call.requested_by,
            # gRPC may send a call again whose reply was lost; without a key that would be a second job.
            idempotency_key=call.idempotency_key or uuid.uuid4().hex,
        )
        response = await self._training.backend.call(self._training.jobs.SubmitJob, request)
        return json_reply(plain(response), status=202)

    async def latest(self, query: JobsQuery, call: Call) -> Reply:
        """The latest jobs."""
        return await self._ask("ListJobs", pb.ListJobsRequest(limit=query.limit, model=query.model))

    async def get(self, query: JobQuery, call: Call) -> Reply:
        """One job."""
        return await self._ask("GetJob", pb.GetJobRequest(job_id=query.job_id))

    async def cancel(self, query: JobQuery, call: Call) -> Reply:
        """End a job."""
        return await self._ask("CancelJob", pb.CancelJobRequest(job_id=query.job_id))

    async def logs(self, query: LogsQuery, call: Call) -> Reply:
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
            yield Event("progress" if seen.state in GOES_ON else "ended", plain(pb.GetJobResponse(job=seen)))

    async def _ask(self, method: str, request: Message) -> Reply:
        return json_reply(
            plain(await self._training.backend.call(getattr(self._training.jobs, method), request))
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
                reply=shape_of(pb.ListJobsResponse),
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
                reply=shape_of(pb.SubmitJobResponse),
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
                reply=shape_of(pb.GetJobResponse),
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
                reply=shape_of(pb.CancelJobResponse),
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
                reply=shape_of(pb.GetJobLogsResponse),
                kept=False,
                scope="train",
                problems=ONE_JOB,
                summary="The end of a training job's log",
            ),
        ]
