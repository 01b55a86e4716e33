"""Promotion gate: decide whether a version may serve, by comparison with the random walk and production."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from coincast_modelkit.artifact import Record
from coincast_training.registry.comparison import RecordComparison, Skill, distribution_skill, point_skill


@dataclass(frozen=True, slots=True)
class GateTolerances:
    """Percentage points of mean skill that a version may lose against each of its rivals."""

    skill_loss_points: float = 1.0
    crps_loss_points: float = 1.0
    production_loss_points: float = 0.5


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Decision of the gate: whether to promote, the reason, and whether the CRPS beats production."""

    allowed: bool
    sentence: str
    better: bool = False


def evaluate(candidate: Record, against: RecordComparison | None, bounds: GateTolerances) -> GateDecision:
    """Refuse a version that is worse than the random walk or than production by more than the tolerances.

    Args:
        candidate: Walk-forward record of the new version.
        against: Comparison with production on the same forecasts; None if no version serves.
        bounds: Tolerated loss of skill against each rival.
    """
    if not any(horizon.forecasts for horizon in candidate.horizons):
        return GateDecision(False, "It has no walk-forward record, so its skill is unknown.")
    for name, skill, bound in (
        ("the last price (MAE)", point_skill, bounds.skill_loss_points),
        ("the rolling Gaussian random walk (CRPS)", distribution_skill, bounds.crps_loss_points),
    ):
        mean = _mean(candidate, skill)
        if mean is not None and mean < -bound:
            return GateDecision(
                False, f"Its skill against {name} is {mean:+.2f} %, below the bound of {-bound:+.2f} %."
            )
    crps = _mean(candidate, distribution_skill)
    own = "" if crps is None else f" Its CRPS skill against the random walk is {crps:+.2f} %."
    if against is None:
        return GateDecision(True, f"No other version is in production.{own}", better=True)
    return _against_production(against, bounds.production_loss_points, own)


def _against_production(against: RecordComparison, bound: float, own: str) -> GateDecision:
    if not against.gains:
        return GateDecision(
            False, f"It cannot be compared with production, since they share no horizon ({against.basis})."
        )
    better = against.gains.get("CRPS", 0.0) > 0
    for loss, gain in against.gains.items():
        if gain < -bound:
            return GateDecision(
                False,
                f"Its {loss} is {-gain:.2f} % worse than that of production, over the bound of {bound:.2f} %,"
                f" {against.basis}.",
                better,
            )
    gains = ", ".join(f"{loss} {gain:+.2f} %" for loss, gain in against.gains.items())
    return GateDecision(
        True,
        f"Within the bounds of the random walk and of production: {gains} against production "
        f"{against.basis}.{own}",
        better,
    )


def _mean(record: Record, skill: Skill) -> float | None:
    values = [value for horizon in record.horizons if (value := skill(horizon)) is not None]
    return fmean(values) if values else None
