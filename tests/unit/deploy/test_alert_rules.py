"""Every alert is complete: severity, summary, runbook section, and a test each way."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"


def rules(name: str) -> list[dict]:
    groups = yaml.safe_load((PROMETHEUS / "rules" / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def cases() -> set[str]:
    return {
        test["name"]
        for file in (PROMETHEUS / "tests").glob("*_test.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
    }


def test_every_alert_tells_how_bad_it_is_and_what_to_do():
    runbook = (ROOT / "docs" / "operations.md").read_text()
    sections = {re.sub(r"\W", "", line).lower() for line in runbook.splitlines() if line.startswith("#")}
    for alert in rules("alerts.yml"):
        assert alert["labels"]["severity"] in ("page", "ticket"), alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]
        assert alert["annotations"]["description"].endswith("."), alert["alert"]
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == alert["alert"].lower()
        assert anchor in sections, f"docs/operations.md has no section {alert['alert']}"


def test_every_alert_is_tested_both_ways():
    expected = {f"{a['alert']} {what}" for a in rules("alerts.yml") for what in ("fires", "is silent")}
    assert cases() == expected


def test_the_rules_name_only_metrics_that_the_services_have(shown_metrics):
    recorded = {rule["record"] for rule in rules("recording.yml")}
    foreign = {"up", "process_start_time_seconds", "process_open_fds", "process_max_fds", "ALERTS"}
    for rule in [*rules("recording.yml"), *rules("alerts.yml")]:
        words = re.findall(r"[a-z][a-z:_0-9]*(?=[\[{ )]|$)", re.sub(r'"[^"]*"', "", rule["expr"]))
        for name in (
            w for w in words if w.startswith(("coincast_", "route:", "method:", "layer:", "model:"))
        ):
            assert name in recorded | foreign | shown_metrics, (
                f"{rule.get('alert', rule.get('record'))}: {name}"
            )
