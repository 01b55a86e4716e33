"""Compare challenger and shadow with production on the forecasts that both made, from the first one on.

The sequential test may be read at any time because its start is fixed: its capital is what a bet placed on
the first day has become. In a sliding window every day is a first day with its own chance of a false
positive, so the guarantee does not hold there.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coincast_training.scoring.accuracy import from_closes
from coincast_training.scoring.sequential_test import Sequential, evaluate_pairs, relative_difference

SAME = ("coin_id", "vs_currency", "as_of", "horizon_days", "due")
# Columns of a score that the test reads.
COLUMNS = (*SAME, "horizon_hours", "as_of_hours", "model", "version", "variant", "served_by", "crps")
Rival = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class VariantTest:
    """Challenger or shadow (b) against production (a); from_date is the day of the first forecast of both."""

    model: str
    version_a: str
    version_b: str
    from_date: str
    result: Sequential


def rivals_of(frame: pl.DataFrame) -> list[Rival]:
    """Return model, version and variant of each version that ran beside production."""
    beside = frame.filter(pl.col("variant") != "production")
    return sorted(beside.select("model", "version", "variant").unique().rows())


def variant_tests(scores: pl.DataFrame, rivals: list[Rival]) -> list[VariantTest]:
    """Test each rival against every version of production.

    `scores` must hold all scores, so that the start of each test stays fixed. Only forecasts from a daily
    close count: those of the hours of one day share its outcome.
    """
    tests = []
    closes = from_closes(scores)
    for model, version, variant in rivals:
        of_model = closes.filter(pl.col("model") == model)
        rival = of_model.filter((pl.col("version") == version) & (pl.col("variant") == variant))
        tests.extend(_against_each_production(model, version, of_model, rival))
    return tests


def _against_each_production(
    model: str, version: str, of_model: pl.DataFrame, rival: pl.DataFrame
) -> list[VariantTest]:
    production = of_model.filter((pl.col("variant") == "production") & (pl.col("version") != version))
    tests = []
    for (served,), rows in production.group_by("version", maintain_order=True):
        both = (
            rows.select([*SAME, "crps"])
            .unique(SAME)
            .join(rival.select([*SAME, "crps"]).unique(SAME), on=SAME, suffix="_b")
        )
        if both.height:
            result = evaluate_pairs(_daily(both), both.height)
            tests.append(VariantTest(model, str(served), version, str(both["as_of"].min()), result))
    return tests


def _daily(both: pl.DataFrame) -> dict[int, NDArray[np.float64]]:
    """Return the mean relative difference of each day by horizon; a day's coins are not independent."""
    difference = relative_difference(both["crps"].to_numpy(), both["crps_b"].to_numpy())
    days = (
        both.with_columns(pl.Series("difference", difference))
        .group_by("horizon_days", "due")
        .agg(pl.col("difference").mean())
        .sort("horizon_days", "due")
    )
    return {int(h): _every_day(rows) for (h,), rows in days.group_by("horizon_days", maintain_order=True)}


def _every_day(rows: pl.DataFrame) -> NDArray[np.float64]:
    """Return one value for each day; a day without a pair counts as no bet.

    A pair that is scored late takes its own day and moves no other.
    """
    ordinals = np.array([dt.date.fromisoformat(due).toordinal() for due in rows["due"]])
    differences = np.zeros(ordinals[-1] - ordinals[0] + 1)
    differences[ordinals - ordinals[0]] = rows["difference"].to_numpy()
    return differences
