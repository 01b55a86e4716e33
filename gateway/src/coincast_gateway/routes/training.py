"""Training jobs: submit, follow, cancel."""

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
from coincast_gateway.serving.tables import rows_of

ONE_JOB = (*BEHIND, NOT_FOUND)


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
            idempotency_key=call.idempotency_key,
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
