"""Write docs/metrics.md from the metrics that the services declare; with --check only compare it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, Info

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
MODULES = {
    "coincast_chassis.observability.metrics": "Every service",
    "coincast_gateway.metrics": "gateway",
    "coincast_market_data.metrics": "market-data",
    "coincast_forecast.metrics": "forecast",
    "coincast_training.metrics": "training",
}
Metric = Counter | Gauge | Histogram | Info
HEAD = """# Metrics

Generated from the code by `python deploy/metrics_page.py`; a test checks that it is current. Names end with
their unit. Labels have few values: routes are templates, and coins are never labels. Every process serves its
metrics at `/metrics` of its metrics port, with those of Python and of the process
(`process_resident_memory_bytes`, `process_open_fds`, `process_cpu_seconds_total`, `python_gc_*`). Latencies
of HTTP and gRPC have the trace id as exemplar, for scrapers that accept OpenMetrics. The alerts are in
`deploy/prometheus/rules`, the dashboards in `deploy/grafana`.
"""


@dataclass(frozen=True)
class Family:
    """One metric as its module declares it."""

    module: str
    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def families() -> list[Family]:
    """Return all metrics of the services, in the order of their declaration."""
    return [
        Family(module, described.name, described.type, tuple(metric._labelnames), described.documentation)
        for module in MODULES
        for metric in vars(importlib.import_module(module)).values()
        if isinstance(metric, Metric)
        for described in metric.describe()
    ]


def shown_names(family: Family) -> list[str]:
    """Return the names of a metric's series as Prometheus stores them."""
    if family.kind == "histogram":
        return [f"{family.name}_{part}" for part in ("bucket", "count", "sum")]
    return [family.name + {"counter": "_total", "info": "_info"}.get(family.kind, "")]


def page(all_families: Iterable[Family]) -> str:
    """Return the page as text."""
    lines = [HEAD]
    module = ""
    for family in all_families:
        if family.module != module:
            module = family.module
            lines += [f"\n## {MODULES[module]}\n", "| metric | kind | labels | what |", "|---|---|---|---|"]
        name = shown_names(family)[0].removesuffix("_bucket")
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{name}` | {family.kind} | {labels} | {family.text} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page; with --check only compare it, and return 1 if it is out of date."""
    text = page(families())
    if "--check" in arguments:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        sys.stderr.write("docs/metrics.md is out of date: run python deploy/metrics_page.py\n")
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
