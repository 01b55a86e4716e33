"""The commands `jobs ...` for the queue of a running training service, over gRPC."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.grpc.channel import open_channel
from coincast_training.cli import options
from coincast_training.cli.output import plain, progress_bar, reported, show, table_of
from coincast_training.domain import Job, JobState, TrainingSpec
from coincast_training.grpc.proto_mapping import job_from_pb, spec_to_pb
from coincast_training.jobs.serialization import job_to_dict
from coincast_training.market_access import find_running_stack

if TYPE_CHECKING:
    from coincast.training.v1.training_pb2_grpc import TrainingServiceAsyncStub as Stub

JobId = Annotated[str, typer.Argument(help="Id of the job, as `jobs list` prints it.", metavar="ID")]
app = typer.Typer(
    rich_markup_mode=None,
    help="Jobs of a running training service: submit, list, show, watch, logs, cancel.",
    no_args_is_help=True,
)
R = TypeVar("R")
DEFAULT_TARGET = "127.0.0.1:50053"


def called(target: str, work: Callable[[Stub], Awaitable[R]]) -> R:
    """Run calls over a new channel; an empty target means the service of a running stack."""
    if not target:
        running = find_running_stack()
        target = running.training_target if running else DEFAULT_TARGET

    async def run() -> R:
        channel = open_channel(target, service="coincast.training.v1.TrainingService")
        try:
            return await work(training_pb2_grpc.TrainingServiceStub(channel))
        finally:
            await channel.close()

    return asyncio.run(run())


@app.command()
@reported
def submit(
    *,
    ids: options.Ids,
    model: options.Model = "lightgbm",
    days: options.Days = 365,
    tune: int = typer.Option(
        0,
        "--tune",
        help="Tuning trials, 0 to 200; trials of ml_ensemble leave out its network (lstm: off).",
        metavar="N",
    ),
    promote_if_better: bool = typer.Option(
        False, "--promote-if-better", help="Promote the version if the gate allows it."
    ),
    from_version: str = typer.Option(
        "", "--from", help="Version whose training is repeated.", metavar="VERSION"
    ),
    key: str = typer.Option(
        "",
        "--key",
        help="Idempotency key: a second submission with the same key returns the first job.",
        metavar="KEY",
    ),
    wait: bool = typer.Option(False, "--wait", help="Wait until the job ends; exit 1 if it did not succeed."),
    target: options.Target = "",
    as_json: options.AsJson = False,
) -> None:
    """Queue a job."""
    spec = TrainingSpec(
        model=model,
        ids=options.split_ids(ids),
        days=days,
        tune_trials=tune,
        promote_if_better=promote_if_better,
        from_version=from_version,
    )
    request = pb.SubmitJobRequest(
        spec=spec_to_pb(spec), requested_by="cli", idempotency_key=key or uuid.uuid4().hex
    )

    async def work(stub: Stub) -> Job:
        return job_from_pb((await stub.SubmitJob(request)).job)

    job = called(target, work)
    if wait:
        job = _watched(target, job.job_id, quiet=as_json)
    _show(job, as_json)
    if wait and job.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)


@app.command("list")
@reported
def list_jobs(
    *,
    model: str = typer.Option("", "--model", help="Only this model.", metavar="NAME"),
    limit: int = typer.Option(20, "--limit", min=1, max=200, help="Number of newest jobs.", metavar="N"),
    target: options.Target = "",
    as_json: options.AsJson = False,
) -> None:
    """List the newest jobs, newest first."""

    async def work(stub: Stub) -> list[Job]:
        reply = await stub.ListJobs(pb.ListJobsRequest(limit=limit, model=model))
        return [job_from_pb(job) for job in reply.jobs]

    jobs = called(target, work)
    rows = [
        (
            j.job_id,
            j.spec.model,
            j.state.value,
            f"{100 * j.progress:.0f} %",
            _time(j.submitted_at),
            j.requested_by,
            j.version,
        )
        for j in jobs
    ]
    columns = ("job", "model", "state", "done", "submitted", "by", "version")
    show([job_to_dict(job) for job in jobs], as_json, lambda: table_of("Jobs", columns, rows))


@app.command("show")
@reported
def show_job(job_id: JobId, target: options.Target = "", as_json: options.AsJson = False) -> None:
    """Show a job's current state."""

    async def work(stub: Stub) -> Job:
        return job_from_pb((await stub.GetJob(pb.GetJobRequest(job_id=job_id))).job)

    _show(called(target, work), as_json)


@app.command()
@reported
def watch(job_id: JobId, target: options.Target = "", as_json: options.AsJson = False) -> None:
    """Follow a job until it ends; exit 1 if it did not succeed."""
    job = _watched(target, job_id, quiet=as_json)
    _show(job, as_json)
    if job.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)


def _watched(target: str, job_id: str, *, quiet: bool) -> Job:
    with progress_bar(quiet) as progress:

        async def work(stub: Stub) -> Job:
            async for reply in stub.WatchJob(pb.WatchJobRequest(job_id=job_id)):
                progress(reply.job.progress, reply.job.stage)
            return job_from_pb(reply.job)

        return called(target, work)


@app.command()
@reported
def logs(
    job_id: JobId,
    *,
    tail: int = typer.Option(
        1000, "--tail", min=1, max=10_000, help="Number of last lines to show.", metavar="N"
    ),
    target: options.Target = "",
    as_json: options.AsJson = False,
) -> None:
    """Show the log of a job."""

    async def work(stub: Stub) -> list[str]:
        return list((await stub.GetJobLogs(pb.GetJobLogsRequest(job_id=job_id, tail=tail))).lines)

    lines = called(target, work)
    show(lines, as_json, lambda: "\n".join(lines))


@app.command()
@reported
def cancel(job_id: JobId, target: options.Target = "", as_json: options.AsJson = False) -> None:
    """Remove a job from the queue, or end its process."""

    async def work(stub: Stub) -> Job:
        return job_from_pb((await stub.CancelJob(pb.CancelJobRequest(job_id=job_id))).job)

    _show(called(target, work), as_json)


def _show(job: Job, as_json: bool) -> None:
    value = job_to_dict(job)
    rows = [(name, plain(cell)) for name, cell in value.items() if cell not in (None, "", False)]
    show(value, as_json, lambda: table_of(f"Job {job.job_id}", ("", ""), rows))


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%m-%d %H:%M:%S")
