"""Risk statements: serving logs a line for each risk answer, and training scores it after its days are over.

A line holds the data for scoring and nothing about the caller: no API key, no time of the request, no
amounts. A portfolio is stored as weights, rounded to a hundredth of a percent of the gross value.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from coincast_modelkit.ledger import RISK_LINE_PREFIX, check_day, check_texts, check_whole, json_of

MAX_WEIGHTS = 250
MAX_DAYS = 3660
WEIGHT_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class TouchStatement:
    """The probabilities that a coin's price touches one level, or closes beyond it, by day.

    Attributes:
        statement_id: Digest of the statement without its days; it is the same in every process.
        coin_id, vs_currency: The coin, and the currency of its prices.
        as_of: ISO date of the close that the days count from.
        served_by: The model that answered.
        last_price: The close at as_of.
        level: The level, a price in vs_currency.
        first_day: Days ahead of the first entries of `touch` and `close_beyond`.
        touch: Probability that the price touches the level at any time up to each day's close.
        close_beyond: Probability that each day closes at the level or beyond it.
    """

    statement_id: str
    coin_id: str
    vs_currency: str
    as_of: str
    served_by: str
    last_price: float
    level: float
    first_day: int
    touch: tuple[float, ...]
    close_beyond: tuple[float, ...]

    def __post_init__(self) -> None:
        check_texts(self, ("statement_id", "coin_id", "vs_currency", "as_of", "served_by"))
        check_whole(self, ("first_day",), most=MAX_DAYS)
        for name in ("touch", "close_beyond"):
            chances = tuple(float(p) for p in getattr(self, name))
            if not all(0 <= p <= 1 for p in chances):
                raise ValueError(f"{name} must hold probabilities from 0 to 1")
            object.__setattr__(self, name, chances)
        if not 0 < len(self.touch) <= MAX_DAYS or len(self.touch) != len(self.close_beyond):
            raise ValueError(f"a touch statement needs as many touch as close_beyond, 1 to {MAX_DAYS}")
        if self.first_day < 1:
            raise ValueError(f"first_day must be at least 1, got {self.first_day}")
        _check(self.as_of, self.last_price, self.level)

    @property
    def last_day(self) -> int:
        """Return the days ahead of the last entries."""
        return self.first_day + len(self.touch) - 1

    def to_json(self) -> str:
        """Return one line of strict JSON."""
        return _line("touch", self)


@dataclass(frozen=True, slots=True)
class LossStatement:
    """Value at risk and expected shortfall of a portfolio at one horizon, as shares of its gross value.

    Attributes:
        statement_id: Digest of the statement; it is the same in every process.
        vs_currency: The currency of the prices.
        as_of: ISO date of the close that the days count from.
        served_by: The model that answered; several models, if they differ between the coins.
        days: The horizon.
        weights: Each coin's share of the gross value, negative for a short position.
        last_prices: Each coin's price at as_of.
        levels: Triples of level in percent, value at risk and expected shortfall.
    """

    statement_id: str
    vs_currency: str
    as_of: str
    served_by: str
    days: int
    weights: Mapping[str, float]
    last_prices: Mapping[str, float]
    levels: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        check_texts(self, ("statement_id", "vs_currency", "as_of", "served_by"))
        check_whole(self, ("days",), most=MAX_DAYS)
        object.__setattr__(self, "levels", tuple(tuple(float(x) for x in level) for level in self.levels))
        if not 1 <= len(self.weights) <= MAX_WEIGHTS:
            raise ValueError(f"a loss statement holds 1 to {MAX_WEIGHTS} weights, got {len(self.weights)}")
        if set(self.weights) != set(self.last_prices):
            raise ValueError("a loss statement needs a last price for each weight")
        if self.days < 1:
            raise ValueError(f"days must be at least 1, got {self.days}")
        if not self.levels or not all(
            len(level) == 3 and 0 < level[0] < 100 and all(map(math.isfinite, level)) for level in self.levels
        ):
            raise ValueError("a loss statement needs levels of (percent, value at risk, expected shortfall)")
        if not all(map(math.isfinite, self.weights.values())):
            raise ValueError("a loss statement holds finite weights only")
        _check(self.as_of, *self.last_prices.values())

    def to_json(self) -> str:
        """Return one line of strict JSON."""
        return _line("losses", self)


RiskStatement = TouchStatement | LossStatement


def read_statement(line: str | bytes) -> RiskStatement:
    """Parse a line of `to_json`; unknown fields, which later versions may add, are ignored.

    Raises:
        ValueError: The line is not a statement, or a field is absent or out of range.
    """
    raw = json_of(line)
    kinds: dict[str, type[Any]] = {"touch": TouchStatement, "losses": LossStatement}
    kind = kinds.get(str(raw.get("statement"))) if isinstance(raw, dict) else None
    if kind is None:
        raise ValueError("a risk statement is a JSON object whose statement is touch or losses")
    known = {name: raw[name] for name in kind.__dataclass_fields__ if name in raw}
    try:
        statement: RiskStatement = kind(**known)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a risk statement is not whole: {error}") from error
    return statement


def statement_id(parts: Sequence[object]) -> str:
    """Return a digest of the parts of a statement; the same parts give the same id in every process."""
    return hashlib.blake2b(repr(tuple(parts)).encode(), digest_size=16).hexdigest()


def rounded_weights(values: Mapping[str, float]) -> dict[str, float]:
    """Return each coin's share of the gross value, rounded; shares that round to zero are left out.

    The rounded weights suffice for scoring and hide the exact sizes of the holdings, which could identify a
    caller.
    """
    gross = sum(abs(value) for value in values.values())
    if not gross:
        return {}
    shares = {coin: round(value / gross, WEIGHT_DECIMALS) for coin, value in values.items()}
    return {coin: share for coin, share in sorted(shares.items()) if share}


def _line(kind: str, statement: RiskStatement) -> str:
    body = json.dumps(asdict(statement), separators=(",", ":"), allow_nan=False)
    return f'{RISK_LINE_PREFIX}"{kind}",{body[1:]}'


def _check(as_of: str, *prices: float) -> None:
    check_day(as_of)
    if not all(math.isfinite(price) and price > 0 for price in prices):
        raise ValueError("a risk statement holds finite prices above 0 only")


def coins_of(statements: Sequence[RiskStatement]) -> list[str]:
    """Return the coins of the statements, sorted."""
    found: set[str] = set()
    for statement in statements:
        found.update([statement.coin_id] if isinstance(statement, TouchStatement) else statement.weights)
    return sorted(found)
