"""Write deploy/grafana/dashboards/*.json from panels.py: python -m deploy.grafana.generate [--check]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueTextMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

from deploy.grafana.panels import DASHBOARDS, Dashboard, Panel

FOLDER = Path(__file__).resolve().parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")


def build_panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    """Return the builder of a panel of Grafana's SDK."""
    builder: stat.Panel | timeseries.Panel
    if panel.kind == "stat":
        builder = stat.Panel().text_mode(BigValueTextMode.VALUE_AND_NAME).span(6).height(5)
    else:
        builder = (
            timeseries.Panel().span(12).height(8).min(0)
            if panel.unit != "percent"
            else timeseries.Panel().span(12).height(8)
        )
    builder = builder.title(panel.title).unit(panel.unit).datasource(SOURCE)
    if panel.text:
        builder = builder.description(panel.text)
    for number, (query, legend) in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + number))
        builder = builder.with_target(target.exemplar(panel.unit == "s"))
    return builder


def variable(name: str, query: str) -> dashboard.QueryVariable:
    """Return a variable of a dashboard: a choice of label values, of which several may be selected.

    All values are selected at first.

    Args:
        name: The name of the variable.
        query: The query of Prometheus that lists the values.
    """
    return (
        dashboard.QueryVariable(name)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def build_dashboard(board: Dashboard) -> str:
    """Return a dashboard as JSON."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(f"coincast-{board.name}")
        .tags(["coincast"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("utc")
        .readonly()
    )
    if board.by_instance:
        builder = builder.with_variable(
            variable("service", 'label_values(up{service!="prometheus"}, service)')
        )
        builder = builder.with_variable(
            variable("instance", 'label_values(up{service=~"$service"}, instance)')
        )
    for panel in board.panels:
        builder = builder.with_panel(build_panel(panel))
    plain = json.loads(JSONEncoder(sort_keys=True).encode(builder.build()))
    # The SDK writes these keys for older versions of Grafana; the present schema does not have them.
    plain.pop("style", None)
    for item in plain.get("templating", {}).get("list", []):
        for name in ("auto", "auto_min", "auto_count", "id"):
            item.pop(name, None)
    plain = without_nulls(plain)
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def without_nulls(value: object) -> object:
    """Return the value without keys whose value is null: Grafana's schema requires them to be absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def main(arguments: list[str]) -> int:
    """Write the files; with --check only compare them, and return 1 if one is out of date."""
    code = 0
    for board in DASHBOARDS:
        file = FOLDER / f"{board.name}.json"
        text = build_dashboard(board)
        if "--check" not in arguments:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            sys.stderr.write(f"{file.name} is out of date: run python -m deploy.grafana.generate\n")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
