"""Compute the record that is served with each risk answer, from tallies of scored statements."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from coincast_modelkit.scenarios.live_record import EXCEEDANCE, LiveRiskRecord, LiveRiskTable
from coincast_training.scoring.risk.store import Tally

ALL = "all"
Key = tuple[str, str, int, str]


def live_risk_table(tallies: Iterable[Tally], *, measured_at: float) -> LiveRiskTable:
    """Return the records by model and of all models together, by bin and, for touches, of all bins."""
    groups: dict[Key, list[Tally]] = defaultdict(list)
    for tally in tallies:
        for served_by in (tally.served_by, ""):
            groups[tally.kind, served_by, tally.horizon_days, tally.bin].append(tally)
            if tally.kind != EXCEEDANCE:
                groups[tally.kind, served_by, tally.horizon_days, ALL].append(tally)
    return LiveRiskTable(measured_at, tuple(_record(key, groups[key]) for key in sorted(groups)))


def independent_periods(days: Iterable[str], horizon_days: int) -> int:
    """Return the number of days that are at least the horizon apart, counted from the first day on."""
    count, free_from = 0, dt.date.min
    for day in sorted({dt.date.fromisoformat(text) for text in days}):
        if day >= free_from:
            count, free_from = count + 1, day + dt.timedelta(days=horizon_days)
    return count


def _record(key: Key, tallies: Sequence[Tally]) -> LiveRiskRecord:
    kind, served_by, horizon, of_bin = key
    is_loss = kind == EXCEEDANCE
    count = sum(t.statements for t in tallies)
    promised = sum(t.promised for t in tallies) / count
    observed = sum(t.came_true for t in tallies) / count
    brier = sum(t.squared_error for t in tallies) / count
    exceeded = sum(t.exceeded for t in tallies)
    periods = independent_periods((t.as_of for t in tallies), horizon)
    baseline = observed * (1 - observed)
    return LiveRiskRecord(
        kind=kind,
        served_by=served_by,
        horizon_days=horizon,
        tenth=None if is_loss or of_bin == ALL else int(of_bin),
        level_percent=float(of_bin) if is_loss else None,
        statements=count,
        promised_percent=round(100 * promised, 4),
        observed_percent=round(100 * observed, 4),
        # The standard error is that of the promised share. The observed share is 0 or 100 % at first, which
        # would give an error of 0.
        standard_error_percent=round(100 * math.sqrt(promised * (1 - promised) / periods), 4),
        independent_periods=periods,
        brier=None if is_loss else round(brier, 6),
        brier_skill_percent=round(100 * (1 - brier / baseline), 4) if baseline and not is_loss else None,
        loss_over_shortfall=(
            round(sum(t.loss_over_shortfall for t in tallies) / exceeded, 4) if exceeded else None
        ),
        from_date=min(t.as_of for t in tallies),
        to_date=max(t.as_of for t in tallies),
    )
