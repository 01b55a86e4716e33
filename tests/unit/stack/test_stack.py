"""The processes of a stack: started in order, described for others, restarted, and all ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from coincast_stack import stack as module
from coincast_stack.environment import SERVICES
from coincast_stack.errors import ChildDeathError, SetupError, StackError
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.stack import describe, running_layout, running_stack
from coincast_stack.state_file import read_state_file
from tests.unit.stack.fake_system import FakeSystem, fake_system, planned_system

NO_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[FakeSystem]:
    async with fake_system(tmp_path / "state") as running:
        yield running


async def test_every_process_runs_in_the_block_and_none_after_it(system: FakeSystem, tmp_path: Path) -> None:
    async with system.launch(StackOptions(tmp_path)) as stack:
        assert set(stack.children) == {"redis", "sandbox", *SERVICES}
        pids = [child.pid for child in stack.children.values()]
        assert all(psutil.pid_exists(pid) for pid in pids)
        stack.raise_if_dead()
        assert {log.stem for log in stack.log_dir.glob("*.log")} == set(stack.children)
        assert read_state_file(tmp_path) == describe(stack)
        assert stack.gateway_url == f"http://127.0.0.1:{system.layout.ports.gateway}"
        assert stack.metrics_url("market").endswith(f":{system.layout.ports.market_metrics}/metrics")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    stack.raise_if_dead()
    assert read_state_file(tmp_path) is None


async def test_a_service_is_stopped_before_those_that_it_calls(system: FakeSystem, tmp_path: Path) -> None:
    order = tmp_path / "order"
    for name in ("redis", "sandbox", *SERVICES):
        noting = f"trap 'echo {name} >> {order}; kill $!; exit' TERM; sleep 60 & echo started; wait"
        system.run_instead(name, ["sh", "-c", noting])
    async with system.launch(StackOptions(tmp_path)) as stack:
        while not all(child.last_lines() for child in stack.children.values()):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)
    gateway, *services, last, before_last = order.read_text().split()
    assert gateway == "gateway"
    assert set(services) == {"forecast", "training", "market"}
    assert {last, before_last} == {"redis", "sandbox"}


async def test_the_password_of_redis_is_in_a_file_of_the_user(system: FakeSystem, tmp_path: Path) -> None:
    async with system.launch(StackOptions(tmp_path)) as stack:
        config = stack.layout.state_dir / "redis" / "valkey.conf"
        assert "requirepass s3cret\n" in config.read_text()
        assert config.stat().st_mode & 0o777 == 0o600


async def test_a_process_is_killed_noticed_and_restarted(system: FakeSystem, tmp_path: Path) -> None:
    async with system.launch(StackOptions(tmp_path)) as stack:
        pid = stack.children["forecast"].pid
        await stack.kill("forecast")
        with pytest.raises(ChildDeathError, match=f"forecast ended with exit code -{signal.SIGKILL:d}"):
            stack.raise_if_dead()
        await stack.restart("forecast")
        assert stack.children["forecast"].pid != pid
        stack.raise_if_dead()
        running = stack.children["market"].pid
        await stack.restart("market")
        assert not psutil.pid_exists(running)


async def test_a_service_that_refuses_its_settings_ends_the_start(system: FakeSystem, tmp_path: Path) -> None:
    system.run_instead("gateway", ["sh", "-c", "echo Setting GATEWAY_X: wrong.; exit 2"])
    # Market-data does not listen yet, so the others wait for it.
    ports = replace(system.layout.ports, market=system.layout.ports.market_metrics)
    system.layout = replace(system.layout, ports=ports)
    with pytest.raises(ChildDeathError) as caught:
        async with system.launch(StackOptions(tmp_path)):
            pass
    assert (caught.value.exit_code, str(caught.value)) == (2, "Setting GATEWAY_X: wrong.")
    logs = {log.stem for log in (system.layout.state_dir / "logs").glob("*.log")}
    assert logs == {"redis", "sandbox", "market", "gateway"}, "no other service is started"
    assert read_state_file(tmp_path) is None


async def test_the_others_do_not_wait_for_a_silent_market_for_long(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_START_SECONDS", 0.01)
    ports = replace(system.layout.ports, market=system.layout.ports.market_metrics)
    system.layout = replace(system.layout, ports=ports)
    async with system.launch(StackOptions(tmp_path)) as stack:
        assert set(SERVICES) <= set(stack.children)


async def test_a_redis_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    system = planned_system(tmp_path / "state")
    system.run_instead("redis", ["sh", "-c", "echo out of memory; exit 3"])
    with pytest.raises(ChildDeathError, match="redis ended with exit code 3") as caught:
        async with running_layout(system.layout, tmp_path):
            pass
    assert caught.value.last_lines == ["out of memory"]


async def test_a_redis_that_never_answers_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.01)
    layout = planned_system(tmp_path / "state").layout
    with pytest.raises(StackError, match=r"redis did not answer within 0 s; its log is .*redis\.log"):
        async with running_layout(layout, tmp_path):
            pass


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (NO_REDIS, "the Redis of REDIS_URL does not answer"),
        ("localhost:6379", "REDIS_URL is malformed; write it like"),
    ],
)
async def test_a_given_redis_has_to_answer(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(SetupError, match=says):
        async with running_stack(StackOptions(tmp_path, redis_url=url)):
            pass
    assert not list((tmp_path / "sandbox" / "simulated" / "logs").iterdir()), "nothing was started"


async def test_a_given_redis_that_answers_replaces_the_embedded_one(
    system: FakeSystem, tmp_path: Path
) -> None:
    system.use_coingecko()
    system.layout = replace(system.layout, redis=None)
    async with system.launch(StackOptions(tmp_path)) as stack:
        assert set(stack.children) == set(SERVICES)
        assert stack.sandbox_url is None
    assert not (system.layout.state_dir / "redis" / "valkey.conf").exists()


async def test_a_port_in_use_is_named(system: FakeSystem, tmp_path: Path) -> None:
    options = StackOptions(tmp_path / "other", Upstream.COINGECKO, port=system.layout.ports.gateway)
    with pytest.raises(SetupError, match=f"port {options.port} cannot be used"):
        async with running_stack(options):
            pass
    assert not options.var_dir.exists()


async def test_a_second_stack_is_refused_and_leaves_the_logs_of_the_first(
    system: FakeSystem, tmp_path: Path
) -> None:
    async with system.launch(StackOptions(tmp_path)) as stack:
        stack.children["market"].log_file.write_text("first\n")
        with pytest.raises(SetupError, match="another stack runs on"):
            async with system.launch(StackOptions(tmp_path)):
                pass
        assert stack.children["market"].last_lines() == ["first"]
        assert read_state_file(tmp_path) == describe(stack)


async def test_the_logs_of_the_previous_run_are_kept(system: FakeSystem, tmp_path: Path) -> None:
    logs = system.layout.state_dir / "logs"
    logs.mkdir(parents=True)
    (logs / "market.log").write_text("previous\n")
    async with system.launch(StackOptions(tmp_path)):
        assert (logs / "market.log.old").read_text() == "previous\n"
        assert (logs / "market.log").read_text() == ""


@pytest.mark.parametrize("blocked", ["logs", ".lock", "redis/valkey.conf"])
async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, blocked: str) -> None:
    layout = planned_system(tmp_path / "state").layout
    path = layout.state_dir / blocked
    path.parent.mkdir(parents=True)
    if blocked == "logs":
        path.touch()
    else:
        path.mkdir()
    with pytest.raises(SetupError, match=r"cannot write in .*state: .*; set VAR_DIR= to another folder"):
        async with running_layout(layout, tmp_path):
            pass


async def test_a_failing_block_ends_the_processes(system: FakeSystem, tmp_path: Path) -> None:
    pids: list[int] = []
    with pytest.raises(LookupError):
        async with system.launch(StackOptions(tmp_path)) as stack:
            pids += [child.pid for child in stack.children.values()]
            raise LookupError
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
