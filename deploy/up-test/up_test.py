"""Proof that the compose file runs: build, up, ask, scale, kill each container, down. Prints what it sees.

    python deploy/up-test/up_test.py                     # with the Docker engine that is there
    python deploy/up-test/up_test.py --engine FOLDER     # starts one of its own, with stand-ins (engine.sh)

Needs Docker and a `docker compose` (or docker-compose) of version 2. Runs as a project of its own, on the
sandbox, on ports of its own; takes everything down at the end, volumes included. Standard library only.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import ROOT, Docker, Failed, get, post, say, wait_for

IMAGES = {
    "gateway": "gateway",
    "market-data": "market-data-svc",
    "forecast": "forecast-svc",
    "training": "training-svc",
    "sandbox": "libs/sandbox",
}
COINS = ("bitcoin", "ethereum", "solana", "cardano", "litecoin", "dogecoin", "chainlink")
KILLED = ("forecast", "market-data", "training", "redis", "gateway", "prometheus", "grafana", "sandbox")
SCALE_SECONDS = 30


class UpTest:
    """The steps, in order."""

    def __init__(self, docker: Docker, *, host_network_build: bool) -> None:
        self.docker = docker
        self.network = ["--network", "host"] if host_network_build else []
        self.url = f"http://127.0.0.1:{docker.environment['PORT']}"

    def steps(self, *, quick: bool) -> list[Callable[[], None]]:
        """All of them, or those that a change must pass."""
        first = [self.up, self.answers, self.hardened, self.observed, self.scale]
        return first if quick else [*first, self.kept, self.rolled_back, self.upgraded, self.survives]

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
        """Prometheus finds and reads every service, and has Alertmanager to tell."""
        wait_for("Prometheus reads all 5 targets", lambda: self.targets() == 5, 90)
        asked = "http://127.0.0.1:9090/api/v1/alertmanagers"

        def found() -> list[object]:
            text = self.docker.compose("exec", "-T", "prometheus", "wget", "-qO-", asked)
            return list(json.loads(text)["data"]["activeAlertmanagers"])

        wait_for("Prometheus has found Alertmanager", found, 90)

    def served_calls(self, identifier: str) -> float:
        """Calls that one replica of forecast has answered; 0 while it does not answer."""
        code = (
            "import urllib.request as u;print(sum(float(l.split()[-1]) for l in u.urlopen('http://127.0.0.1:9102/metrics')"
            ".read().decode().splitlines() if l.startswith('coincast_grpc_server_calls_total')))"
        )
        try:
            return float(self.docker.run("exec", identifier, "python", "-c", code))
        except Failed:
            return 0.0

    def scale(self) -> None:
        """Three replicas of forecast, each with traffic within 30 s of the command."""
        held = set(self.docker.compose("ps", "-q", "forecast").split())
        before = {replica: self.served_calls(replica) for replica in held}
        began = time.monotonic()
        self.docker.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "forecast=3", "forecast")
        say(f"up --scale forecast=3 returned after {time.monotonic() - began:.1f} s")
        replicas = self.docker.compose("ps", "-q", "forecast").split()
        number = 0

        def all_busy() -> bool:
            nonlocal number
            for _ in range(30):
                number += 1
                coin, days = COINS[number % len(COINS)], 1 + number % 30
                get(f"{self.url}/forecasts?ids={coin}&days={days}&model=lightgbm")
            return all(self.served_calls(replica) > before.get(replica, 0) + 3 for replica in replicas)

        left = SCALE_SECONDS - (time.monotonic() - began)
        wait_for(f"{len(replicas)} replicas of forecast all take traffic", all_busy, left)
        say(f"from the command to traffic on all: {time.monotonic() - began:.1f} s (limit {SCALE_SECONDS})")
        if len(replicas) != 3:
            raise Failed(f"{len(replicas)} replicas of forecast, not 3")

    def kept(self) -> None:
        """Backup while all runs, then a loss of every version, then restore: the same forecast again."""
        code, backup = self.docker.compose_bytes("run", "--rm", "-T", "backup")
        self._must(code == 0 and len(backup) > 10_000, f"backup: {backup[-500:]!r}")
        code, told = self.docker.compose_bytes("run", "--rm", "-T", "backup", "verify", given=backup)
        self._must(code == 0, f"verify: {told!r}")
        forecast = f"{self.url}/forecasts?ids=bitcoin&days=7&model=lightgbm"
        version = json.loads(get(forecast)[1])["forecasts"][0]["version"]
        services = ("market-data", "training", "forecast")
        self.docker.compose("stop", *services)
        wipe = "import shutil; shutil.rmtree('/var/lib/coincast/artifacts/lightgbm')"
        self.docker.compose("run", "--rm", "-T", "--entrypoint", "python", "backup", "-c", wipe)
        restore = ("backup", "restore", "--root", "/var/lib/coincast", "--replace")
        code, told = self.docker.compose_bytes("run", "--rm", "-T", *restore, given=backup)
        self._must(code == 0, f"restore: {told!r}")
        self.docker.compose("start", *services)
        wait_for(f"restored from {len(backup) / 1e6:.1f} MB, forecasts again", self.all_answer, 120)
        self._must(
            json.loads(get(forecast)[1])["forecasts"][0]["version"] == version, "another version serves"
        )

    def rolled_back(self) -> None:
        """A second version is trained and promoted; then production goes back, without a restart."""
        create = ("python", "-m", "coincast_gateway.access", "create", "operator", "--scope", "admin")
        key = self.docker.compose("exec", "-T", "gateway", *create).strip()
        first = self.production()
        asked = {"model": "lightgbm", "ids": list(COINS), "days": 730}
        jobs = f"{self.url}/training/jobs"
        wait_for("the new key is known", lambda: post(jobs, asked, key)[0] in (200, 201, 202), 60)
        wait_for("a second version is trained", lambda: len(self.versions()) > 1, 600)
        newest = max(self.versions())
        move = {"version": newest, "force": True, "reason": "up-test"}
        status, body = post(f"{self.url}/models/lightgbm/promote", move, key)
        self._must(status == 200, f"promote: {status} {body}")
        wait_for(f"forecasts come from {newest}", lambda: self.serving() == newest, 60)
        status, body = post(f"{self.url}/models/lightgbm/rollback", {"reason": "up-test"}, key)
        self._must(status == 200, f"rollback: {status} {body}")
        wait_for(f"rolled back: forecasts come from {first}", lambda: self.serving() == first, 60)

    def upgraded(self) -> None:
        """The code of one service goes to another tag and back; forecasts go on."""
        old = self.docker.environment.get("COINCAST_VERSION", "latest")
        for tag in ("up-test-next", old):
            self.docker.run("tag", f"coincast/forecast:{old}", f"coincast/forecast:{tag}")
            self.docker.run("tag", f"coincast/gateway:{old}", f"coincast/gateway:{tag}")
            self.docker.environment["COINCAST_VERSION"] = tag
            self.docker.compose(
                "up", "-d", "--no-build", "--no-deps", "--pull", "never", "forecast", "gateway"
            )
            wait_for(f"images of {tag}: prices and forecasts answer", self.all_answer, 120)
        self.docker.run("rmi", "coincast/forecast:up-test-next", "coincast/gateway:up-test-next")

    def versions(self) -> list[str]:
        """Versions of lightgbm."""
        status, body = get(f"{self.url}/models?model=lightgbm")
        return [found["version"] for found in json.loads(body)["versions"]] if status == 200 else []

    def production(self) -> str:
        """The version that serves; Failed where none does."""
        self._must(bool(found := self.serving()), "no version serves")
        return found

    def serving(self) -> str:
        """The version that a forecast comes from; empty where it does not come from lightgbm."""
        status, body = get(f"{self.url}/forecasts?ids=solana&days={1 + int(time.time()) % 29}&model=lightgbm")
        found = json.loads(body).get("forecasts", []) if status == 200 else []
        return str(found[0]["version"]) if found and found[0]["served_by"] == "lightgbm" else ""

    @staticmethod
    def _must(holds: bool, otherwise: str) -> None:
        if not holds:
            raise Failed(otherwise)

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
    parser.add_argument(
        "--quick", action="store_true", help="up, ask and scale only: no backup, rollback, kills"
    )
    parser.add_argument("--ports", default="18000,13000", help="ports of gateway and Grafana")
    options = parser.parse_args(arguments)
    host = None
    engine = str(ROOT / "deploy/up-test/engine.sh")
    if options.engine:
        host = subprocess.run(
            [engine, "start", options.engine], check=True, text=True, stdout=subprocess.PIPE
        ).stdout.split()[-1]
    # Ended from outside, too, it takes down what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    gateway, grafana = (int(port) for port in options.ports.split(","))
    test = UpTest(
        Docker(host, (gateway, grafana)), host_network_build=options.host_network or bool(options.engine)
    )
    try:
        if not options.no_build:
            test.build()
        for step in test.steps(quick=options.quick):
            began = time.monotonic()
            step()
            say(f"-- {step.__name__}: {time.monotonic() - began:.0f} s")
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
