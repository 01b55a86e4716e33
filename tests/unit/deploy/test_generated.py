"""What is generated is current, and what the dashboards ask for exists."""

import json
import re
from pathlib import Path

import yaml

from deploy import metrics_page
from deploy.grafana import generate

ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
PROCESS = {
    "ALERTS",
    "up",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "python_gc_collections_total",
}


def test_the_page_of_metrics_is_current():
    assert metrics_page.main(["--check"]) == 0


def test_the_dashboards_are_current():
    assert generate.main(["--check"]) == 0


def test_every_panel_asks_for_metrics_that_the_services_have(shown_metrics):
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", " ", target["expr"])
                names = set(re.findall(r"\b(?:coincast|process|python)_\w+", bare))
                assert names <= shown_metrics | PROCESS, (
                    f"{file.name}: {panel['title']}: {names - shown_metrics}"
                )


def test_every_metric_is_named_for_its_unit_and_explained():
    for family in metrics_page.families():
        assert family.name.startswith("coincast_"), family
        assert family.text.endswith("."), family
        assert not {"id", "coin", "coin_id", "url", "path", "request_id"} & set(family.labels), family


def test_grafana_is_given_its_source_and_its_folder():
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    (only,) = source["datasources"]
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            assert panel["datasource"]["uid"] == only["uid"]
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/coincast.yml").read_text())
    mounted = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['providers'][0]['options']['path']}:ro" in mounted
