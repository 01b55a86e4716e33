"""Decide whether a model has drifted: compare live coverage, features and age with their bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from coincast_modelkit.artifact import HorizonRecord

CHECKS = ("coverage", "psi", "ks", "age")


@dataclass(frozen=True, slots=True)
class DriftThresholds:
    """Bounds of the checks.

    Attributes:
        coverage_points: Allowed deviation of the coverage in percentage points, besides three standard
            errors.
        min_forecasts: Number of scored forecasts that the coverage check needs.
        feature_share: Allowed share of shifted features.
        max_age_days: Allowed age of a version.
    """

    coverage_points: float = 8.0
    min_forecasts: int = 200
    feature_share: float = 0.25
    max_age_days: float = 14.0


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """Shares of shifted features by two measures, and the 95 % quantiles of the shares over earlier spans."""

    psi_share: float
    psi_usual: float
    ks_share: float
    ks_usual: float
    worst: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drift:
    """Scores relative to their bounds: 1 and more is a breach. A check without data has no score."""

    scores: dict[str, float]
    reasons: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        """Return whether any check exceeds its bound."""
        return bool(self.reasons)


def assess_drift(
    *,
    live: Iterable[HorizonRecord],
    features: FeatureDrift | None,
    age_days: float | None,
    bounds: DriftThresholds,
) -> Drift:
    """Run all checks.

    Args:
        live: Live figures of the version by horizon.
        features: Drift of its features; None if unknown.
        age_days: Age of the version; None if unknown.
        bounds: Bounds of the checks.
    """
    scores: dict[str, float] = {}
    reasons: list[str] = []
    for check, score, reason in (
        *_coverage(live, bounds),
        *_features(features, bounds),
        *_age(age_days, bounds),
    ):
        scores[check] = max(score, scores.get(check, 0.0))
        if score >= 1:
            reasons.append(reason)
    return Drift(scores, tuple(reasons))


Check = tuple[str, float, str]


def _coverage(live: Iterable[HorizonRecord], bounds: DriftThresholds) -> Iterable[Check]:
    """Check the live coverage of the 80 % interval; overlapping periods count once in the standard error."""
    for record in live:
        coverage = record.coverage_80_percent
        if coverage is None or record.forecasts < bounds.min_forecasts:
            continue
        periods = record.horizon_days or record.horizon_hours
        horizon = f"{periods} d" if record.horizon_days else f"{periods} h"
        independent = max(1.0, record.forecasts / periods)
        allowed = bounds.coverage_points + 3 * 100 * math.sqrt(0.8 * 0.2 / independent)
        yield (
            "coverage",
            abs(coverage - 80) / allowed,
            f"Coverage of the 80 % interval at {horizon} is {coverage:.1f} % over "
            f"{record.forecasts} forecasts; at most {allowed:.1f} points of deviation are allowed.",
        )


def _features(features: FeatureDrift | None, bounds: DriftThresholds) -> Iterable[Check]:
    if features is None:
        return
    named = f" ({', '.join(features.worst)})" if features.worst else ""
    for check, name, share, usual in (
        ("psi", "population stability index", features.psi_share, features.psi_usual),
        ("ks", "Kolmogorov-Smirnov distance", features.ks_share, features.ks_usual),
    ):
        bound = max(bounds.feature_share, usual)
        yield (
            check,
            share / bound,
            f"{100 * share:.0f} % of the features moved by their {name}{named}; "
            f"{100 * bound:.0f} % is the bound, {100 * usual:.0f} % was usual in training.",
        )


def _age(age_days: float | None, bounds: DriftThresholds) -> Iterable[Check]:
    if age_days is not None:
        yield (
            "age",
            age_days / bounds.max_age_days,
            f"The version is {age_days:.0f} days old, {bounds.max_age_days:.0f} are allowed.",
        )
