"""A stack for tests is controlled with blocking calls, and ends with its block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from coincast_stack import testing
from coincast_stack.errors import StackError
from coincast_stack.options import StackOptions
from coincast_stack.testing import stack_for_tests
from tests.unit.stack.fake_system import FakeSystem, fake_system


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[FakeSystem]:
    async with fake_system(tmp_path / "state") as running:
        yield running


async def test_a_stack_is_controlled_from_another_thread(system: FakeSystem, tmp_path: Path) -> None:
    system.serve_models("lightgbm")

    def use() -> dict[str, int]:
        with stack_for_tests(StackOptions(tmp_path), launch=system.launch) as stack:
            assert stack.gateway_url == f"http://127.0.0.1:{system.layout.ports.gateway}"
            before = stack.pids()
            stack.kill("forecast")
            assert stack.stack.children["forecast"].exit_code is not None
            stack.restart("forecast")
            after = stack.pids()
            assert {name for name in after if after[name] != before[name]} == {"forecast"}
            return after

    pids = await asyncio.to_thread(use)
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


async def test_readiness_is_waited_for_unless_it_is_not_needed(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "READY_SECONDS", 0.0)

    def use(*, ready: bool) -> None:
        with stack_for_tests(StackOptions(tmp_path), ready=ready, launch=system.launch):
            pass

    await asyncio.to_thread(use, ready=False)
    with pytest.raises(StackError, match="not ready after 0 s"):
        await asyncio.to_thread(use, ready=True)
    assert not [each for each in psutil.Process().children() if "sleep" in each.name()]
