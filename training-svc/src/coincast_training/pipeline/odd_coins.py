"""Leave coins with an odd history out of the training: prices that are wrong, frozen or fixed.

Trainers pool the moments of all coins. One redenomination, false spike or frozen price would therefore widen
the forecasts of every coin. The trained model still forecasts a coin that is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles, Floats, Panel
from coincast_modelkit.hourly.candles import HourlyPanel

# If a price rises sixfold or falls to a quarter in one day, it is a redenomination, a false price or a
# collapse. Coins that are still traded have risen fourfold in a day at most, and have not fallen by more than
# two thirds.
MAX_DAY_RISE = 6.0
MAX_DAY_FALL = 4.0
# A change that is reversed on the next day is a false price even if it is smaller.
MAX_REVERTED_FACTOR = 2.5
REVERTED_SHARE = 0.8
MAX_UNCHANGED_SHARE = 0.1
MAX_UNCHANGED_RUN_DAYS = 14
# A coin with a smaller typical daily change has a fixed price, like a stablecoin.
MIN_TYPICAL_CHANGE = 0.0015
MAX_WITHOUT_VOLUME_SHARE = 0.1
MAX_FALL_SHARE = 0.95
FALL_DAYS = 30
# Smaller oddities may be real or not. A history is divided at each day on which the price doubles or halves,
# and at each five days without a change; only the longest part is trained on. The ten coins with long
# histories have no such days, so the results of the model card do not depend on this rule.
DIVIDING_FACTOR = 2.0
DIVIDING_STILL_DAYS = 5
MIN_PART_DAYS = 120


def exclusion_reason(candles: Candles) -> str:
    """Return the reason why a coin must not be trained on, or an empty string if it may be."""
    days = candles.dates.astype(np.int64)
    # During a gap of more than a month, a price may have changed by any factor.
    returns = np.diff(np.log(candles.close))[np.diff(days) <= FALL_DAYS]
    dates = candles.dates[1:][np.diff(days) <= FALL_DAYS]
    if not len(returns):
        return ""
    return _jump(dates, returns) or _standstill(candles, returns) or _collapse(candles)


def _jump(dates: np.ndarray, returns: Floats) -> str:
    """Describe a jump of the close, or a jump that is reversed on the next day; empty without one."""
    steps = np.where(returns > 0, returns / np.log(MAX_DAY_RISE), -returns / np.log(MAX_DAY_FALL))
    largest = int(np.argmax(steps))
    if steps[largest] >= 1:
        return f"its close changes {np.exp(np.abs(returns[largest])):.0f}-fold on {dates[largest]}"
    both = np.minimum(np.abs(returns[1:]), np.abs(returns[:-1]))
    left = np.abs(returns[1:] + returns[:-1])
    reverted = (both >= np.log(MAX_REVERTED_FACTOR)) & (left <= (1 - REVERTED_SHARE) * 2 * both)
    if reverted.any():
        at = int(np.argmax(reverted))
        return f"its close changes {np.exp(both[at]):.1f}-fold on {dates[at]} and back on the next day"
    return ""


def _standstill(candles: Candles, returns: Floats) -> str:
    """Describe a close that does not change, or a coin without volume; empty if neither is the case."""
    same = returns == 0
    if (unchanged := float(same.mean())) > MAX_UNCHANGED_SHARE:
        return f"its close does not change on {100 * unchanged:.0f} % of its days"
    if (run := _longest_run(same)) >= MAX_UNCHANGED_RUN_DAYS:
        return f"its close does not change for {run} days in a row"
    if (typical := float(np.median(np.abs(returns)))) < MIN_TYPICAL_CHANGE:
        return f"its price is fixed: its close changes by {100 * typical:.2f} % on a typical day"
    volume = candles.volume[np.isfinite(candles.volume)]
    if len(volume) and (idle := float((volume == 0).mean())) > MAX_WITHOUT_VOLUME_SHARE:
        return f"it has no volume on {100 * idle:.0f} % of its days"
    return ""


def _longest_run(flags: np.ndarray) -> int:
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int64)))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def _collapse(candles: Candles) -> str:
    """Describe a loss of nearly the whole price within a month; empty without one."""
    if len(candles) <= FALL_DAYS + 1:
        return ""
    within = (candles.dates[FALL_DAYS:] - candles.dates[:-FALL_DAYS]).astype(np.int64) <= 2 * FALL_DAYS
    falls = np.where(within, candles.close[FALL_DAYS:] / candles.close[:-FALL_DAYS], 1.0)
    worst = int(np.argmin(falls))
    if falls[worst] >= 1 - MAX_FALL_SHARE:
        return ""
    lost = 100 * (1 - float(falls[worst]))
    return f"it lost {lost:.1f} % in {FALL_DAYS} days up to {candles.dates[worst + FALL_DAYS]}"


def ordinary_part(candles: Candles) -> Candles:
    """Return the longest part of a history without a doubling, a halving or a standstill.

    Of parts of equal length it is the newest.
    """
    returns = np.diff(np.log(candles.close), prepend=np.log(candles.close[:1]))
    # During a gap a price may have changed by any factor, so a gap does not divide a history.
    near = np.diff(candles.dates.astype(np.int64), prepend=candles.dates[:1].astype(np.int64)) <= FALL_DAYS
    divides = near & (np.abs(returns) >= np.log(DIVIDING_FACTOR))
    still = np.concatenate([[False], near[1:] & (returns[1:] == 0)])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int64)))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        if after - first >= DIVIDING_STILL_DAYS:
            divides[first:after] = True
    starts = np.concatenate([[0], np.flatnonzero(divides)])
    stops = np.concatenate([np.flatnonzero(divides), [len(candles)]])
    lengths = stops - starts
    longest = len(lengths) - 1 - int(np.argmax(lengths[::-1]))
    return candles.rows(int(starts[longest]), int(stops[longest]))


def without_odd_coins(panel: Panel) -> tuple[Panel, dict[str, str]]:
    """Split a panel into the coins to train on, and the reasons why other coins are left out.

    Only the `ordinary_part` of a coin is kept. If every coin is odd, the panel is returned unchanged, since
    the user requested a model of odd coins.
    """
    reasons: dict[str, str] = {}
    kept: dict[str, Candles] = {}
    for coin_id, candles in panel.items():
        if reason := exclusion_reason(candles):
            reasons[coin_id] = reason
            continue
        part = ordinary_part(candles)
        if len(part) < min(MIN_PART_DAYS, len(candles)):
            reasons[coin_id] = (
                f"it doubles, halves or does not change so often that no {MIN_PART_DAYS} days remain between"
            )
        else:
            kept[coin_id] = part
    return (kept, reasons) if kept else (panel, {})


def without_odd_hours(panel: HourlyPanel) -> tuple[HourlyPanel, dict[str, str]]:
    """Leave out coins as `exclusion_reason` says of their daily candles; see `without_odd_coins`."""
    reasons = {
        coin_id: reason for coin_id, hours in panel.items() if (reason := exclusion_reason(hours.daily()))
    }
    kept = {coin_id: hours for coin_id, hours in panel.items() if coin_id not in reasons}
    return (kept, reasons) if kept else (panel, {})


def shortened_coins(panel: Panel, learnt: Panel) -> dict[str, str]:
    """Return the reason for each coin of which only a part of the days is trained on."""
    return {
        coin_id: (
            f"it doubles, halves or does not change on other days, so only its days from {part.dates[0]} to "
            f"{part.dates[-1]} are used"
        )
        for coin_id, part in learnt.items()
        if coin_id in panel and len(part) < len(panel[coin_id])
    }


def left_out_notes(reasons: Mapping[str, str], shortened: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the notes of a manifest on coins that were left out or shortened, if there are any."""
    notes = {"left_out": dict(reasons), "shortened": dict(shortened or {})}
    return {name: found for name, found in notes.items() if found}
