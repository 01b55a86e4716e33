"""Measure the risk statements that a version would have made on past days, out of sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Candles, Floats, Panel
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.scenarios import (
    MAX_DAYS,
    MIN_OWN_DAYS,
    RiskRecord,
    ScenarioLibrary,
    Statements,
    assess_portfolio,
    quantiles_on_every_day,
    simulate_paths,
    touch_probabilities,
)
from coincast_modelkit.scenarios.record import BINS
from coincast_training.trainers.base import WalkForward

TOUCH_HORIZONS = (1, 3, 7, 14)
LOSS_HORIZONS = (1, 7)
MOVES_PERCENT = (-15, -10, -5, -2, -1, 1, 2, 5, 10, 15)
LEVELS_PERCENT = (90.0, 95.0, 97.5)
# Every seventh day of three years. More days would add seconds to each training and little information, since
# paths overlap.
EVERY_DAYS = 7
MAX_RECORD_DAYS = 150
MAX_RECORD_COINS = 10


def measure_risk(walk_forward: WalkForward, panel: Panel, library: ScenarioLibrary) -> RiskRecord | None:
    """Return the record of touches and exceedances; None if no day has forecasts and outcomes.

    Args:
        walk_forward: Out-of-sample forecasts.
        panel: Candles of the coins.
        library: Scenario library of all past origins; a day only uses paths that had ended by then.
    """
    longest = sorted(panel, key=lambda coin: (-len(panel[coin]), coin))[:MAX_RECORD_COINS]
    served = _quantiles_by_day(walk_forward, longest, library.anchors)
    if not served:
        return None
    days = sorted(served)[::-EVERY_DAYS][:MAX_RECORD_DAYS]
    touches: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    losses: dict[str, list[bool]] = defaultdict(list)
    used = [
        day
        for day in days
        if _add_day(
            day, served[day], panel, library, walk_forward.probabilities, touches=touches, losses=losses
        )
    ]
    if not used:
        return None
    return RiskRecord(
        first_day=str(min(used)),
        last_day=str(max(used)),
        touches={
            key: Statements(
                len(rows),
                100 * float(np.mean([p for p, _ in rows])),
                100 * float(np.mean([e for _, e in rows])),
            )
            for key, rows in sorted(touches.items())
        },
        exceedances={
            key: Statements(len(hits), round(100 - float(key.split(":")[1]), 6), 100 * float(np.mean(hits)))
            for key, hits in sorted(losses.items())
        },
    )


def _quantiles_by_day(
    walk: WalkForward, coins: Sequence[str], anchors: tuple[int, ...]
) -> dict[np.datetime64, dict[str, Floats]]:
    """Return the quantiles (A, Q) by day and coin, if every anchor has a forecast and an outcome."""
    rows: dict[tuple[np.datetime64, str], dict[int, int]] = defaultdict(dict)
    chosen = np.isin(walk.coin_ids, list(coins)) & np.isin(walk.horizons, anchors)
    for row in np.flatnonzero(chosen).tolist():
        key = walk.origins[row].astype("datetime64[D]"), str(walk.coin_ids[row])
        rows[key][int(walk.horizons[row])] = row
    found: dict[np.datetime64, dict[str, Floats]] = defaultdict(dict)
    for (day, coin), at in rows.items():
        if len(at) == len(anchors):
            found[day][coin] = walk.log_return_quantiles[[at[a] for a in anchors]]
    return found


def _add_day(
    day: np.datetime64,
    served: dict[str, Floats],
    panel: Panel,
    library: ScenarioLibrary,
    probabilities: Floats,
    *,
    touches: dict[str, list[tuple[float, bool]]],
    losses: dict[str, list[bool]],
) -> bool:
    """Add the statements of one day to `touches` and `losses`; return whether there were any."""
    rows = {coin: int(np.searchsorted(panel[coin].dates, day)) for coin in served}
    coins = [
        coin
        for coin, row in rows.items()
        if row >= MIN_OWN_DAYS and row + MAX_DAYS < len(panel[coin]) and panel[coin].dates[row] == day
    ]
    if not coins:
        return False
    try:
        window = library.window(day)
    except ValueError:
        return False
    made = _forecasts(day, coins, served, panel, library=library, probabilities=probabilities)
    if not made.usable().all():
        return False
    paths = simulate_paths(window, made, MAX_DAYS)
    for coin in coins:
        start = rows[coin]
        reached = _Reached.of(panel[coin].rows(start, start + MAX_DAYS + 1))
        for move in MOVES_PERCENT:
            level = float(np.log1p(move / 100))
            chances = touch_probabilities(paths, coin, level).touch
            for horizon in TOUCH_HORIZONS:
                chance = float(chances[horizon - 1])
                tenth = min(int(chance * BINS), BINS - 1)
                touches[f"{horizon}:{tenth}"].append((chance, reached.touches(level, horizon)))
    weights = dict.fromkeys(coins, 1 / len(coins))
    for horizon in LOSS_HORIZONS:
        change = np.mean([panel[c].close[rows[c] + horizon] / panel[c].close[rows[c]] - 1 for c in coins])
        for tail in assess_portfolio(paths, weights, horizon, LEVELS_PERCENT).levels:
            if tail.value_at_risk is not None:
                losses[f"{horizon}:{tail.level_percent:g}"].append(bool(change < -tail.value_at_risk))
    return True


def _forecasts(
    day: np.datetime64,
    coins: Sequence[str],
    served: dict[str, Floats],
    panel: Panel,
    *,
    library: ScenarioLibrary,
    probabilities: Floats,
) -> Forecasts:
    table = np.stack([served[coin] for coin in coins]).astype(np.float64)
    quantiles = quantiles_on_every_day(library.anchors, table, probabilities, MAX_DAYS)
    plain = np.full(quantiles.shape[:2], np.nan)
    return Forecasts(
        coin_ids=tuple(coins),
        as_of=(day.astype(object),) * len(coins),
        last_price=np.array([panel[c].until(day).last_price for c in coins]),
        horizons=tuple(range(1, MAX_DAYS + 1)),
        probabilities=probabilities,
        log_return_quantiles=quantiles,
        volatility=plain,
        trailing_volatility=plain,
        rise_of_volatility=plain,
    )


@dataclass(frozen=True, slots=True)
class _Reached:
    """The highest and lowest prices up to each day after a close, (D,).

    Attributes:
        start: The close that the days come after.
        highest: The highest price so far; of a day without a high, the close counts.
        lowest: The lowest price so far, likewise.
    """

    start: float
    highest: Floats
    lowest: Floats

    @classmethod
    def of(cls, candles: Candles) -> _Reached:
        """Return the prices that the days after the first one reached."""
        return cls(
            float(candles.close[0]),
            np.maximum.accumulate(np.fmax(candles.high, candles.close)[1:]),
            np.minimum.accumulate(np.fmin(candles.low, candles.close)[1:]),
        )

    def touches(self, level: float, horizon: int) -> bool:
        """Return whether a level, a log return from the start, was touched within `horizon` days."""
        price = self.start * np.exp(level)
        if level > 0:
            return bool(self.highest[horizon - 1] >= price)
        return bool(self.lowest[horizon - 1] <= price)
