"""The stack's parts: layout, ports, children, the guardian, the choice of the upstream."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from coincast_sandbox.testing import running_sandbox
from coincast_stack.environment import Ports
from coincast_stack.errors import ChildDeathError, SetupError
from coincast_stack.layout import build_layout, inherited, redis_config
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.processes.child import Child, Command
from coincast_stack.processes.reaper_client import ReaperClient
from coincast_stack.upstream.choice import check_folder, coingecko_answers, folder_coins

PORTS = Ports(*range(20001, 20001 + len(fields(Ports))))
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return status != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_each_service_hears_of_the_others(tmp_path: Path) -> None:
    layout = build_layout(StackOptions(tmp_path), Upstream.SANDBOX, PORTS)
    market = layout.services["market"].environment
    assert market["MARKET_UPSTREAM"] == "sandbox"
    assert market["MARKET_UPSTREAM_URL"] == f"http://127.0.0.1:{PORTS.sandbox}/api/v3"
    for name in ("training", "forecast", "gateway"):
        environment = layout.services[name].environment
        assert environment[f"{name.upper()}_MARKET_TARGET"] == f"127.0.0.1:{PORTS.market}"
        assert all(key.startswith(f"{name.upper()}_") for key in environment)
        assert environment[f"{name.upper()}_REDIS_URL"] == layout.redis_url
    training, forecast = layout.services["training"].environment, layout.services["forecast"].environment
    assert training["TRAINING_ARTIFACTS_DIR"] == forecast["FORECAST_ARTIFACTS_DIR"]


def test_sandbox_state_stands_apart_from_coingeckos(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "daily", tmp_path / "b" / "daily"
    for folder in (one, other):
        folder.mkdir(parents=True)
        (folder / "bitcoin.csv").touch()
    var = tmp_path / "var"
    states = [build_layout(StackOptions(var), Upstream.COINGECKO, PORTS).state_dir]
    states += [
        build_layout(StackOptions(var, data=d), Upstream.SANDBOX, PORTS).state_dir for d in (None, one, other)
    ]
    assert states[0] == var
    assert len(set(states)) == 4


def test_coingecko_runs_start_no_sandbox_and_a_given_redis_no_server(tmp_path: Path) -> None:
    options = StackOptions(tmp_path, redis_url="redis://127.0.0.1:1/0")
    layout = build_layout(options, Upstream.COINGECKO, PORTS)
    assert (layout.sandbox, layout.redis) == (None, None)
    assert "MARKET_UPSTREAM_URL" not in layout.services["market"].environment


def test_the_embedded_redis_takes_a_password_from_a_private_file(tmp_path: Path) -> None:
    layout = build_layout(StackOptions(tmp_path), Upstream.SANDBOX, PORTS, redis_password="s3cret")
    assert layout.redis is not None
    assert layout.redis_url == f"redis://:s3cret@127.0.0.1:{PORTS.redis}/0"
    assert not any("s3cret" in argument for argument in layout.redis.arguments)
    assert "requirepass s3cret\n" in redis_config(layout)
    assert "bind 127.0.0.1\n" in redis_config(layout)


def test_the_key_and_the_admin_token_reach_their_service_alone(tmp_path: Path) -> None:
    options = StackOptions(tmp_path, coingecko_api_key="CG-1", admin_token="t0ken")
    services = build_layout(options, Upstream.COINGECKO, PORTS).services
    assert services["market"].environment["MARKET_API_KEY"] == "CG-1"
    assert services["market"].environment["MARKET_PLAN"] == "auto", "else the key would never be used"
    assert services["gateway"].environment["GATEWAY_ADMIN_TOKEN"] == "t0ken"
    others = [services[name].environment for name in ("training", "forecast")]
    assert not any({"CG-1", "t0ken"} & set(environment.values()) for environment in others)
    sandbox = build_layout(options, Upstream.SANDBOX, PORTS).services["market"].environment
    assert sandbox["MARKET_API_KEY"] == "sandbox"


def test_settings_of_a_service_reach_that_service_alone() -> None:
    found = inherited(
        {"PATH": "/bin", "MARKET_API_KEY": "secret", "COINGECKO_API_KEY": "k", "GATEWAY_PORT": "1"}
    )
    assert found == {"PATH": "/bin"}


def test_folders_are_checked_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no such folder"):
        check_folder(StackOptions(tmp_path, data=tmp_path / "missing"))
    with pytest.raises(SetupError, match="no candle files"):
        check_folder(StackOptions(tmp_path, data=tmp_path))
    (tmp_path / "bitcoin.csv").touch()
    with pytest.raises(SetupError, match=r"no candles of doge in .* it has bitcoin"):
        check_folder(StackOptions(tmp_path, data=tmp_path, coins=("doge",)))


@pytest.mark.parametrize(
    ("name", "coin"),
    [
        ("bitcoin.csv", "bitcoin"),
        ("bitcoin.parquet", "bitcoin"),
        ("Bitcoin.csv", "bitcoin"),
        ("BTC_USDT-1d.feather", "bitcoin"),
        ("ETH_USDT-1d.json", "ethereum"),
        ("Binance_ADAUSDT_d.csv", "cardano"),
        ("btc-usd-max.csv", "bitcoin"),
        ("SOL-USD.csv", "solana"),
        ("notes.txt", None),
    ],
)
def test_a_folder_of_any_candle_files_is_one_of_their_coins(
    tmp_path: Path, name: str, coin: str | None
) -> None:
    (tmp_path / name).touch()
    assert folder_coins(StackOptions(tmp_path, data=tmp_path)) == (() if coin is None else (coin,))


@pytest.mark.slow
async def test_the_sandbox_never_passes_for_coingecko() -> None:
    with running_sandbox() as sandbox:
        assert not await coingecko_answers(sandbox.base_url + "/ping")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with asyncio.timeout(30):  # it never answers
            assert not await coingecko_answers(f"http://127.0.0.1:{silent.getsockname()[1]}/ping")


async def first_number(child: Child) -> int:
    for _ in range(500):
        if lines := child.last_lines():
            return int(lines[0])
        await asyncio.sleep(0.02)
    raise AssertionError("the child never printed its number")


async def test_a_stubborn_child_ends_with_all_that_it_started(tmp_path: Path) -> None:
    reaper = ReaperClient()
    child = await Child.start(Command("x", [sys.executable, "-c", STUBBORN]), tmp_path, reaper, os.environ)
    grandchild = await first_number(child)
    await child.stop(0.3)
    assert gone_within(child.pid, 2)
    assert gone_within(grandchild, 2)
    reaper.close()


async def test_last_lines_come_from_the_end_of_the_log(tmp_path: Path) -> None:
    reaper = ReaperClient()
    script = "for i in range(50_000): print('line', i)\nraise SystemExit(3)"
    child = await Child.start(Command("x", [sys.executable, "-c", script]), tmp_path, reaper, os.environ)
    assert await child.wait() == 3
    lines = child.last_lines()
    assert (len(lines), lines[-1]) == (15, "line 49999")
    reported = str(ChildDeathError("x", 3, lines))
    assert "x ended with exit code 3" in reported
    assert "line 49999" in reported
    reaper.close()


@pytest.mark.slow
def test_the_guardian_ends_what_a_killed_parent_leaves(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, sys, time
from pathlib import Path
from coincast_stack.processes.child import Child, Command
from coincast_stack.processes.reaper_client import ReaperClient

async def main():
    reaper = ReaperClient()
    command = Command("x", [sys.executable, "-c", {STUBBORN!r}])
    child = await Child.start(command, Path({str(tmp_path)!r}), reaper, os.environ)
    while not child.last_lines():
        await asyncio.sleep(0.02)
    print(child.pid, child.last_lines()[0], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert all(alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
    assert all(gone_within(pid, 8) for pid in pids)
