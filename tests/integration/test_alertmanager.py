"""Someone is woken: a target dies, a real Prometheus tells a real Alertmanager, which tells a receiver."""

import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from coincast_stack.processes.ports import free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS, ALERTMANAGER = shutil.which("prometheus") or "", shutil.which("prometheus-alertmanager") or ""
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (PROMETHEUS and ALERTMANAGER),
        reason="they are not here: apt-get install prometheus prometheus-alertmanager",
    ),
]
QUICK = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict]]]:
    """A webhook, and the alerts that came to it."""
    alerts: list[dict] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            alerts.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", alerts
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def running(folder: Path, *command: str) -> Iterator[None]:
    with (folder / f"{Path(command[0]).name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def alertmanager_file(folder: Path, hook: str) -> Path:
    """The project's configuration with a receiver instead of `nobody`, and without delays."""
    config = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())
    config["receivers"] = [{"name": "nobody", "webhook_configs": [{"url": hook, "send_resolved": True}]}]
    config["route"] |= {"group_wait": "1s", "group_interval": "2s"}
    return written(folder / "alertmanager.yml", config)


def prometheus_file(folder: Path, manager_port: int) -> Path:
    """Our own rules without their waiting times; one service that is up, one that is down."""
    rules = yaml.safe_load((DEPLOY / "prometheus/rules/alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = "1s"
    dead = {"targets": ["127.0.0.1:1"], "labels": {"service": "forecast"}}
    targets = [{"job_name": "forecast", "static_configs": [dead]}]
    managers = [{"static_configs": [{"targets": [f"127.0.0.1:{manager_port}"]}]}]
    rule_file = written(folder / "alerts.yml", rules)
    config = {"global": QUICK, "rule_files": [str(rule_file)], "scrape_configs": targets}
    return written(folder / "prometheus.yml", config | {"alerting": {"alertmanagers": managers}})


def written(file: Path, document: dict) -> Path:
    file.write_text(yaml.safe_dump(document))
    return file


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if holds():
            return
        time.sleep(0.3)
    pytest.fail(what)


@pytest.fixture
def woken(tmp_path: Path) -> Iterator[tuple[str, list[dict]]]:
    """The Alertmanager's address, and the alerts of its receiver."""
    manager, prometheus = free_port(), free_port()
    with ExitStack() as stack:
        hook, alerts = stack.enter_context(receiver())
        stack.enter_context(
            running(
                tmp_path, ALERTMANAGER, f"--config.file={alertmanager_file(tmp_path, hook)}",
                f"--storage.path={tmp_path / 'am'}", f"--web.listen-address=127.0.0.1:{manager}",
                "--cluster.listen-address=",
            )
        )  # fmt: skip
        stack.enter_context(
            running(
                tmp_path, PROMETHEUS, f"--config.file={prometheus_file(tmp_path, manager)}",
                f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{prometheus}",
            )
        )  # fmt: skip
        yield f"http://127.0.0.1:{manager}", alerts


def test_a_dead_service_wakes_somebody_with_the_way_to_its_runbook(woken):
    _, alerts = woken
    wait_until("no alert was sent", lambda: any(a["labels"]["alertname"] == "ServiceDown" for a in alerts))
    (alert, *_) = [a for a in alerts if a["labels"]["alertname"] == "ServiceDown"]
    assert alert["status"] == "firing"
    assert alert["labels"]["severity"] == "page"
    assert alert["labels"]["service"] == "forecast"
    assert alert["annotations"]["summary"]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert "docs/operations.md" in page
    assert f"### {alert['labels']['alertname']}\n" in (DEPLOY.parent / "docs/operations.md").read_text()
    assert anchor == "servicedown"


def test_tickets_of_a_service_that_is_down_are_held_back(woken):
    url, alerts = woken
    wait_until("no alert was sent", lambda: any(a["labels"]["alertname"] == "ServiceDown" for a in alerts))
    ticket = [{"labels": {"alertname": "RestartLoop", "service": "forecast", "severity": "ticket"}}]
    request = urllib.request.Request(
        f"{url}/api/v2/alerts", data=json.dumps(ticket).encode(), headers={"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()

    def held_back() -> bool:
        with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=10) as reply:
            found = json.loads(reply.read())
        return any(a["labels"]["alertname"] == "RestartLoop" and a["status"]["inhibitedBy"] for a in found)

    wait_until("the ticket was not held back", held_back)
    assert not any(a["labels"]["alertname"] == "RestartLoop" for a in alerts)
