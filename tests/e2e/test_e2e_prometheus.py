"""A real Prometheus reads the live system: rules load, every panel has data, no alert fires."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from coincast_stack.processes.ports import free_port
from coincast_stack.testing import StackHandle

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = shutil.which("prometheus") or ""
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PROMETHEUS, reason="Prometheus is not here: apt-get install prometheus"),
]
# A machine that is busy with other tests, or whose disk is nearly full, says nothing about the system: of
# only these are required not to fire.
OF_THE_MACHINE = {"RequestsSlow", "EventLoopBlocked", "DiskNearlyFull", "DiskFillsUp"}
SUBSTITUTES = {"$__rate_interval": "30s", "$service": ".*", "$instance": ".*"}


class Server:
    """The running Prometheus."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> dict:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as reply:
            return json.loads(reply.read())

    def query(self, expression: str) -> list[dict]:
        return self.get("/api/v1/query", query=expression)["data"]["result"]


def configuration(stack: StackHandle, folder: Path) -> Path:
    """Our own configuration, with fixed addresses in the place of DNS names and a quick pace."""
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    ports = stack.stack.layout.ports
    addresses = {
        "gateway": ports.gateway_metrics,
        "market-data": ports.market_metrics,
        "forecast": ports.forecast_metrics,
        "training": ports.training_metrics,
    }
    config["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"}
    config["rule_files"] = [str(ROOT / "deploy/prometheus/rules/*.yml")]
    del config["alerting"]
    jobs = [job for job in config["scrape_configs"] if job["job_name"] in addresses]
    assert {job["job_name"] for job in jobs} == set(addresses)
    for job in jobs:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{addresses[job['job_name']]}"]}]
    config["scrape_configs"] = jobs
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    return file


def ask_everything(client: httpx2.Client, seconds: float) -> None:
    """Traffic of every kind, so that every panel has something to show."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.get("/prices", params={"ids": "bitcoin,ethereum,solana", "vs_currencies": "usd"})
        client.get("/coins/bitcoin/history", params={"days": 30})
        for days, model in ((7, "lightgbm"), (3, "technical"), (5, "auto")):
            client.get("/forecasts", params={"ids": "bitcoin,ethereum", "days": days, "model": model})
        client.get("/models")
        client.get("/health/detailed")
        time.sleep(1)


@pytest.fixture(scope="module")
def server(scored_stack: StackHandle, tmp_path_factory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    command = [
        PROMETHEUS,
        f"--config.file={configuration(scored_stack, folder)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    running = Server(port)
    try:
        with httpx2.Client(base_url=scored_stack.gateway_url, timeout=30, trust_env=False) as client:
            ask_everything(client, seconds=45)
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


def panels() -> list[tuple[str, str]]:
    found = []
    for file in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            found += [(f"{file.stem}: {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


def test_every_service_is_read(server):
    up = {sample["metric"]["service"]: sample["value"][1] for sample in server.query("up")}
    assert up == dict.fromkeys(("gateway", "market-data", "forecast", "training"), "1")


def test_every_service_says_that_it_serves(server):
    serving = {sample["metric"]["service"]: sample["value"][1] for sample in server.query("coincast_serving")}
    assert serving == dict.fromkeys(("gateway", "market-data", "forecast", "training"), "1")


def test_every_rule_evaluates(server):
    rules = [rule for group in server.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    assert len(rules) > 50
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


def alerts(server, state: str) -> set[str]:
    found = server.query(f'ALERTS{{alertstate="{state}"}}')
    return {sample["metric"]["alertname"] for sample in found}


def test_a_healthy_system_wakes_nobody(server):
    """Nor is it about to: most alerts are pending for minutes or hours before they fire."""
    assert alerts(server, "firing") == set()
    assert alerts(server, "pending") - OF_THE_MACHINE == set()


@pytest.mark.parametrize(("title", "expression"), panels())
def test_every_panel_has_data(server, title, expression):
    for variable, value in SUBSTITUTES.items():
        expression = expression.replace(variable, value)
    try:
        assert server.query(expression), f"{title}: {expression} gives nothing"
    except urllib.error.HTTPError as error:
        pytest.fail(f"{title}: {expression}: {error.read().decode()}")


def test_latency_carries_traces(server):
    now = time.time()
    found = server.get(
        "/api/v1/query_exemplars",
        query="coincast_grpc_server_duration_seconds_bucket",
        start=str(now - 300),
        end=str(now),
    )["data"]
    assert any(len(e["labels"]["trace_id"]) == 32 for series in found for e in series["exemplars"])
