"""The HAR regression, which trees and networks correct: log volatility from past volatility and leverage.

Corsi 2009; with a leverage term Corsi and Reno 2012. A missing span takes the value of the next shorter known
one, so a coin with sixty days of history, or without the market's volatility, still gets a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats

OWN = ("har_1", "har_3", "har_7", "har_14", "har_30", "har_90", "har_180", "ewma_94")
MARKET = ("market_volatility_7", "market_volatility_30", "leader_volatility_7", "leader_volatility_30")
LEVERAGE = ("leverage_1", "leverage_7", "leverage_30")
MIN_ROWS = 20
TERMS = OWN + MARKET + LEVERAGE


@dataclass(frozen=True, slots=True, eq=False)
class HarLine:
    """A regression of log volatility at A anchor horizons on T terms.

    Coefficients are (A, T), intercepts (A,), centre (T,).
    """

    terms: tuple[str, ...]
    coefficients: Floats
    intercepts: Floats
    centre: Floats

    def predict(self, rows: Floats, names: Sequence[str]) -> Floats:
        """Return log daily volatility (n, A) for feature rows (n, F); NaN where har_3 is NaN."""
        x = design(rows, names, self.terms)
        return np.asarray((x - self.centre) @ self.coefficients.T + self.intercepts)

    def contributions(self, row: Floats, names: Sequence[str], anchor: int) -> dict[str, float]:
        """Return each term's contribution, relative to the training mean, for one row (F,) at one anchor."""
        x = design(row[None], names, self.terms)[0]
        return dict(zip(self.terms, (x - self.centre) * self.coefficients[anchor], strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists."""
        return {
            "terms": list(self.terms),
            "coefficients": self.coefficients.tolist(),
            "intercepts": self.intercepts.tolist(),
            "centre": self.centre.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Parse the output of to_dict."""
        arrays = (np.array(raw[k], dtype=np.float64) for k in ("coefficients", "intercepts", "centre"))
        return cls(tuple(raw["terms"]), *arrays)


def design(rows: Floats, names: Sequence[str], terms: Sequence[str] = TERMS) -> Floats:
    """Return the terms of feature rows, (n, T).

    Args:
        rows: Features, (n, F).
        names: The F features.
        terms: The T terms. A missing term takes the value of a known one; a row without any is NaN.
    """
    column = {name: i for i, name in enumerate(names)}
    absent = np.full(len(rows), np.nan)

    def take(name: str) -> Floats:
        return rows[:, column[name]] if name in column else absent

    known = take("har_3")
    filled: dict[str, Floats] = {}
    for name in OWN:
        value = take(name)
        known = np.where(np.isnan(value), known, value) if name.startswith("har_") else known
        filled[name] = np.where(np.isnan(value), known, value)
    for name in MARKET:
        value = take(name)
        filled[name] = np.where(np.isnan(value), filled[f"har_{name.rsplit('_', 1)[1]}"], value)
    for name in LEVERAGE:
        filled[name] = np.nan_to_num(take(name), nan=0.0)
    return np.stack([filled[t] for t in terms], axis=1)


def terms_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the terms that are among the given features, in the order of TERMS."""
    return tuple(t for t in TERMS if t in names)


def fit_line(rows: Floats, names: Sequence[str], targets: Floats, *, ridge: float) -> HarLine:
    """Fit a ridge regression for each anchor on the rows whose target is known.

    Args:
        rows: Features, (n, F).
        names: The F features.
        targets: Targets, (n, A), NaN where unknown.
        ridge: Strength of the penalty; it equals this many imaginary rows with a slope of zero.

    Raises:
        ValueError: There are fewer than 30 rows.
    """
    terms = terms_of(names)
    x = design(rows, names, terms)
    # Use only rows with a target, also for the scaler: other rows may lie in the test days.
    usable = np.isfinite(x).all(axis=1) & np.isfinite(targets).any(axis=1)
    if usable.sum() < MIN_ROWS:
        raise ValueError(f"the volatility line needs {MIN_ROWS} days with features and a target")
    centre = x[usable].mean(axis=0)
    spread = x[usable].std(axis=0)
    spread[spread == 0] = 1.0
    coefficients, intercepts = [], []
    for y in targets.T:
        known = usable & np.isfinite(y)
        if known.sum() < MIN_ROWS:
            raise ValueError(f"the volatility line needs {MIN_ROWS} days with targets")
        z = (x[known] - centre) / spread
        offset, mean = z.mean(axis=0), float(y[known].mean())
        gram = (z - offset).T @ (z - offset) + ridge * np.eye(z.shape[1])
        slope = np.linalg.solve(gram, (z - offset).T @ (y[known] - mean))
        coefficients.append(slope / spread)
        intercepts.append(mean - float(offset @ slope))
    return HarLine(terms, np.array(coefficients), np.array(intercepts), centre)
