"""Choose the scenario library of a simulation, or build one from histories if no version has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from coincast_forecast.registry.deployment import LiveVersion, Snapshot
from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.scenarios import MoveLibrary, ScenarioLibrary, build_library

ANCHORS = (1, 3, 7, 14)
# RiskMetrics 1996: the decay of daily variance.
DECAY = 0.94
WARMUP_DAYS = 30
NO_LIBRARY = (
    "the version that answered has no scenario library, so the scenarios are past days of these coins in "
    "units of their own trailing volatility"
)


@dataclass(frozen=True, slots=True)
class ChosenLibrary:
    """A library; `reason` is set if it is not the library of the version that answered."""

    library: MoveLibrary
    reason: str = ""


def choose_library(versions: Iterable[LiveVersion | None], snapshot: Snapshot) -> ChosenLibrary | None:
    """Return the library of a version that answered, else that of another version in production.

    Moves are stored in units of the volatility that was forecast at their time, so a library can be used with
    the forecasts of another model; the answer then says so.

    Args:
        versions: The versions that answered; None for a forecast without a version.
        snapshot: The deployed versions.
    """
    for version in versions:
        if version is not None and version.scenarios is not None:
            return ChosenLibrary(version.scenarios)
    for deployment in snapshot.values():
        version = deployment.production
        if version is not None and version.scenarios is not None:
            reason = f"the scenarios are those of {version.model} {version.version}"
            return ChosenLibrary(version.scenarios, reason)
    return None


def build_from_histories(panel: Mapping[str, Candles]) -> ScenarioLibrary | None:
    """Build a library from the coins' own past days, scaled by their trailing volatility.

    Returns:
        The library, or None if the histories are too short.
    """
    coin_ids: list[str] = []
    days: list[np.ndarray] = []
    volatility: list[Floats] = []
    for coin, candles in panel.items():
        if len(candles) <= WARMUP_DAYS:
            continue
        coin_ids += [coin] * (len(candles) - WARMUP_DAYS)
        days.append(candles.dates[WARMUP_DAYS:])
        volatility.append(_trailing_volatility(candles.close)[WARMUP_DAYS:])
    if not coin_ids:
        return None
    daily = np.concatenate(volatility)
    scales = {anchor: daily * np.sqrt(anchor) for anchor in ANCHORS}
    return build_library(panel, coin_ids, np.concatenate(days), ANCHORS, scales)


def _trailing_volatility(closes: Floats) -> Floats:
    """Return the exponentially weighted standard deviation of the daily log return at each close, (n,)."""
    squares = np.diff(np.log(closes), prepend=np.log(closes[0])) ** 2
    variance = np.empty(len(squares))
    current = float(np.mean(squares[1 : WARMUP_DAYS + 1]))
    for i, square in enumerate(squares):
        current = DECAY * current + (1 - DECAY) * square
        variance[i] = current
    # The days of a coin with a constant price cannot be scaled.
    return np.where(variance > 0, np.sqrt(variance), np.nan)
