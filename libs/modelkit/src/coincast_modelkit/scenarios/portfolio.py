"""Portfolio risk from joint paths: value at risk, expected shortfall and its components, worst scenarios."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Dates, Floats
from coincast_modelkit.scenarios.paths import JointPaths

DEFAULT_LEVELS = (90.0, 95.0, 97.5, 99.0)
# A tail with fewer scenarios, or with fewer separate episodes, is too small for an estimate.
MIN_TAIL_SCENARIOS = 10
MIN_TAIL_EPISODES = 5
# Minimum for a single coin at one day: its tail is that of the calibrated forecast, which needs no episodes.
MIN_COIN_SCENARIOS = 5
# The highest levels with an estimate. A single coin at one day has a higher limit, since its calibrated
# forecast was exceeded at the nominal rate (54 of 10,800 days at 99.5 %).
LAST_BASKET_LEVEL = 99.0
LAST_COIN_LEVEL = 99.5
# Relative standard deviation in percent of an estimate at 99 %, due to the limited history: at one day, and
# at more days.
HISTORY_ERROR_PERCENT = (10.0, 13.0)
WORST = 5


@dataclass(frozen=True, slots=True)
class TailRisk:
    """Loss at one level, as positive amounts in the currency of the holdings.

    Attributes:
        level_percent: The level, as 97.5.
        value_at_risk: The loss that is exceeded in (100 - level) % of the scenarios; None if refused.
        expected_shortfall: Mean loss in these scenarios; None if refused.
        components: Each coin's part of the expected shortfall, in the order of the holdings; they sum to it.
        tail_scenarios: Number of scenarios that lie in the tail with their whole weight.
        tail_episodes: Number of separate episodes that they come from.
        indicative: True if the error due to the limited history is so large that the figure is only
            indicative.
        relative_error_percent: That error; None where it was not measured.
        refused: Why there is no estimate, and the highest level that has one; empty if there is an estimate.
    """

    level_percent: float
    value_at_risk: float | None
    expected_shortfall: float | None
    components: tuple[float, ...]
    tail_scenarios: int
    tail_episodes: int
    indicative: bool
    relative_error_percent: float | None
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PortfolioRisk:
    """The loss distribution of holdings at one horizon.

    Attributes:
        coin_ids: The coins of the holdings, (n,).
        changes: Change in value of every scenario, (S,), in the order of the origins.
        levels: One entry for each requested level.
        diversification_percent: 100 * (1 - expected shortfall / sum of the expected shortfalls of the coins
            held alone), at the highest level with an estimate; None without an estimate.
        worst: Origin and change of the worst scenarios, worst first.
    """

    coin_ids: tuple[str, ...]
    changes: Floats
    levels: tuple[TailRisk, ...]
    diversification_percent: float | None
    worst: tuple[tuple[dt.date, float], ...]

    def quantiles(self, probabilities: Sequence[float]) -> Floats:
        """Return quantiles of the change in value (Hazen), (len(probabilities),)."""
        return np.asarray(np.quantile(self.changes, probabilities, method="hazen"))


def assess_portfolio(
    paths: JointPaths,
    holdings: Mapping[str, float],
    days: int,
    levels_percent: Sequence[float] = DEFAULT_LEVELS,
) -> PortfolioRisk:
    """Assess the risk of holdings that do not change until the horizon.

    Args:
        paths: Joint paths that include every coin of the holdings.
        holdings: Value of each coin now, in one currency; negative for a short position.
        days: The horizon in days, 1 to the length of the paths.
        levels_percent: Levels of value at risk, 50 to below 100.

    Raises:
        ValueError: There are no holdings, a coin is not among the paths, or a number is out of range.
    """
    if not holdings:
        raise ValueError("a portfolio needs at least one holding")
    if not 1 <= days <= paths.days:
        raise ValueError(f"days must be 1 to {paths.days}, got {days}")
    if wrong := [level for level in levels_percent if not 50 <= level < 100]:
        raise ValueError(f"levels must be from 50 to below 100 percent, got {wrong[0]}")
    at = [paths.index(coin) for coin in holdings]
    values = np.array(list(holdings.values()), dtype=np.float64)
    gains = values[:, None] * np.expm1(paths.closes[at, days - 1])
    changes = gains.sum(axis=0)
    order = np.argsort(changes, kind="stable")
    single = int(np.count_nonzero(values)) == 1
    said = [
        _tail(changes, gains, order, origins=paths.origins, level=level, days=days, single=single)
        for level in levels_percent
    ]
    highest = max((t for t in said if t.expected_shortfall is not None), key=_level, default=None)
    levels = tuple(t if not t.refused else _with_instead(t, highest) for t in said)
    own_days: list[dt.date] = paths.origins[order[:WORST]].astype(object).tolist()
    return PortfolioRisk(
        coin_ids=tuple(holdings),
        changes=changes,
        levels=levels,
        diversification_percent=None if highest is None else _diversification(gains, highest),
        worst=tuple(zip(own_days, changes[order[:WORST]].tolist(), strict=True)),
    )


def value_at_risk(changes: Floats, level_percent: float) -> float:
    """Return the loss at a level from changes in value (S,): Hazen's quantile, positive for a loss."""
    return -float(np.quantile(changes, 1 - level_percent / 100, method="hazen"))


def tail_weights(count: int, level_percent: float) -> Floats:
    """Return the weights of the worst scenarios in an expected shortfall, (m,), with a sum of one.

    The tail of `count` equally likely scenarios need not contain a whole number of them, so the last one may
    have a smaller weight.
    """
    size = max(round(count * (1 - level_percent / 100), 9), 1e-9)
    whole = int(size)
    weights = np.ones(whole + 1)
    weights[-1] = size - whole
    return np.asarray(weights[weights > 0] / size)


def tail_support(origins: Dates, days: int) -> int:
    """Return the number of separate episodes that some origins belong to.

    Origins belong to the same episode if the gap between them is at most 7 days, or twice the horizon where
    that is longer (14 days at a horizon of 7): paths that overlap or adjoin have a common cause.
    """
    if not len(origins):
        return 0
    gaps = np.diff(np.sort(origins)).astype("timedelta64[D]").astype(np.int64)
    return 1 + int(np.count_nonzero(gaps > max(7, 2 * days)))


def _tail(
    changes: Floats,
    gains: Floats,
    order: np.ndarray,
    *,
    origins: Dates,
    level: float,
    days: int,
    single: bool,
) -> TailRisk:
    weights = tail_weights(len(changes), level)
    worst = order[: len(weights)]
    whole = int(np.count_nonzero(weights >= weights[0]))
    episodes = tail_support(origins[order[:whole]], days)
    refused = _refusal(level, whole, episodes, days=days, single=single)
    if refused:
        return TailRisk(
            level_percent=level,
            value_at_risk=None,
            expected_shortfall=None,
            components=(),
            tail_scenarios=whole,
            tail_episodes=episodes,
            indicative=False,
            relative_error_percent=None,
            refused=refused,
        )
    components = -(gains[:, worst] @ weights)
    far = level >= 99
    return TailRisk(
        level_percent=level,
        value_at_risk=value_at_risk(changes, level),
        expected_shortfall=float(components.sum()),
        components=tuple(components.tolist()),
        tail_scenarios=whole,
        tail_episodes=episodes,
        indicative=far and days > 1,
        relative_error_percent=HISTORY_ERROR_PERCENT[days > 1] if far else None,
    )


def _refusal(level: float, scenarios: int, episodes: int, *, days: int, single: bool) -> str:
    """Return the reason why a level cannot be estimated; empty if it can."""
    if single and days == 1 and level <= LAST_COIN_LEVEL and scenarios >= MIN_COIN_SCENARIOS:
        return ""
    if level > LAST_BASKET_LEVEL:
        of_what = f"a single coin beyond {LAST_COIN_LEVEL:g} % at one day or " if single else ""
        return (
            f"There is no estimate for {of_what}a basket beyond {LAST_BASKET_LEVEL:g} %: "
            "the past contains too few such days."
        )
    if scenarios < MIN_TAIL_SCENARIOS:
        return f"Only {scenarios} past scenarios lie in this tail, and {MIN_TAIL_SCENARIOS} are needed."
    if episodes < MIN_TAIL_EPISODES:
        return (
            f"The {scenarios} scenarios of this tail come from only {episodes} separate "
            f"{'episode' if episodes == 1 else 'episodes'} of the past, and {MIN_TAIL_EPISODES} are needed."
        )
    return ""


def _with_instead(tail: TailRisk, highest: TailRisk | None) -> TailRisk:
    instead = (
        "Give lower levels or fewer days."
        if highest is None
        else f"The highest level with an estimate is {highest.level_percent:g} %."
    )
    return TailRisk(
        level_percent=tail.level_percent,
        value_at_risk=None,
        expected_shortfall=None,
        components=(),
        tail_scenarios=tail.tail_scenarios,
        tail_episodes=tail.tail_episodes,
        indicative=False,
        relative_error_percent=None,
        refused=f"{tail.refused} {instead}",
    )


def _level(tail: TailRisk) -> float:
    return tail.level_percent


def _diversification(gains: Floats, tail: TailRisk) -> float | None:
    """Return the diversification in percent; None if the coins' own shortfalls do not sum to a loss."""
    weights = tail_weights(gains.shape[1], tail.level_percent)
    alone = -(np.sort(gains, axis=1)[:, : len(weights)] @ weights)
    total = float(alone.sum())
    assert tail.expected_shortfall is not None  # noqa: S101 - the callers pass only levels with an estimate
    return 100 * (1 - tail.expected_shortfall / total) if total > 0 else None
