"""Report a soak: the slope of each series with its uncertainty, the errors, and one table."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import theilslopes
from soaking.faults import FaultSchedule
from soaking.samples import WITH_METRICS, Sampler
from soaking.traffic import Traffic

HOUR = 3600.0
LEAST_SAMPLES = 10
LONG_SECONDS = 600.0
# Growth counts if it exceeds this share of the level and this amount, both over the run and over its second
# half alone. It is computed with the lower 95 % bound of the slope. A pool that fills once is a step, and has
# no slope in the second half.
GROWN_SHARE = 0.10
GROWN_LEAST = {
    "memory_mb": 15.0, "descriptors": 10.0, "threads": 5.0, "tasks": 20.0, "latency": 1.0,
    "errors": 0.1, "unjudged": math.inf,
}  # fmt: skip


def report(traffic: Traffic, sampler: Sampler, faults: FaultSchedule) -> tuple[bool, dict[str, Any]]:
    """Print the report of a run.

    Returns:
        Whether the run passes, and all values as a document for JSON.
    """
    rows = _process_rows(sampler) + _latency_rows(traffic)
    statuses = sum((w.statuses for w in traffic.windows), Counter[str]())
    document = {
        "replies": traffic.replies,
        "statuses": dict(sorted(statuses.items())),
        "errors_while_no_fault_was_on": dict(traffic.quiet_errors),
        "internal_errors": dict(traffic.internal_errors),
        "faults": dict(faults.struck),
        "slopes": rows,
    }
    long = traffic.windows[-1].at_seconds >= LONG_SECONDS if traffic.windows else True
    document["unmeasured"] = _unmeasured(rows, list(sampler.samples), long=long)
    bad = (traffic.quiet_errors, traffic.internal_errors, document["unmeasured"])
    holds = not any(bad) and not any(row["grows"] for row in rows)
    _print(document, holds)
    return holds, document | {"holds": holds}


def _unmeasured(rows: list[dict[str, Any]], processes: list[str], *, long: bool) -> list[str]:
    """Return the series that the verdict needs but that have no slope, which must not pass as no growth.

    Args:
        rows: The rows of the report.
        processes: The names of the processes.
        long: Whether the run was long enough to need a slope of latency. A run of a few minutes has too
            little time without faults.
    """
    wanted = [f"{name} {kind}" for name in processes for kind in ("memory_mb", "descriptors", "threads")]
    wanted += [f"{name} tasks" for name in WITH_METRICS]
    wanted += ["latency p50 / bare reply"] if long else []
    there = {row["what"] for row in rows}
    return [what for what in wanted if what not in there]


def slope_row(what: str, kind: str, at_seconds: list[float], values: list[float]) -> dict[str, Any]:
    """Return a row of the report.

    Args:
        what: The name of the series.
        kind: Its key in GROWN_LEAST.
        at_seconds: The times of the values.
        values: The values, oldest first.

    Returns:
        The Theil-Sen slope per hour with its 95 % bounds, the median as the level, the last value, and
        whether the series grows significantly.
    """
    slope, _, low, high = theilslopes(values, at_seconds, 0.95)
    level, half = float(np.median(values)), len(values) // 2
    span, late_span = at_seconds[-1] - at_seconds[0], at_seconds[-1] - at_seconds[half]
    late_low = theilslopes(values[half:], at_seconds[half:], 0.95)[2]
    grows = _is_significant(low * span, level, kind, share=1.0)
    grows = grows and _is_significant(late_low * late_span, level, kind, share=late_span / span)
    bounds = {"per_hour": slope * HOUR, "per_hour_low": low * HOUR, "per_hour_high": high * HOUR}
    late = {"late_per_hour_low": late_low * HOUR}
    return {"what": what, "level": level, "last": values[-1], **bounds, **late, "grows": grows}


def _is_significant(grown: float, level: float, kind: str, *, share: float) -> bool:
    """Return whether growth over a share of the run exceeds that share of both limits."""
    return bool(grown > share * GROWN_SHARE * level and grown > share * GROWN_LEAST[kind])


def _process_rows(sampler: Sampler) -> list[dict[str, Any]]:
    rows = []
    for name, samples in sampler.samples.items():
        for kind in ("memory_mb", "descriptors", "threads", "tasks"):
            pairs = [(s.at_seconds, float(v)) for s in samples if (v := getattr(s, kind)) is not None]
            if len(pairs) >= LEAST_SAMPLES:
                at, values = zip(*pairs, strict=True)
                rows.append(slope_row(f"{name} {kind}", kind, list(at), list(values)))
    return rows


def _latency_rows(traffic: Traffic) -> list[dict[str, Any]]:
    """Return rows of latency and errors, from replies while no fault is on.

    Latency is judged as a multiple of the latency of a trivial reply in the same ten seconds, so that a busy
    machine does not count as a leak. Errors are the percentage of replies that failed although no fault was
    on.
    """
    windows = [w for w in traffic.windows if len(w.quiet_ms) >= 10 and len(w.bare_ms) >= 5]
    if len(windows) < LEAST_SAMPLES:
        return []
    at = [w.at_seconds for w in windows]
    bare = [float(np.median(w.bare_ms)) for w in windows]
    p50, p99 = ([float(np.percentile(w.quiet_ms, p)) for w in windows] for p in (50, 99))
    errors = [100.0 * w.quiet_errors / len(w.quiet_ms) for w in windows]
    return [
        slope_row("latency p50 / bare reply", "latency", at, [a / b for a, b in zip(p50, bare, strict=True)]),
        slope_row("latency p50 ms", "unjudged", at, p50),
        slope_row("latency p99 ms", "unjudged", at, p99),
        slope_row("bare reply p50 ms", "unjudged", at, bare),
        slope_row("errors, % of replies", "errors", at, errors),
    ]


def _print(document: dict[str, Any], holds: bool) -> None:
    out, table = Console(width=110), Table(title="slopes an hour (95 % bounds)", title_justify="left")
    for column in ("what", "median", "last", "slope/h", "from", "to", ""):
        table.add_column(column, justify="left" if column in {"what", ""} else "right")
    for row in document["slopes"]:
        figures = [row[k] for k in ("level", "last", "per_hour", "per_hour_low", "per_hour_high")]
        table.add_row(row["what"], *(f"{figure:,.2f}" for figure in figures), "GROWS" if row["grows"] else "")
    out.print(table)
    for name in (
        "replies",
        "statuses",
        "faults",
        "errors_while_no_fault_was_on",
        "internal_errors",
        "unmeasured",
    ):
        out.print(f"{name.replace('_', ' ')}: {document[name]}", highlight=False)
    out.print("holds" if holds else "DOES NOT HOLD")
