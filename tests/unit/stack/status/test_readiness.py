"""A stack is ready once every model is served and the gateway says so; until then a line says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coincast.training.v1 import training_pb2 as tr
from coincast_chassis.clock import ManualClock
from coincast_stack.errors import ChildDeathError, StackError
from coincast_stack.options import StackOptions
from coincast_stack.status import readiness
from coincast_stack.status.readiness import FAILED_FOR_SECONDS, served_models, wait_until_ready
from tests.unit.stack.fake_system import FakeSystem, fake_system

LIMIT_SECONDS = 60.0
RUNNING, FAILED = tr.JOB_STATE_RUNNING, tr.JOB_STATE_FAILED


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSystem]:
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.0)
    async with fake_system(tmp_path) as running:
        yield running


class Steps:
    """Records the progress, and lets the system change after each line."""

    def __init__(self, *changes: object) -> None:
        self.lines: list[tuple[str, float | None]] = []
        self._changes = list(changes)

    def __call__(self, text: str, share: float | None) -> None:
        self.lines.append((text, share))
        if self._changes:
            change = self._changes.pop(0)
            assert callable(change)
            change()


async def test_the_way_to_readiness_is_told_step_by_step(system: FakeSystem) -> None:
    def queue() -> None:
        system.training.jobs["lightgbm"] = tr.Job(state=tr.JOB_STATE_QUEUED)

    def train() -> None:
        system.training.jobs["lightgbm"] = tr.Job(state=RUNNING, stage="walk-forward", progress=0.4)

    def write_version() -> None:
        system.serve_models("lightgbm")
        system.gateway.by_path = {"/health/ready": (0, b"")}

    def start_gateway() -> None:
        system.gateway.by_path = {"/health/ready": (503, b'{"reason": "forecast is starting"}')}

    def answer_oddly() -> None:
        system.gateway.by_path = {"/health/ready": (502, b"<html>")}

    def serve_another() -> None:
        system.serve_models("lightgbm")
        system.gateway.by_path["/forecasts/models"] = (200, b'{"models": [{"name": "lightgbm"}]}')

    def serve() -> None:
        system.serve_models("lightgbm")

    steps = Steps(queue, train, write_version, start_gateway, answer_oddly, serve_another, serve)
    await wait_until_ready(system.idle_stack(), ("lightgbm",), steps, LIMIT_SECONDS)
    assert steps.lines == [
        ("lightgbm: waiting for the training service", None),
        ("lightgbm: training", 0.0),
        ("lightgbm: walk-forward", pytest.approx(0.4)),
        ("waiting for the gateway", None),
        ("gateway: forecast is starting", None),
        ("gateway: not ready yet", None),
        ("loading lightgbm", None),
    ]
    assert {request.limit for request in system.training.requests} == {1}


async def test_without_models_a_gateway_that_is_ready_suffices(system: FakeSystem) -> None:
    system.serve_models()
    steps = Steps()
    await wait_until_ready(system.idle_stack(), (), steps, LIMIT_SECONDS)
    assert steps.lines == []


async def test_a_training_may_fail_until_its_next_attempt(system: FakeSystem) -> None:
    system.training.jobs["lightgbm"] = tr.Job(state=FAILED, error="no candles")

    def train_again() -> None:
        system.training.jobs["lightgbm"] = tr.Job(state=RUNNING, stage="fetch")

    def serve() -> None:
        system.serve_models("lightgbm")

    steps = Steps(train_again, serve)
    await wait_until_ready(system.idle_stack(), ("lightgbm",), steps, LIMIT_SECONDS)
    assert [text for text, _ in steps.lines] == [
        "lightgbm: training failed (no candles); waiting for the next attempt",
        "lightgbm: fetch",
    ]


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        (FAILED, "no candles", "training lightgbm failed: no candles"),
        (tr.JOB_STATE_CANCELLED, "", "training lightgbm failed: no reason given"),
        (tr.JOB_STATE_INTERRUPTED, "the worker ended", "training lightgbm failed: the worker ended"),
    ],
)
async def test_a_training_that_keeps_failing_ends_the_wait(
    system: FakeSystem, state: tr.JobState.ValueType, error: str, says: str
) -> None:
    clock = ManualClock()
    system.training.jobs["lightgbm"] = tr.Job(state=state, error=error)
    steps = Steps(lambda: clock.advance(FAILED_FOR_SECONDS), lambda: clock.advance(0.1))
    with pytest.raises(StackError, match=says):
        await wait_until_ready(
            system.idle_stack(), ("lightgbm",), steps, LIMIT_SECONDS, monotonic=clock.monotonic
        )
    assert len(steps.lines) == 2, "until then another attempt may follow"


async def test_the_time_of_a_failure_counts_from_the_newest_one(system: FakeSystem) -> None:
    clock = ManualClock()

    def end(state: tr.JobState.ValueType) -> None:
        clock.advance(FAILED_FOR_SECONDS)
        system.training.jobs["lightgbm"] = tr.Job(state=state)

    end(FAILED)
    steps = Steps(lambda: end(RUNNING), lambda: end(FAILED), lambda: system.serve_models("lightgbm"))
    await wait_until_ready(system.idle_stack(), ("lightgbm",), steps, 1000.0, monotonic=clock.monotonic)
    assert len(steps.lines) == 3


async def test_the_limit_names_what_is_missing_and_the_logs(system: FakeSystem) -> None:
    clock = ManualClock()
    steps = Steps(lambda: clock.advance(60), lambda: clock.advance(0.1))
    says = r"not ready after 60 s: gateway: not ready yet; logs are in .*logs"
    with pytest.raises(StackError, match=says):
        await wait_until_ready(system.idle_stack(), (), steps, 60.0, monotonic=clock.monotonic)
    assert len(steps.lines) == 2


async def test_a_process_that_ends_ends_the_wait_unless_it_is_supervised(
    system: FakeSystem, tmp_path: Path
) -> None:
    async with system.launch(StackOptions(tmp_path)) as stack:
        await stack.kill("forecast")
        with pytest.raises(ChildDeathError, match="forecast ended"):
            await wait_until_ready(stack, (), Steps(), LIMIT_SECONDS)
        system.training.jobs["lightgbm"] = tr.Job(state=RUNNING)
        steps = Steps(lambda: system.serve_models("lightgbm"))
        await wait_until_ready(stack, ("lightgbm",), steps, LIMIT_SECONDS, supervised=True)
        assert len(steps.lines) == 1


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"models": [{"name": "lightgbm", "version": "v000001"}, {"model": "lstm"}]}', {"lightgbm"}),
        (b'{"models": []}', set()),
        (b"[]", set()),
        (b"<html>", set()),
    ],
)
async def test_served_models_have_a_version(system: FakeSystem, body: bytes, models: set[str]) -> None:
    system.gateway.by_path["/forecasts/models"] = (200, body)
    assert await served_models(system.idle_stack()) == models
