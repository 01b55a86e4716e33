"""Leave coins out of a training panel whose history does not look like that of a traded price.

Trainers pool the moments of all coins, so one redenomination, false spike or frozen price would widen every
coin's forecasts. Such a coin still gets forecasts of its own from the trained model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles, Floats, Panel
from coincast_modelkit.hourly.candles import HourlyPanel

# A day on which a price rises sixfold or falls to a quarter is a redenomination, a false print or a collapse.
# Coins that still trade have risen fourfold in a day, and have not fallen by more than two thirds.
MAX_DAY_RISE = 6.0
MAX_DAY_FALL = 4.0
# A change that the next day takes back is a false print at a smaller size.
MAX_REVERTED_FACTOR = 2.5
REVERTED_SHARE = 0.8
MAX_UNCHANGED_SHARE = 0.1
MAX_UNCHANGED_RUN_DAYS = 14
# The typical daily change of a coin that is held to a price, as stablecoins are, is smaller.
MIN_TYPICAL_CHANGE = 0.0015
MAX_WITHOUT_VOLUME_SHARE = 0.1
MAX_FALL_SHARE = 0.95
FALL_DAYS = 30
# Smaller oddities may be true or false. A day on which a price doubles or halves, and five days without a
# change, divide a history, and the longest part is learnt from. The ten coins with long histories have none
# of them, so the measured figures do not depend on this.
DIVIDING_FACTOR = 2.0
DIVIDING_STILL_DAYS = 5
MIN_PART_DAYS = 120


def exclusion_reason(candles: Candles) -> str:
    """Return why a coin must not be learnt from, or an empty string where it may."""
    days = candles.dates.astype(np.int64)
    # Over a gap of a month a price may have moved by any factor.
    returns = np.diff(np.log(candles.close))[np.diff(days) <= FALL_DAYS]
    dates = candles.dates[1:][np.diff(days) <= FALL_DAYS]
    if not len(returns):
        return ""
    return _jump(dates, returns) or _standstill(candles, returns) or _collapse(candles)


def _jump(dates: np.ndarray, returns: Floats) -> str:
    """Return the day on which the close steps, or is off for one day."""
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
    """Return how the close does not move, or that nothing is traded."""
    same = returns == 0
    if (unchanged := float(same.mean())) > MAX_UNCHANGED_SHARE:
        return f"its close does not change on {100 * unchanged:.0f} % of its days"
    if (run := _longest_run(same)) >= MAX_UNCHANGED_RUN_DAYS:
        return f"its close does not change for {run} days on end"
    if (typical := float(np.median(np.abs(returns)))) < MIN_TYPICAL_CHANGE:
        return f"it is held to a price: its close changes by {100 * typical:.2f} % on a typical day"
    volume = candles.volume[np.isfinite(candles.volume)]
    if len(volume) and (idle := float((volume == 0).mean())) > MAX_WITHOUT_VOLUME_SHARE:
        return f"it has no volume on {100 * idle:.0f} % of its days"
    return ""


def _longest_run(flags: np.ndarray) -> int:
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int64)))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def _collapse(candles: Candles) -> str:
    """Return when nearly all of the price was lost within a month."""
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
    # Over a gap a price may have moved by any factor: it does not divide a history.
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
    """Split a panel into the coins to learn from and the reasons why the others are left out.

    Of the coins to learn from only `ordinary_part` remains. If every coin is odd, the panel stays as it is,
    since a model of an odd coin was requested.
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
                f"it doubles, halves or stands still so often that no {MIN_PART_DAYS} days are left between"
            )
        else:
            kept[coin_id] = part
    return (kept, reasons) if kept else (panel, {})


def without_odd_hours(panel: HourlyPanel) -> tuple[HourlyPanel, dict[str, str]]:
    """Do the same as `without_odd_coins` for hourly candles, using their daily candles."""
    reasons = {
        coin_id: reason for coin_id, hours in panel.items() if (reason := exclusion_reason(hours.daily()))
    }
    kept = {coin_id: hours for coin_id, hours in panel.items() if coin_id not in reasons}
    return (kept, reasons) if kept else (panel, {})


def shortened_coins(panel: Panel, learnt: Panel) -> dict[str, str]:
    """Return why a coin is learnt from over a part of its days only, for each coin that is."""
    return {
        coin_id: (
            f"it doubles, halves or stands still, so only its days from {part.dates[0]} to {part.dates[-1]} "
            "are learnt from"
        )
        for coin_id, part in learnt.items()
        if coin_id in panel and len(part) < len(panel[coin_id])
    }


def left_out_notes(reasons: Mapping[str, str], shortened: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what a manifest says of coins that were left out or shortened; nothing where there are none."""
    notes = {"left_out": dict(reasons), "shortened": dict(shortened or {})}
    return {name: found for name, found in notes.items() if found}
