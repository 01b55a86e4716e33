"""Test that the compose file works: build, up, request, scale, kill each container, down.

    python deploy/up-test/up_test.py                     # with the running Docker engine
    python deploy/up-test/up_test.py --engine FOLDER     # starts one of its own, with stand-ins (engine.sh)

Prints each step. Needs Docker and `docker compose` (or docker-compose) of version 2. Runs as a separate
project with the sandbox and its own ports, and removes all containers and volumes at the end. Only the
standard library is used.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checks import (
    CRASH,
    DIGEST_VOLUMES,
    EMPTY_VOLUMES,
    calls,
    came_back,
    contents,
    faults,
    missing_places,
    printed_passwords,
    published,
)
from harness import ROOT, Docker, Failed, get, post, say, wait_for

IMAGES = {
    "gateway": "gateway",
    "market-data": "market-data-svc",
    "forecast": "forecast-svc",
    "training": "training-svc",
    "sandbox": "libs/sandbox",
}
COINS = ("bitcoin", "ethereum", "solana", "cardano", "litecoin", "dogecoin", "chainlink")
CURRENCIES = ("usd", "eur", "gbp", "jpy", "chf", "cad", "aud", "cny", "inr", "brl")
KILLED = ("forecast", "market-data", "training", "redis", "gateway", "prometheus", "grafana", "sandbox")
SCALE_SECONDS = 30


class UpTest:
    """The steps of the test, in order.

    Args:
        docker: Runs docker and compose.
        host_network_build: Whether images are built with the host's network.
    """

    def __init__(self, docker: Docker, *, host_network_build: bool) -> None:
        self.docker = docker
        self.network = ["--network", "host"] if host_network_build else []
        self.url = f"http://127.0.0.1:{docker.environment['PORT']}"
        self.requests = 1000

    def steps(self, *, quick: bool) -> list[Callable[[], None]]:
        """Return all steps, or with `quick` the first ones, which every change must pass."""
        first = [self.up, self.answers, self.hardened, self.observed, self.scale]
        return first if quick else [*first, self.kept, self.rolled_back, self.upgraded, self.survives]

    def build(self) -> None:
        """Build every image and print its size."""
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
        """Remove the remains of an interrupted run, start all containers, and wait until they are healthy."""
        self._remove()
        began = time.monotonic()
        self.docker.compose("up", "-d", "--no-build", "--pull", "never", "--wait", "--wait-timeout", "300")
        say(f"up: every container healthy after {time.monotonic() - began:.0f} s")
        self.password_reported_once()

    def password_reported_once(self) -> None:
        """Check that Grafana's password is printed on the first start only; this check does not print it."""
        printed = printed_passwords(self.docker.compose("logs", "--no-color", "secrets"))
        self._must(len(printed) == 1, f"Grafana's password was printed {len(printed)} times")
        run = ("run", "--rm", "--no-deps", "-T")
        read = "print(open('/run/coincast/grafana/admin_password').read())"
        made = self.docker.compose(*run, "--entrypoint", "python", "secrets", "-c", read).strip()
        self._must(made == printed[0], "the printed password is not the one that Grafana reads")
        self._must(
            made not in self.docker.compose(*run, "secrets"), "a later start prints the password again"
        )
        say("Grafana's password: created and printed on the first start, not printed by a second")

    def answers(self) -> None:
        """Check health, prices, a forecast by the trained model, and that it is marked as sandbox data."""
        wait_for("GET /health/ready answers 200", lambda: get(f"{self.url}/health/ready")[0] == 200, 300)
        wait_for(
            "prices", lambda: "bitcoin" in get(f"{self.url}/prices?ids=bitcoin&vs_currencies=usd")[1], 60
        )
        wait_for("first forecast by the trained model", self.trained_forecast, 600)
        if '"sandbox"' not in get(f"{self.url}/forecasts?ids=bitcoin&days=7")[1]:
            raise Failed("a reply on sandbox data does not say so")

    def new_forecast(self) -> dict[str, object]:
        """Return the forecast of a new request, which no cache can answer; empty if it fails."""
        self.requests += 1
        coin, days = COINS[self.requests % len(COINS)], 1 + self.requests % 30
        quantile = f"0.{self.requests // 9:03d}{1 + self.requests % 9}"
        query = f"ids={coin}&days={days}&model=lightgbm&quantiles={quantile}"
        status, body = get(f"{self.url}/forecasts?{query}")
        found = json.loads(body).get("forecasts", []) if status == 200 else []
        return dict(found[0]) if found else {}

    def new_price(self) -> bool:
        """Return whether a new selection of prices, which no cache can answer, is served."""
        self.requests += 1
        others = [coin for bit, coin in enumerate(COINS[1:]) if self.requests >> bit & 1]
        currency = CURRENCIES[self.requests // 64 % len(CURRENCIES)]
        requested = f"ids={','.join(['bitcoin', *others])}&vs_currencies={currency}"
        return get(f"{self.url}/prices?{requested}")[0] == 200

    def trained_forecast(self) -> bool:
        """Return whether lightgbm serves a new forecast, and not a fallback."""
        found = self.new_forecast()
        return bool(found) and found["served_by"] == "lightgbm" and not found["degraded"]

    def hardened(self) -> None:
        """Check the hardening of every container, and that only two ports are published."""
        shown: set[tuple[str, str, str]] = set()
        for identifier in self.docker.compose("ps", "-a", "-q").split():
            reported = self.inspected(identifier)
            if wrong := faults(reported):
                raise Failed(f"{reported['Name']}: {', '.join(wrong)}")
            shown |= published(reported)
        wanted = {("gateway", "PORT"), ("grafana", "GRAFANA_PORT")}
        expected = {(service, "127.0.0.1", self.docker.environment[port]) for service, port in wanted}
        self._must(shown == expected, f"published: {sorted(shown)}, not {sorted(expected)}")
        say("every container: non-root, read-only, no capabilities, limits on memory, CPU and pids")
        say(f"published: {', '.join(':'.join(each) for each in sorted(shown))}, nothing else")

    def targets(self) -> int:
        """Return the number of replicas that Prometheus scrapes."""
        requested = "http://127.0.0.1:9090/api/v1/query?query=sum(up%7Bservice!%3D%22%22%7D)"
        text = self.docker.compose("exec", "-T", "prometheus", "wget", "-qO-", requested)
        found = json.loads(text)["data"]["result"]
        return int(float(found[0]["value"][1])) if found else 0

    def observed(self) -> None:
        """Check that Prometheus scrapes every service, and has found Alertmanager."""
        wait_for("Prometheus reads all 5 targets", lambda: self.targets() == 5, 90)
        requested = "http://127.0.0.1:9090/api/v1/alertmanagers"

        def found() -> list[object]:
            text = self.docker.compose("exec", "-T", "prometheus", "wget", "-qO-", requested)
            return list(json.loads(text)["data"]["activeAlertmanagers"])

        wait_for("Prometheus has found Alertmanager", found, 90)

    def served_calls(self, identifier: str) -> float:
        """Return how many forecast calls a replica has answered; 0 if its metrics cannot be read."""
        code = "import urllib.request as u;print(u.urlopen('http://127.0.0.1:9102/metrics').read().decode())"
        try:
            return calls(self.docker.run("exec", identifier, "python", "-c", code), "GetForecasts")
        except Failed:
            return 0.0

    def scale(self) -> None:
        """Check that each of three replicas of forecast gets traffic within SCALE_SECONDS of the command."""
        held = set(self.docker.compose("ps", "-q", "forecast").split())
        before = {replica: self.served_calls(replica) for replica in held}
        began = time.monotonic()
        self.docker.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "forecast=3", "forecast")
        say(f"up --scale forecast=3 returned after {time.monotonic() - began:.1f} s")
        replicas = self.docker.compose("ps", "-q", "forecast").split()

        def all_busy() -> bool:
            for _ in range(30):
                self.new_forecast()
            return all(self.served_calls(replica) > before.get(replica, 0) + 3 for replica in replicas)

        left = SCALE_SECONDS - (time.monotonic() - began)
        wait_for(f"{len(replicas)} replicas of forecast all take traffic", all_busy, left)
        say(f"from the command to traffic on all: {time.monotonic() - began:.1f} s (limit {SCALE_SECONDS})")
        if len(replicas) != 3:
            raise Failed(f"{len(replicas)} replicas of forecast, not 3")

    def kept(self) -> None:
        """Back up the running system, delete all three folders, restore them, and check all files.

        After the restore, training starts without first models: a newly trained one would be called v000001,
        like the lost one.
        """
        version = self.production()
        trained_at = self.versions()[version]
        taken = 0

        def all_taken() -> bool:
            nonlocal taken
            merged = not any("/incoming/" in name for name in self.held())
            taken = self.ledger()
            return merged and taken > 0

        # Each replica logs the same forecast; training removes the duplicates with its first batch.
        self.docker.compose("restart", "training")
        wait_for("the ledger has taken what was served", all_taken, 60)
        code, backup = self.docker.compose_bytes("run", "--rm", "-T", "backup")
        self._must(code == 0, f"backup: {backup[-500:]!r}")
        code, reported = self.docker.compose_bytes("run", "--rm", "-T", "backup", "verify", given=backup)
        self._must(code == 0, f"verify: {reported!r}")
        saved = contents(backup)
        self._must(not (gaps := missing_places(saved, version)), f"not in the backup: {gaps}")
        services = ("market-data", "training", "forecast")
        self.docker.compose("stop", *services)
        self._in_volumes(EMPTY_VOLUMES)
        self._must(not self.held(), "the volumes are not empty before the restore")
        restore = ("backup", "restore", "--root", "/var/lib/coincast", "--replace")
        code, reported = self.docker.compose_bytes("run", "--rm", "-T", *restore, given=backup)
        self._must(code == 0, f"restore: {reported!r}")
        self._must(self.held() == saved, "the volumes do not hold what the backup does")
        self.docker.environment["BOOTSTRAP"] = "false"
        again = ("--no-build", "--no-deps", "--pull", "never", "--scale", "forecast=3")
        self.docker.compose("up", "-d", *again, *services)
        wait_for(f"restored from {len(backup) / 1e6:.1f} MB, forecasts again", self.all_answer, 120)
        self._must(self.serving() == version, "another version serves")
        self._must(self.versions().get(version) == trained_at, f"{version} is not the one that was lost")
        wait_for(f"the ledger holds the {taken} forecasts again", lambda: self.ledger() >= taken, 60)

    def _in_volumes(self, code: str) -> str:
        """Run Python in a container with the volumes that are backed up, and return its output."""
        return self.docker.compose("run", "--rm", "-T", "--entrypoint", "python", "backup", "-c", code)

    def held(self) -> dict[str, str]:
        """Return the digest of every file in the volumes that are backed up, by name."""
        return dict(json.loads(self._in_volumes(DIGEST_VOLUMES)))

    def ledger(self) -> int:
        """Return the number of forecasts on the ledger's disk; 0 while entries still wait to be written."""
        self.requests += 1
        status, body = get(f"{self.url}/forecasts/accuracy?model=lightgbm&days={1 + self.requests % 365}")
        found = json.loads(body)["ledger"] if status == 200 else {}
        return 0 if int(found.get("lag_entries", 0)) else int(found.get("stored_forecasts", 0))

    def rolled_back(self) -> None:
        """Train and promote a second version, then roll production back, without a restart."""
        create = ("python", "-m", "coincast_gateway.cli.keys", "create", "operator", "--scope", "admin")
        key = self.docker.compose("exec", "-T", "gateway", *create).strip()
        first = self.production()
        requested = {"model": "lightgbm", "ids": list(COINS), "days": 730}
        jobs = f"{self.url}/training/jobs"
        wait_for("the new key is known", lambda: post(jobs, requested, key)[0] in (200, 201, 202), 60)
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
        """Change the images of forecast and gateway to another tag and back; both must answer each time."""
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

    def versions(self) -> dict[str, str]:
        """Return when each version of lightgbm was trained, by version; the gateway does not cache this."""
        status, body = get(f"{self.url}/models?model=lightgbm")
        found = json.loads(body)["versions"] if status == 200 else []
        return {each["version"]: each["created_at"] for each in found}

    def production(self) -> str:
        """Return the version that serves.

        Raises:
            Failed: No version serves.
        """
        self._must(bool(found := self.serving()), "no version serves")
        return found

    def serving(self) -> str:
        """Return the version of lightgbm that serves a new forecast; empty if lightgbm does not serve it."""
        found = self.new_forecast()
        return str(found["version"]) if found and found["served_by"] == "lightgbm" else ""

    @staticmethod
    def _must(holds: bool, otherwise: str) -> None:
        if not holds:
            raise Failed(otherwise)

    def survives(self) -> None:
        """Kill each container's process; check that the engine restarts it and requests are answered."""
        for name in KILLED:
            identifier = self.docker.compose("ps", "-q", name).split()[0]
            before = self.inspected(identifier)["RestartCount"]
            self._crash(name, identifier)
            wait_for(
                f"{name} killed, restarted by the engine and healthy again",
                lambda i=identifier, b=before: came_back(self.inspected(i), b),
                120,
            )
        wait_for("prices and forecasts answer", self.all_answer, 90)

    def inspected(self, identifier: str) -> dict[str, Any]:
        """Return the output of docker inspect for a container."""
        return dict(json.loads(self.docker.run("inspect", identifier))[0])

    def _crash(self, name: str, identifier: str) -> None:
        """Kill a container's process from inside it.

        The container may end before docker reports the result of the kill. The exit code is therefore no
        proof that the process ended; the restart is.
        """
        code = self.docker.code("exec", identifier, "sh", "-c", CRASH)
        self._must(code != 3, f"{name} has no process under Docker's init (init: true): it cannot be killed")
        self._must(code not in (126, 127), f"{name} has no shell: it cannot be killed from inside")

    def all_answer(self) -> bool:
        """Return whether new requests of prices and of a forecast are answered."""
        return self.new_price() and self.trained_forecast()

    def down(self) -> None:
        """Remove all containers and volumes."""
        self._remove()
        say("down")

    def _remove(self) -> None:
        self.docker.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "-t", "10")


def main(arguments: list[str]) -> int:
    """Run the test; if it fails, print the reason and the last logs, and return 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, help="start a separate engine in this folder")
    parser.add_argument("--no-build", action="store_true", help="use the existing images")
    parser.add_argument(
        "--host-network", action="store_true", help="build with the host's network and resolver"
    )
    parser.add_argument(
        "--quick", action="store_true", help="up, requests and scale only: no backup, rollback, kills"
    )
    parser.add_argument("--ports", default="18000,13000", help="ports of gateway and Grafana")
    options = parser.parse_args(arguments)
    host = None
    engine = str(ROOT / "deploy/up-test/engine.sh")
    if options.engine:
        host = subprocess.run(
            [engine, "start", options.engine], check=True, text=True, stdout=subprocess.PIPE
        ).stdout.split()[-1]
    # On SIGTERM, too, the test must remove its containers.
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
