"""Proof that the compose file runs: build, up, ask, scale, kill each container, down. Prints what it sees.

    python deploy/up-test/up_test.py                     # with the Docker engine that is there
    python deploy/up-test/up_test.py --engine FOLDER     # starts one of its own, with stand-ins (engine.sh)

Needs Docker and a `docker compose` (or docker-compose) of version 2. Runs as a project of its own, on the
sandbox, on ports of its own; takes everything down at the end, volumes included. Standard library only.
"""

import argparse
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
IMAGES = {
    "gateway": "gateway",
    "market-data": "market-data-svc",
    "forecast": "forecast-svc",
    "training": "training-svc",
    "sandbox": "libs/sandbox",
}
COINS = ("bitcoin", "ethereum", "solana", "cardano", "litecoin", "dogecoin", "chainlink")
KILLED = ("forecast", "market-data", "training", "redis", "gateway", "prometheus", "grafana", "sandbox")


class Failed(Exception):  # noqa: N818 - it says what happened
    """What was promised does not hold."""


class Docker:
    """The two commands: docker and compose."""

    def __init__(self, host: str | None, ports: tuple[int, int]) -> None:
        self.environment = {
            **os.environ,
            "PORT": str(ports[0]),
            "GRAFANA_PORT": str(ports[1]),
            "DOCKER_BUILDKIT": "1",
            **({"DOCKER_HOST": host} if host else {}),
        }
        self.docker = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else str(shutil.which("docker"))
        beside = Path(sys.executable).parent / "docker-compose"
        self.compose_command = [str(beside)] if beside.exists() else [self.docker, "compose"]

    def run(self, *arguments: str, timeout_seconds: float = 600) -> str:
        """Run docker; its output."""
        return self._run([self.docker, *arguments], timeout_seconds)

    def compose(self, *arguments: str, timeout_seconds: float = 600) -> str:
        """Run compose on this test's project; its output."""
        base = [
            "--env-file",
            str(ROOT / "deploy/compose/offline.env"),
            "-p",
            PROJECT,
            "-f",
            str(ROOT / "docker-compose.yml"),
        ]
        return self._run([*self.compose_command, *base, *arguments], timeout_seconds)

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
            raise Failed(f"{' '.join(command[:6])} ... ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout


def say(text: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stdout.flush()


def get(url: str) -> tuple[int, str]:
    """Status and body; 0 where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def wait_for(what: str, check: Callable[[], object], seconds: float) -> float:
    """Seconds until `check` gives something true; Failed where it does not in time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if check():
            took = time.monotonic() - began
            say(f"{what}: after {took:.1f} s (limit {seconds:.0f})")
            return took
        time.sleep(1)
    raise Failed(f"{what}: not within {seconds:.0f} s")


class UpTest:
    """The steps, in order."""

    def __init__(self, docker: Docker, *, host_network_build: bool) -> None:
        self.docker = docker
        self.network = ["--network", "host"] if host_network_build else []
        self.url = f"http://127.0.0.1:{docker.environment['PORT']}"

    def build(self) -> None:
        """Every image, and its size."""
        for name, folder in IMAGES.items():
            began = time.monotonic()
            tag = f"coincast/{name}:{self.docker.environment.get('COINCAST_VERSION', 'latest')}"
            self.docker.run(
                "build",
                *self.network,
                "-q",
                "-t",
                tag,
                "-f",
                f"{folder}/Dockerfile",
                ".",
                timeout_seconds=3600,
            )
            size = int(self.docker.run("image", "inspect", "-f", "{{.Size}}", tag)) / 1e6
            say(f"built {tag}: {size:.0f} MB in {time.monotonic() - began:.0f} s")

    def up(self) -> None:
        """All healthy, then a forecast from a trained model."""
        began = time.monotonic()
        self.docker.compose("up", "-d", "--no-build", "--pull", "never", "--wait", "--wait-timeout", "300")
        say(f"up: every container healthy after {time.monotonic() - began:.0f} s")
        password = "password" in self.docker.compose("logs", "secrets")
        say(f"Grafana's password is told once: {password}")

    def answers(self) -> None:
        """Health, prices, a forecast by the trained model, on the sandbox and saying so."""
        wait_for("GET /health/ready answers 200", lambda: get(f"{self.url}/health/ready")[0] == 200, 300)
        wait_for(
            "prices", lambda: "bitcoin" in get(f"{self.url}/prices?ids=bitcoin&vs_currencies=usd")[1], 60
        )
        wait_for("first forecast by the trained model", self.trained_forecast, 600)
        if '"sandbox"' not in get(f"{self.url}/forecasts?ids=bitcoin&days=7")[1]:
            raise Failed("a reply on sandbox data does not say so")

    def trained_forecast(self) -> bool:
        """Whether lightgbm itself serves."""
        status, body = get(f"{self.url}/forecasts?ids=bitcoin&days=7&model=lightgbm")
        found = json.loads(body).get("forecasts", []) if status == 200 else []
        return bool(found) and found[0]["served_by"] == "lightgbm" and not found[0]["degraded"]

    def hardened(self) -> None:
        """Nobody is root, root is read-only, nothing is published but two ports."""
        for identifier in self.docker.compose("ps", "-q").split():
            told = json.loads(self.docker.run("inspect", identifier))[0]
            host, name = told["HostConfig"], told["Name"]
            wrong = [
                what
                for what, bad in {
                    "root user": told["Config"]["User"].split(":")[0] in ("", "0", "root"),
                    "writable root": not host["ReadonlyRootfs"],
                    "capabilities": host["CapDrop"] != ["ALL"],
                    "no memory limit": not host["Memory"],
                    "no pids limit": not host["PidsLimit"],
                    "new privileges": "no-new-privileges:true" not in (host["SecurityOpt"] or []),
                }.items()
                if bad
            ]
            if wrong:
                raise Failed(f"{name}: {', '.join(wrong)}")
        say("every container: non-root, read-only, no capabilities, limits on memory and pids")

    def targets(self) -> int:
        """Services whose replicas Prometheus reads."""
        asked = "http://127.0.0.1:9090/api/v1/query?query=sum(up%7Bservice!%3D%22%22%7D)"
        text = self.docker.compose("exec", "-T", "prometheus", "wget", "-qO-", asked)
        found = json.loads(text)["data"]["result"]
        return int(float(found[0]["value"][1])) if found else 0

    def observed(self) -> None:
        """Prometheus finds and reads every service."""
        wait_for("Prometheus reads all 5 targets", lambda: self.targets() == 5, 90)

    def served_calls(self, identifier: str) -> float:
        """Calls that one replica of forecast has answered."""
        code = (
            "import urllib.request as u;print(sum(float(l.split()[-1]) for l in u.urlopen('http://127.0.0.1:9102/metrics')"
            ".read().decode().splitlines() if l.startswith('coincast_grpc_server_calls_total')))"
        )
        return float(self.docker.run("exec", identifier, "python", "-c", code))

    def scale(self) -> None:
        """Three replicas of forecast, each with traffic within 30 s of their health."""
        self.docker.compose(
            "up", "-d", "--no-build", "--no-recreate", "--wait", "--scale", "forecast=3", "forecast"
        )
        replicas = self.docker.compose("ps", "-q", "forecast").split()
        before = {replica: self.served_calls(replica) for replica in replicas}
        number = 0

        def all_busy() -> bool:
            nonlocal number
            for _ in range(30):
                number += 1
                coin, days = COINS[number % len(COINS)], 1 + number % 30
                get(f"{self.url}/forecasts?ids={coin}&days={days}&model=lightgbm")
            return all(self.served_calls(replica) > before[replica] + 3 for replica in replicas)

        wait_for(f"{len(replicas)} replicas of forecast all take traffic", all_busy, 30)

    def survives(self) -> None:
        """Each container is killed and comes back; prices and forecasts answer again."""
        for name in KILLED:
            identifier = self.docker.compose("ps", "-q", name).split()[0]
            before = self.docker.run("inspect", "-f", "{{.State.StartedAt}}", identifier)
            self._kill(identifier)
            wait_for(
                f"{name} killed, running and healthy again",
                lambda i=identifier, b=before: self.back(i, b),
                120,
            )
        wait_for("prices and forecasts answer", self.all_answer, 90)

    def _kill(self, identifier: str) -> None:
        """End the main process as a crash would: docker's own kill would count as a wish."""
        pid = self.docker.run("inspect", "-f", "{{.State.Pid}}", identifier).strip()
        try:
            os.kill(int(pid), 9)
        except (ProcessLookupError, PermissionError):
            self.docker.run("restart", "-t", "0", identifier)

    def back(self, identifier: str, before: str) -> bool:
        """Whether a container runs again since then, and is well where it says."""
        told = json.loads(self.docker.run("inspect", identifier))[0]["State"]
        return (
            told["Running"]
            and told["StartedAt"] != before.strip()
            and told.get("Health", {}).get("Status", "healthy") == "healthy"
        )

    def all_answer(self) -> bool:
        """Whether both work."""
        return get(f"{self.url}/prices?ids=bitcoin&vs_currencies=usd")[0] == 200 and self.trained_forecast()

    def down(self) -> None:
        """Nothing is left."""
        self.docker.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "-t", "10")
        say("down")


def main(arguments: list[str]) -> int:
    """0 where all holds; 1 with the reason and the last logs where not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, help="start an engine of its own in this folder")
    parser.add_argument("--no-build", action="store_true", help="take the images that are there")
    parser.add_argument(
        "--host-network", action="store_true", help="build over the host's network (its resolver)"
    )
    parser.add_argument("--ports", default="18000,13000", help="ports of gateway and Grafana")
    options = parser.parse_args(arguments)
    host = None
    engine = str(ROOT / "deploy/up-test/engine.sh")
    if options.engine:
        host = subprocess.run(
            [engine, "start", options.engine], check=True, text=True, stdout=subprocess.PIPE
        ).stdout.split()[-1]
    gateway, grafana = (int(port) for port in options.ports.split(","))
    test = UpTest(
        Docker(host, (gateway, grafana)), host_network_build=options.host_network or bool(options.engine)
    )
    try:
        if not options.no_build:
            test.build()
        for step in (test.up, test.answers, test.hardened, test.observed, test.scale, test.survives):
            step()
    except Failed as failure:
        say(f"FAILED: {failure}")
        logs = test.docker.compose("logs", "--tail", "8", "--no-color")
        say("\n".join(line for line in logs.splitlines() if "password" not in line)[-8000:])
        return 1
    finally:
        test.down()
        if options.engine:
            subprocess.run([engine, "stop", options.engine], check=False)
    say("all holds")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
