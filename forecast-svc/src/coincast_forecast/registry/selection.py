"""Select the model for `auto`: the one with the best recent record for the coin and horizon."""

from __future__ import annotations

from collections.abc import Sequence

from coincast_forecast.domain import TECHNICAL, TRAINED_MODELS, LiveScores, Record
from coincast_forecast.registry.deployment import LiveVersion, Snapshot


def select_model(snapshot: Snapshot, scores: LiveScores, coin_id: str, days: int, history_days: int) -> str:
    """Return the model with the best skill among those that can serve; `technical` if none can.

    Live skill (of this coin, else of all coins) is used only if every candidate has it, since skills from
    different sources are not comparable. Otherwise walk-forward skill is used. Without any figures, the order
    of TRAINED_MODELS decides.

    Args:
        snapshot: The deployed versions.
        scores: Live scores by model and coin.
        coin_id: The coin to forecast.
        days: The longest horizon.
        history_days: Number of days of its history.
    """
    able = [v for v in _productions(snapshot) if _is_capable(v, days, history_days)]
    if not able:
        return TECHNICAL
    for coin in (coin_id, ""):
        live = [_live_skill(scores, v.model, coin, days) for v in able]
        if all(skill is not None for skill in live):
            return _best(able, live)
    return _best(able, [measured_skill(v.record, days) for v in able])


def measured_skill(record: Record | None, days: int) -> float | None:
    """Return the CRPS skill (else the point skill) in percent at the nearest measured horizon."""
    if record is None:
        return None
    figures = [
        (
            abs(h.horizon_days - days),
            h.crps_skill_percent if h.crps_skill_percent is not None else h.skill_percent,
        )
        for h in record.horizons
    ]
    known = [(distance, skill) for distance, skill in figures if skill is not None]
    return min(known)[1] if known else None


def _productions(snapshot: Snapshot) -> list[LiveVersion]:
    deployments = [snapshot.get(model) for model in TRAINED_MODELS]
    return [d.production for d in deployments if d is not None and d.production is not None]


def _is_capable(version: LiveVersion, days: int, history_days: int) -> bool:
    model = version.predictor.model
    return days <= model.max_horizon_days and history_days >= model.min_history_days


def _live_skill(scores: LiveScores, model: str, coin_id: str, days: int) -> float | None:
    horizons = [h for m, c, h in scores.skill_percent if m == model and c == coin_id]
    if not horizons:
        return None
    return scores.skill_percent[model, coin_id, min(horizons, key=lambda h: (abs(h - days), h))]


def _best(able: Sequence[LiveVersion], skills: Sequence[float | None]) -> str:
    ranked = sorted(
        zip(able, skills, strict=True), key=lambda pair: -pair[1] if pair[1] is not None else float("inf")
    )
    return ranked[0][0].model
