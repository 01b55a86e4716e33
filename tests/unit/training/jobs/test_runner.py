"""A job process that never starts to read: its exit is reported, not the broken pipe."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from coincast_training.domain import Job, JobState
from coincast_training.jobs.ports import Event, Failed, LogEvent
from coincast_training.jobs.runner import ProcessRunner
from tests.unit.training.jobs.test_service import SPEC


async def reported(module: str) -> list[Event]:
    job = Job("j1", SPEC, JobState.RUNNING, 0.0, "test")
    return [event async for event in ProcessRunner({"padding": "x" * 1_000_000}, module=module).run(job)]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_process_that_dies_before_it_reads_its_job_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: type
) -> None:
    (tmp_path / "dead_on_arrival.py").write_text("raise SystemExit('no such library')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with asyncio.Runner(loop_factory=loop) as runner:
        events = runner.run(reported("dead_on_arrival"))
    assert LogEvent("no such library") in events
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert "ended with code 1" in failed.message


async def sent_too_late() -> int | None:
    """Send a job to a process that has gone, as on a machine with more to do than it can; return its code."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("true", stdin=pipe, stdout=pipe, stderr=pipe)
    await process.wait()
    await asyncio.sleep(0.2)
    job = Job("j1", SPEC, JobState.RUNNING, 0.0, "test")
    await ProcessRunner({"padding": "x" * 1_000_000})._send(process, job)
    return process.returncode


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_job_sent_to_a_process_that_is_gone_is_no_error_of_its_own(loop: type) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(sent_too_late()) == 0
