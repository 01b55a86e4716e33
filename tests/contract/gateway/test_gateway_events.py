"""Server-sent events of a training job: sent as they occur, until the reader leaves or the job ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from coincast.training.v1 import training_pb2 as tr
from coincast_chassis.errors import CoincastError, Unavailable
from tests.contract.gateway.fakes import World, world

EVENTS = "/training/jobs/job-0/events"


def pushes_of(there: World) -> asyncio.Queue[tr.Job | CoincastError]:
    """The queue of what the training service reports about the job."""
    assert there.training.pushes is not None
    return there.training.pushes


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as found:
        found.training.pushes = asyncio.Queue()
        found.training.jobs["job-0"] = tr.Job(job_id="job-0", state=tr.JOB_STATE_QUEUED)
        yield found


@pytest.fixture
async def http(there: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=there.url, timeout=30) as client:
        yield client


async def events_of(reply: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Name and data of each event, as a browser's EventSource would read them."""
    name = ""
    async for line in reply.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


async def test_progress_comes_while_the_job_runs_and_the_last_event_ends_it(
    http: httpx2.AsyncClient, there: World
) -> None:
    async with http.stream("GET", EVENTS) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-cache"
        events = events_of(reply)
        received = [await anext(events)]
        for progress in (0.25, 0.25, 0.75):  # the second event repeats the first
            await pushes_of(there).put(tr.Job(state=tr.JOB_STATE_RUNNING, progress=progress))
            if progress != 0.25 or len(received) == 1:
                received.append(await anext(events))
        await pushes_of(there).put(tr.Job(state=tr.JOB_STATE_SUCCEEDED, progress=1, version="v000002"))
        received += [event async for event in events]
    assert [(name, data["job"]["state"], data["job"]["progress"]) for name, data in received] == [
        ("progress", "queued", 0.0),
        ("progress", "running", 0.25),
        ("progress", "running", 0.75),
        ("ended", "succeeded", 1.0),
    ]
    assert received[-1][1]["job"]["version"] == "v000002"


async def test_an_unknown_job_is_a_problem_and_no_stream(http: httpx2.AsyncClient) -> None:
    reply = await http.get("/training/jobs/nothing/events")
    assert (reply.status_code, reply.json()["field"]) == (404, "job_id")
    assert (await http.get(EVENTS, params={"tail": 1})).status_code == 422
    head = await http.head(EVENTS)
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")


async def test_a_service_that_goes_away_is_the_last_event(http: httpx2.AsyncClient, there: World) -> None:
    async with http.stream("GET", EVENTS) as reply:
        events = events_of(reply)
        await anext(events)
        await pushes_of(there).put(Unavailable("It went away."))
        ((name, problem),) = [event async for event in events]
    assert (name, problem["status"], problem["type"]) == ("problem", 503, "/problems/unavailable")


async def test_streams_end_when_their_readers_leave(http: httpx2.AsyncClient, there: World) -> None:
    for _ in range(140):  # more than may listen at once
        async with http.stream("GET", EVENTS) as reply:
            assert reply.status_code == 200
            await anext(events_of(reply))
        await asyncio.sleep(0.01)


async def test_streams_are_counted_and_their_length_is_no_latency(
    http: httpx2.AsyncClient, there: World
) -> None:
    async with http.stream("GET", EVENTS) as reply:
        events = events_of(reply)
        await anext(events)
        await asyncio.sleep(1.5)
        await pushes_of(there).put(tr.Job(state=tr.JOB_STATE_FAILED, error="No history."))
        assert [name async for name, _ in events] == ["ended"]
    text = (await http.get("/metrics")).text
    route = 'route="/training/jobs/{job_id}/events"'
    count = next(line for line in text.splitlines() if "_seconds_count" in line and route in line)
    slow = next(line for line in text.splitlines() if 'le="1.0"' in line and route in line)
    assert count.rpartition(" ")[2] == slow.rpartition(" ")[2]
