"""Add live records to risk replies: the accuracy of earlier served answers of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_forecast.scenarios.service import PortfolioAnswer, TouchAnswer
from coincast_modelkit.scenarios.live_record import (
    LiveRiskRecord,
    LiveRiskTable,
    exceedance_sentence,
    tenth_of,
    touch_sentence,
)

# The record of the level nearest to this one is quoted in a sentence.
MAIN_LEVEL = 95.0


def add_live_touches(
    message: pb.EstimateTouchResponse, answer: TouchAnswer, table: LiveRiskTable, *, days: int, recorded: bool
) -> None:
    """Add the records of statements with similar probabilities at the longest horizon.

    Args:
        message: The reply, which is extended.
        answer: The answer.
        table: All live records.
        days: The longest horizon.
        recorded: Whether the answer is in the log.
    """
    stated = [
        float(level.probabilities.touch[days - 1]) for _, levels in answer.coins.values() for level in levels
    ]
    beyond = [
        float(level.probabilities.close_beyond[days - 1])
        for _, levels in answer.coins.values()
        for level in levels
    ]
    tenths = {tenth_of(probability) for probability in (*stated, *beyond)}
    records = table.touches(answer.simulation.basis.served_by, days, tenths)
    _add(message.basis, records, recorded=recorded)
    if stated:
        message.basis.live_sentence = touch_sentence(records, stated[0])


def add_live_losses(
    message: pb.AssessPortfolioResponse, answer: PortfolioAnswer, table: LiveRiskTable, *, recorded: bool
) -> None:
    """Add the records of value at risk at the levels of the answer."""
    levels = [tail.level_percent for tail in answer.risk.levels if tail.value_at_risk is not None]
    records = table.exceedances(answer.simulation.basis.served_by, answer.days, levels)
    _add(message.basis, records, recorded=recorded)
    if levels:
        main = min(levels, key=lambda level: abs(level - MAIN_LEVEL))
        message.basis.live_sentence = exceedance_sentence(records, main)


def _add(basis: pb.ScenarioBasis, records: Sequence[LiveRiskRecord], *, recorded: bool) -> None:
    basis.recorded = recorded
    basis.live_records.extend(
        pb.LiveRiskRecord(
            kind=record.kind,
            horizon_days=record.horizon_days,
            probability_from=record.probability_from,
            probability_to=record.probability_to,
            level_percent=record.level_percent,
            statements=record.statements,
            promised_percent=record.promised_percent,
            observed_percent=record.observed_percent,
            standard_error_percent=record.standard_error_percent,
            independent_periods=record.independent_periods,
            brier=record.brier,
            brier_skill_percent=record.brier_skill_percent,
            loss_over_shortfall=record.loss_over_shortfall,
            from_date=record.from_date,
            to_date=record.to_date,
            served_by=record.served_by,
        )
        for record in records
    )
