"""SIGTERM while readers follow a job that never ends: every stream is closed whole, and at once."""

from __future__ import annotations

import asyncio
import signal
import time

import httpx2
import pytest

from coincast.training.v1 import training_pb2 as tr
from tests.contract.gateway.fakes import world
from tests.faults.gateway_process import running_gateway

pytestmark = [pytest.mark.faults, pytest.mark.timeout(200)]
READERS = 20


async def test_sigterm_ends_every_stream_of_events_whole() -> None:
    async with world() as there:
        there.training.pushes = asyncio.Queue()
        there.training.jobs["job-0"] = tr.Job(job_id="job-0", state=tr.JOB_STATE_RUNNING)
        async with (
            running_gateway(there, drain_seconds=60, not_serving_seconds=0.2) as (port, process),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=100, trust_env=False) as http,
        ):
            following = asyncio.Semaphore(0)

            async def follow() -> str:
                text = ""
                async with http.stream("GET", "/training/jobs/job-0/events") as reply:
                    async for part in reply.aiter_text():
                        following.release()
                        text += part
                return text

            readers = [asyncio.create_task(follow()) for _ in range(READERS)]
            for _ in range(READERS):
                await following.acquire()
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            texts = await asyncio.gather(*readers)  # raises where a stream was cut off
            async with asyncio.timeout(60):
                assert await process.wait() == 0
            took = time.monotonic() - began
    print(f"\n{READERS} streams ended whole and the process with 0 in {took:.1f} s, of 60 s to drain")
    assert all(text.count("event: progress") == 1 for text in texts)
