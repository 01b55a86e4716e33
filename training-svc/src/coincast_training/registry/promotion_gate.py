"""Promotion gate: decide whether a version may serve, by the random walk and by production."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from coincast_modelkit.artifact import Record
from coincast_training.registry.comparison import RecordComparison, Skill, distribution_skill, point_skill


@dataclass(frozen=True, slots=True)
class GateTolerances:
    """How many points of skill (percent) a version may lose against its rivals, in the mean over horizons."""

    skill_loss_points: float = 1.0
    crps_loss_points: float = 1.0
    production_loss_points: float = 0.5


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Decision of the gate: whether to promote, the reason, and whether the CRPS is better."""

    allowed: bool
    sentence: str
    better: bool = False


def evaluate(candidate: Record, against: RecordComparison | None, bounds: GateTolerances) -> GateDecision:
    """Refuse a version that is worse than the random walk, or than production, beyond the bounds.

    `against` is None if no other version serves.

    Args:
        candidate: Walk-forward record of the new version.
        against: Comparison with production on the same forecasts; None if no version serves.
        bounds: Tolerated losses of skill.
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
        return GateDecision(True, f"Nothing else serves.{own}", better=True)
    return _against_production(against, bounds.production_loss_points, own)


def _against_production(against: RecordComparison, bound: float, own: str) -> GateDecision:
    if not against.gains:
        return GateDecision(
            False, f"It cannot be compared with production: they share no horizon ({against.basis})."
        )
    better = against.gains.get("CRPS", 0.0) > 0
    for loss, gain in against.gains.items():
        if gain < -bound:
            return GateDecision(
                False,
                f"Its {loss} is {-gain:.2f} % worse than production's, beyond the bound of {bound:.2f} %, "
                f"{against.basis}.",
                better,
            )
    stands = ", ".join(f"{loss} {gain:+.2f} %" for loss, gain in against.gains.items())
    return GateDecision(
        True,
        f"Within the bounds of the random walk and of production: {stands} against production "
        f"{against.basis}.{own}",
        better,
    )


def _mean(record: Record, skill: Skill) -> float | None:
    values = [value for horizon in record.horizons if (value := skill(horizon)) is not None]
    return fmean(values) if values else None
