"""The promotion gate: may this version serve, seen against the random walk and against what serves now?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from coincast_modelkit.artifact import HorizonRecord, Record

Skill = Callable[[HorizonRecord], float | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many points of skill (percent) a version may lose against its rivals, at the mean over horizons."""

    skill_loss_points: float = 1.0
    crps_loss_points: float = 1.0
    production_loss_points: float = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says: whether, and in one sentence why."""

    allowed: bool
    sentence: str


def judge(candidate: Record, production: Record | None, bounds: Bounds) -> Verdict:
    """Refuses a version that is worse than the random walk, or than production, beyond the bounds."""
    if not any(horizon.forecasts for horizon in candidate.horizons):
        return Verdict(False, "It has no walk-forward record, so nothing says that it is any good.")
    for name, skill, bound in (
        ("the last price (MAE)", point_skill, bounds.skill_loss_points),
        ("the rolling Gaussian random walk (CRPS)", distribution_skill, bounds.crps_loss_points),
    ):
        mean = _mean(candidate, skill)
        if mean is not None and mean < -bound:
            return Verdict(
                False, f"Its skill against {name} is {mean:+.2f} %, below the bound of {-bound:+.2f} %."
            )
    return _against_production(candidate, production, bounds)


def _against_production(candidate: Record, production: Record | None, bounds: Bounds) -> Verdict:
    crps = _mean(candidate, distribution_skill)
    standing = "" if crps is None else f" Its CRPS skill against the random walk is {crps:+.2f} %."
    if production is None:
        return Verdict(True, f"Nothing serves yet.{standing}")
    for name, skill in (("CRPS", distribution_skill), ("MAE", point_skill)):
        difference = _difference(candidate, production, skill)
        if difference is not None and difference < -bounds.production_loss_points:
            return Verdict(
                False,
                f"Its {name} skill is {-difference:.2f} points below production's, "
                f"beyond the bound of {bounds.production_loss_points:.2f}.",
            )
    return Verdict(True, f"Within the bounds of the random walk and of production.{standing}")


def better(candidate: Record, production: Record | None) -> bool:
    """Whether the candidate has the higher mean CRPS skill (or none stands against it)."""
    if production is None:
        return True
    difference = _difference(candidate, production, distribution_skill)
    return difference is not None and difference > 0


def point_skill(record: HorizonRecord) -> float | None:
    """Skill of the median against the last price, percent."""
    return record.skill_percent


def distribution_skill(record: HorizonRecord) -> float | None:
    """CRPS skill against the rolling Gaussian random walk, percent."""
    return record.crps_skill_percent


def _mean(record: Record, skill: Skill) -> float | None:
    values = [value for horizon in record.horizons if (value := skill(horizon)) is not None]
    return fmean(values) if values else None


def _difference(candidate: Record, production: Record, skill: Skill) -> float | None:
    """Mean difference over the horizons that both have, in points."""
    theirs = {horizon.horizon_days: skill(horizon) for horizon in production.horizons}
    pairs = [(skill(horizon), theirs.get(horizon.horizon_days)) for horizon in candidate.horizons]
    whole = [ours - other for ours, other in pairs if ours is not None and other is not None]
    return fmean(whole) if whole else None
