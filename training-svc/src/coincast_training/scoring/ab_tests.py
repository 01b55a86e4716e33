"""Compare challenger and shadow with production on the forecasts that both made, since their first one.

The sequential test may be read at any time, because its first day is fixed: its capital is that of a bet
placed on the first day. With a sliding window every day would be a first day, with another probability of a
false positive, and the guarantee of the test would not hold.
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
# Columns of the scores that the test reads.
COLUMNS = (*SAME, "horizon_hours", "as_of_hours", "model", "version", "variant", "served_by", "crps")
Rival = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class VariantTest:
    """Test of challenger or shadow (b) against production (a), from their first shared forecast on."""

    model: str
    version_a: str
    version_b: str
    from_date: str
    result: Sequential


def rivals_of(frame: pl.DataFrame) -> list[Rival]:
    """Return model, version and variant of each version that ran as challenger or shadow."""
    beside = frame.filter(pl.col("variant") != "production")
    return sorted(beside.select("model", "version", "variant").unique().rows())


def variant_tests(scores: pl.DataFrame, rivals: list[Rival]) -> list[VariantTest]:
    """Test each rival against every version of production.

    Only forecasts from a daily close count, since forecasts from the hours of a day share the same outcome.

    Args:
        scores: All scores ever made, so that the first day of each test stays the same.
        rivals: Model, version and variant of each rival.
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
    """Return the mean relative difference of each day by horizon; coins of a day are not independent."""
    difference = relative_difference(both["crps"].to_numpy(), both["crps_b"].to_numpy())
    days = (
        both.with_columns(pl.Series("difference", difference))
        .group_by("horizon_days", "due")
        .agg(pl.col("difference").mean())
        .sort("horizon_days", "due")
    )
    return {int(h): _every_day(rows) for (h,), rows in days.group_by("horizon_days", maintain_order=True)}


def _every_day(rows: pl.DataFrame) -> NDArray[np.float64]:
    """Return one value for each day from the first to the last; a day without a pair gets 0, which is no bet.

    A pair that is scored late changes only the value of its own day.
    """
    ordinals = np.array([dt.date.fromisoformat(due).toordinal() for due in rows["due"]])
    differences = np.zeros(ordinals[-1] - ordinals[0] + 1)
    differences[ordinals - ordinals[0]] = rows["difference"].to_numpy()
    return differences
