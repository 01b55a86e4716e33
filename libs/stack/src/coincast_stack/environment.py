"""Environment variables of each service: addresses, folders and the caller's own settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coincast_stack.options import StackOptions, Upstream
from coincast_stack.processes.child import Command
from coincast_stack.upstream.choice import folder_coins

SERVICES = ("market", "training", "forecast", "gateway")
MODULES = {"market": "market_data"}
DRAIN_SECONDS = "1"


@dataclass(frozen=True, slots=True)
class Ports:
    """One port for each listening socket."""

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
class Environment:
    """The values from which the variables of all services are made."""

    options: StackOptions
    upstream: Upstream
    state_dir: Path
    ports: Ports
    redis_url: str

    def target(self, service: str) -> str:
        """Return a service's gRPC address."""
        return f"127.0.0.1:{getattr(self.ports, service)}"


def service_commands(wiring: Environment) -> dict[str, Command]:
    """Return the commands of the services by name.

    The caller's own settings are passed on and override the defaults of the stack, except for addresses and
    folders.
    """
    suggested = {
        "market": _market_suggested(wiring),
        "training": _training_suggested(wiring),
        "gateway": _gateway_suggested(wiring),
    }
    fixed = {
        "market": _market(wiring),
        "training": _training(wiring),
        "forecast": _forecast(wiring),
        "gateway": {f"{name.upper()}_TARGET": wiring.target(name) for name in SERVICES if name != "gateway"},
    }
    commands = {}
    for name in SERVICES:
        prefix = f"{name.upper()}_"
        environment = _prefixed(prefix, suggested.get(name, {})) | own_settings(prefix)
        environment |= _prefixed(prefix, _common(wiring, name) | fixed[name])
        environment |= {k: v for k, v in wiring.options.extra_environment.items() if k.startswith(prefix)}
        module = f"coincast_{MODULES.get(name, name)}"
        commands[name] = Command(name, [sys.executable, "-m", module], environment)
    return commands


def own_settings(prefix: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of the caller's environment that start with a prefix."""
    return {k: v for k, v in environment.items() if k.startswith(prefix)}


def _prefixed(prefix: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {prefix + name: value for name, value in settings.items()}


def _common(wiring: Environment, name: str) -> dict[str, str]:
    return {
        "HOST": "127.0.0.1",
        "PORT": str(getattr(wiring.ports, name)),
        "METRICS_PORT": str(getattr(wiring.ports, f"{name}_metrics")),
        "REDIS_URL": wiring.redis_url,
        "DRAIN_SECONDS": DRAIN_SECONDS,
    }


def _replayed_coins(wiring: Environment) -> str:
    """Return the coins of a replayed folder, comma-separated; empty without one."""
    return ",".join(folder_coins(wiring.options)) if wiring.upstream == Upstream.SANDBOX else ""


def _market_suggested(wiring: Environment) -> dict[str, str]:
    if wiring.upstream == Upstream.COINGECKO:
        key = wiring.options.coingecko_api_key
        return {"API_KEY": key, "PLAN": "auto"} if key else {}
    coins = _replayed_coins(wiring)
    limits = {"PER_MINUTE_LIMIT": "6000", "PER_MONTH_LIMIT": "0"}
    return limits | ({"WARM_IDS": coins} if coins else {})


def _market(wiring: Environment) -> dict[str, str]:
    settings = {"UPSTREAM": str(wiring.upstream), "ARCHIVE_DIR": str(wiring.state_dir / "archive")}
    if wiring.upstream == Upstream.COINGECKO:
        return settings
    url = f"http://127.0.0.1:{wiring.ports.sandbox}/api/v3"
    return settings | {"UPSTREAM_URL": url, "PLAN": "pro", "API_KEY": "sandbox"}


def _gateway_suggested(wiring: Environment) -> dict[str, str]:
    token = wiring.options.admin_token
    return {"ADMIN_TOKEN": token} if token else {}


def _training_suggested(wiring: Environment) -> dict[str, str]:
    coins = _replayed_coins(wiring)
    return {"COINS": coins} if coins else {}


def _training(wiring: Environment) -> dict[str, str]:
    models = (*wiring.options.train, *wiring.options.later)
    settings = {
        "MARKET_TARGET": wiring.target("market"),
        "ARTIFACTS_DIR": str(wiring.state_dir / "artifacts"),
        "LEDGER_DIR": str(wiring.state_dir / "ledger"),
        "WORK_DIR": str(wiring.state_dir / "training"),
        "BOOTSTRAP": "true" if models else "false",
    }
    return settings | ({"BOOTSTRAP_MODELS": ",".join(models)} if models else {})


def _forecast(wiring: Environment) -> dict[str, str]:
    return {
        "MARKET_TARGET": wiring.target("market"),
        "ARTIFACTS_DIR": str(wiring.state_dir / "artifacts"),
        "SPOOL_DIR": str(wiring.state_dir / "spool"),
        "REPLICA": "local",
    }
