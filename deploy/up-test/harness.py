"""Tools of the up-test: docker, compose, HTTP requests and waiting. Only the standard library is used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "coincast-up-test"
PROFILES = ("offline", "alerting", "tracing")


class Failed(Exception):  # noqa: N818 - reads well where it is raised
    """An expectation does not hold."""


class Docker:
    """Runs the commands docker and compose.

    Args:
        host: The DOCKER_HOST; None for the default engine.
        ports: The ports of the gateway and of Grafana.
    """

    def __init__(self, host: str | None, ports: tuple[int, int]) -> None:
        self.environment = {
            **os.environ,
            "PORT": str(ports[0]),
            "GRAFANA_PORT": str(ports[1]),
            "DOCKER_BUILDKIT": "1",
            # Only lightgbm: the training of the ensemble would slow the timed steps.
            "BOOTSTRAP_MODELS": "lightgbm",
            **({"DOCKER_HOST": host} if host else {}),
        }
        self.docker = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else str(shutil.which("docker"))
        beside = Path(sys.executable).parent / "docker-compose"
        self.compose_command = [str(beside)] if beside.exists() else [self.docker, "compose"]

    def run(self, *arguments: str, timeout_seconds: float = 600) -> str:
        """Run docker and return its output."""
        return self._run([self.docker, *arguments], timeout_seconds)

    def code(self, *arguments: str, timeout_seconds: float = 60) -> int:
        """Run docker and return its exit code."""
        done = subprocess.run(
            [self.docker, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
        return done.returncode

    def compose(self, *arguments: str, timeout_seconds: float = 600) -> str:
        """Run compose on this test's project and return its output."""
        return self._run([*self._base(), *arguments], timeout_seconds)

    def compose_bytes(self, *arguments: str, given: bytes = b"") -> tuple[int, bytes]:
        """Run compose with bytes as input; return the exit code, and stdout or, if it is empty, stderr."""
        done = subprocess.run(
            [*self._base(), *arguments],
            cwd=ROOT,
            env=self.environment,
            input=given,
            capture_output=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout or done.stderr

    def _base(self) -> list[str]:
        profiles = [word for name in PROFILES for word in ("--profile", name)]
        return [*self.compose_command, *profiles, "-p", PROJECT, "-f", str(ROOT / "docker-compose.yml")]

    def _run(self, command: list[str], timeout_seconds: float) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode:
            output = done.stderr[-2000:]
            raise Failed(f"{' '.join(command[-8:])} ended with {done.returncode}:\n{output}")
        return done.stdout


def say(text: str) -> None:
    """Print one line of the report."""
    sys.stdout.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stdout.flush()


def get(url: str) -> tuple[int, str]:
    """Return the status and the body of a GET; status 0 if the server does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def post(url: str, body: dict[str, object], key: str) -> tuple[int, str]:
    """Send a JSON body with an API key, and return the status and the body of the reply."""
    headers = {"content-type": "application/json", "x-api-key": key}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(what: str, check: Callable[[], object], seconds: float) -> float:
    """Wait until `check` returns a true value, and print how long it took.

    Args:
        what: What is waited for, for the report.
        check: Called once a second.
        seconds: The longest wait.

    Returns:
        The seconds that it took.

    Raises:
        Failed: It took longer than `seconds`.
    """
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if check():
            took = time.monotonic() - began
            say(f"{what}: after {took:.1f} s (limit {seconds:.0f})")
            return took
        time.sleep(1)
    raise Failed(f"{what}: not within {seconds:.0f} s")
