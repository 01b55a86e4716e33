"""Compare a version with production: on the forecasts of both, or else by their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from coincast_modelkit.artifact import HorizonRecord, Record
from coincast_training.registry.paired_tests import MIN_DATES, PairedTest, spans, verdict

Skill = Callable[[HorizonRecord], float | None]
LOSSES = {"CRPS": "crps", "MAE": "absolute_error"}


def point_skill(record: HorizonRecord) -> float | None:
    """Return the skill of the median against the last price, in percent."""
    return record.skill_percent


def distribution_skill(record: HorizonRecord) -> float | None:
    """Return the CRPS skill against the rolling Gaussian random walk, in percent."""
    return record.crps_skill_percent


SKILLS: Mapping[str, Skill] = {"CRPS": distribution_skill, "MAE": point_skill}


@dataclass(frozen=True, slots=True)
class RecordComparison:
    """Comparison of a version with production.

    Attributes:
        gains: Percent by which the version is better (negative: worse), for each loss. Each value is the mean
            over the horizons of both. It is empty if they share no horizon.
        basis: A description of the compared forecasts or records.
    """

    gains: Mapping[str, float]
    basis: str


def compare_records(candidate: Record, production: Record, tests: Sequence[PairedTest]) -> RecordComparison:
    """Compare two versions by paired tests, or by their records if they share fewer than MIN_DATES days.

    `tests` are the paired tests of production (a) and the candidate (b).
    """
    with_enough_days = [test for test in tests if test.days >= MIN_DATES]
    if with_enough_days:
        return _compare_pairs(with_enough_days)
    gains = {
        loss: gain
        for loss, skill in SKILLS.items()
        if (gain := _gain(candidate, production, skill)) is not None
    }
    if gains:
        return RecordComparison(
            gains, "by the mean scores of each record, since they share too few forecasts"
        )
    ours, theirs = (spans(record.horizons) for record in (candidate, production))
    return RecordComparison({}, f"its record has {ours}, that of production has {theirs}")


def _compare_pairs(tests: Sequence[PairedTest]) -> RecordComparison:
    """Compare losses on the same coins, days and horizons, so that both have the same easy and hard days."""
    gains = {}
    for loss, name in LOSSES.items():
        shares = [1 - t.mean_loss_b / t.mean_loss_a for t in tests if t.loss == name and t.mean_loss_a > 0]
        if shares:
            gains[loss] = 100 * fmean(shares)
    forecasts = sum(test.forecasts for test in tests if test.loss == "crps")
    conclusion = verdict("production", "this version", tests)
    return RecordComparison(gains, f"on the {forecasts} forecasts that both made ({conclusion.rstrip('.')})")


def _gain(candidate: Record, production: Record, skill: Skill) -> float | None:
    """Return the mean difference of the skill over the horizons of both, in percentage points."""
    theirs = {_span(horizon): skill(horizon) for horizon in production.horizons}
    pairs = [(skill(horizon), theirs.get(_span(horizon))) for horizon in candidate.horizons]
    whole = [ours - other for ours, other in pairs if ours is not None and other is not None]
    return fmean(whole) if whole else None


def _span(horizon: HorizonRecord) -> tuple[int, int]:
    """Return the horizon in days and in hours, of which one is zero."""
    return horizon.horizon_days, horizon.horizon_hours
