"""The out-of-sample record of a version's risk answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

# With fewer forecasts a share is too uncertain to report.
MIN_STATEMENTS = 30
BINS = 10


@dataclass(frozen=True, slots=True)
class Statements:
    """Forecasts of one kind: their number, and the forecast and the observed share in percent."""

    count: int
    promised_percent: float
    came_percent: float


@dataclass(frozen=True, slots=True)
class RiskRecord:
    """Out-of-sample risk forecasts, by horizon in days.

    Attributes:
        first_day, last_day: ISO dates of the first and the last forecast.
        touches: By horizon and tenth of the probability (`"7:8"` holds 80 to 90 % within 7 days).
        exceedances: By horizon and level (`"1:95"`), of an equally weighted basket of the version's coins;
            the percentages are the share of days on which the loss was larger than the value at risk.
    """

    first_day: str
    last_day: str
    touches: Mapping[str, Statements]
    exceedances: Mapping[str, Statements]

    def touch_sentence(self, probability: float, days: int) -> str:
        """Return how often forecasts of about this probability came true; empty if there were too few."""
        tenth = min(int(probability * BINS), BINS - 1)
        found = self._nearest(self.touches, days, str(tenth))
        if found is None:
            return ""
        horizon, s = found
        return (
            f"In {s.count:,} earlier forecasts with a similar probability over {_days(horizon)} the price "
            f"touched the level in {s.came_percent:.0f} %; {s.promised_percent:.0f} % were expected."
        )

    def exceedance_sentence(self, level_percent: float, days: int) -> str:
        """Return how often a basket lost more than its value at risk; empty if that was not measured."""
        found = self._nearest(self.exceedances, days, f"{level_percent:g}")
        if found is None:
            return ""
        horizon, s = found
        return (
            f"On {s.count:,} past days an equally weighted basket lost more than its {level_percent:g} % "
            f"value at risk over {_days(horizon)} in {s.came_percent:.1f} % of cases; "
            f"{s.promised_percent:g} % were expected."
        )

    @staticmethod
    def _nearest(table: Mapping[str, Statements], days: int, rest: str) -> tuple[int, Statements] | None:
        """Return the statements of the horizon nearest to the requested one, and that horizon."""
        horizons = sorted(
            (int(key.split(":")[0]) for key in table if key.split(":")[1] == rest),
            key=lambda h: abs(h - days),
        )
        for horizon in horizons[:1]:
            s = table[f"{horizon}:{rest}"]
            return (horizon, s) if s.count >= MIN_STATEMENTS else None
        return None

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the output of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: The text has another form.
        """
        plain = json.loads(text)
        tables = {
            name: {key: Statements(**value) for key, value in plain[name].items()}
            for name in ("touches", "exceedances")
        }
        return cls(str(plain["first_day"]), str(plain["last_day"]), **tables)


def _days(horizon: int) -> str:
    return "one day" if horizon == 1 else f"{horizon} days"
