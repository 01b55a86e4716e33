"""The live record of served risk statements: training writes it to a file, and serving adds it to answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from coincast_modelkit.scenarios.record import BINS

LIVE_RISK_FILE = "live-risk.json"
TOUCH, CLOSE_BEYOND, EXCEEDANCE = "touch", "close_beyond", "exceedance"
NOT_SCORED = "No answer like this has been scored since it was served."


@dataclass(frozen=True, slots=True)
class LiveRiskRecord:
    """Scored statements of one kind and horizon.

    Attributes:
        kind: TOUCH, CLOSE_BEYOND or EXCEEDANCE.
        served_by: The model that answered; empty for all models together.
        horizon_days: Days ahead.
        tenth: Tenth of the stated probability, 0 to 9; None for all probabilities together and for
            exceedances.
        level_percent: Level of value at risk; None for touches.
        statements: Number of scored statements.
        promised_percent, observed_percent: Forecast and observed share of statements that came true.
        standard_error_percent: Standard error of the observed share, in percentage points. The statements of
            a day count as one observation, since coins move together.
        independent_periods: Number of days of statements that are at least the horizon apart.
        brier: Mean squared difference between the stated probability and the outcome; None for exceedances.
        brier_skill_percent: 100 * (1 - brier / brier of the observed share); None where the divisor is 0.
        loss_over_shortfall: Mean ratio of loss to expected shortfall where the value at risk was exceeded.
        from_date, to_date: First and last ISO date on which the statements were made.
    """

    kind: str
    served_by: str
    horizon_days: int
    tenth: int | None
    level_percent: float | None
    statements: int
    promised_percent: float
    observed_percent: float
    standard_error_percent: float
    independent_periods: int
    brier: float | None
    brier_skill_percent: float | None
    loss_over_shortfall: float | None
    from_date: str
    to_date: str

    @property
    def probability_from(self) -> float | None:
        """Return the lower bound of the stated probabilities; None for exceedances."""
        return None if self.kind == EXCEEDANCE else (self.tenth or 0) / BINS

    @property
    def probability_to(self) -> float | None:
        """Return the upper bound of the stated probabilities; None for exceedances."""
        if self.kind == EXCEEDANCE:
            return None
        return 1.0 if self.tenth is None else (self.tenth + 1) / BINS

    def sentence(self) -> str:
        """Return a sentence with the observed and the forecast share, and the standard error."""
        error = f"standard error {self.standard_error_percent:.2g} points"
        ahead = "one day" if self.horizon_days == 1 else f"{self.horizon_days} days"
        periods = "period" if self.independent_periods == 1 else "periods"
        worth = f"({self.independent_periods} separate {periods}, {error})"
        if self.kind == EXCEEDANCE:
            return (
                f"Of {self.statements:,} answers about {ahead} served since {self.from_date}, "
                f"{self.observed_percent:.1f} % saw a loss larger than the {self.level_percent:g} % value at "
                f"risk and {self.promised_percent:g} % were promised {worth}."
            )
        return (
            f"Of {self.statements:,} such statements about {ahead} served since {self.from_date}, "
            f"{self.observed_percent:.0f} % came true and {self.promised_percent:.0f} % were promised "
            f"{worth}."
        )


def tenth_of(probability: float) -> int:
    """Return the tenth, 0 to 9, that contains a probability."""
    return min(int(probability * BINS), BINS - 1)


@dataclass(frozen=True, slots=True)
class LiveRiskTable:
    """All live records, and the time of their measurement (UNIX seconds)."""

    measured_at: float = 0.0
    records: tuple[LiveRiskRecord, ...] = ()

    def touches(self, served_by: str, days: int, tenths: Collection[int]) -> tuple[LiveRiskRecord, ...]:
        """Return the records of touches and of closes beyond, for some tenths and for all probabilities.

        Args:
            served_by: The model that answered; if it has no record of its own, that of all models is used.
            days: The horizon; the nearest one with a record is used.
            tenths: Tenths of the stated probabilities.
        """
        found: list[LiveRiskRecord] = []
        for kind in (TOUCH, CLOSE_BEYOND):
            rows = [r for r in self.records if r.kind == kind]
            found += [r for r in _nearest(rows, served_by, days) if r.tenth is None or r.tenth in tenths]
        return tuple(found)

    def exceedances(
        self, served_by: str, days: int, levels_percent: Collection[float]
    ) -> tuple[LiveRiskRecord, ...]:
        """Return the records of the value at risk at some levels.

        Args:
            served_by: The model that answered; if it has no record of its own, that of all models is used.
            days: The horizon; the nearest one with a record is used.
            levels_percent: Levels of the value at risk.
        """
        wanted = {round(level, 1) for level in levels_percent}
        rows = [r for r in self.records if r.level_percent in wanted]
        return tuple(_nearest(rows, served_by, days))

    def to_json(self) -> str:
        """Return plain JSON."""
        plain = {"measured_at": self.measured_at, "records": [asdict(r) for r in self.records]}
        return json.dumps(plain, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse the output of `to_json`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: The text has another form.
        """
        plain = json.loads(text)
        names = LiveRiskRecord.__dataclass_fields__
        rows = (LiveRiskRecord(**{name: row[name] for name in names}) for row in plain["records"])
        return cls(float(plain["measured_at"]), tuple(rows))


def touch_sentence(records: Sequence[LiveRiskRecord], probability: float) -> str:
    """Return the sentence of the record for touches with about this probability."""
    tenth = tenth_of(probability)
    return _first_sentence(r for r in records if r.kind == TOUCH and r.tenth == tenth)


def exceedance_sentence(records: Sequence[LiveRiskRecord], level_percent: float) -> str:
    """Return the sentence of the record for the value at risk at a level."""
    return _first_sentence(r for r in records if r.level_percent == round(level_percent, 1))


def _nearest(rows: Sequence[LiveRiskRecord], served_by: str, days: int) -> list[LiveRiskRecord]:
    """Return a model's own rows, else those of all models, at the horizon nearest to the requested one."""
    own = [r for r in rows if r.served_by == served_by] or [r for r in rows if not r.served_by]
    if not own:
        return []
    horizon = min({r.horizon_days for r in own}, key=lambda h: (abs(h - days), h))
    at_horizon = [r for r in own if r.horizon_days == horizon]
    return sorted(at_horizon, key=lambda r: (_order(r.tenth), r.level_percent or 0.0))


def _first_sentence(records: Iterable[LiveRiskRecord]) -> str:
    return next((record.sentence() for record in records), NOT_SCORED)


def _order(tenth: int | None) -> int:
    """Return a sort key that puts the record of all probabilities before those of the tenths."""
    return -1 if tenth is None else tenth
