"""Leave coins out of a training panel whose history is not that of a traded price.

Trainers pool the moments of all coins, so one redenomination, false spike or frozen price would widen every
coin's forecasts. Such a coin still gets forecasts of its own from the trained model.
"""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Candles, Panel

# A day on which a price rises or falls sixfold is a redenomination, a false print or a collapse.
MAX_DAY_FACTOR = 6.0
MAX_UNCHANGED_SHARE = 0.3
MAX_WITHOUT_VOLUME_SHARE = 0.5
MAX_FALL_SHARE = 0.995
FALL_DAYS = 30


def oddness(candles: Candles) -> str:
    """Return why a coin must not be learnt from, or an empty string where it may."""
    returns = np.diff(np.log(candles.close))
    if not len(returns):
        return ""
    largest = int(np.argmax(np.abs(returns)))
    if (factor := float(np.exp(np.abs(returns[largest])))) >= MAX_DAY_FACTOR:
        return f"its close changes {factor:.0f}-fold on {candles.dates[largest + 1]}"
    if (unchanged := float((returns == 0).mean())) > MAX_UNCHANGED_SHARE:
        return f"its close does not change on {100 * unchanged:.0f} % of its days"
    volume = candles.volume[np.isfinite(candles.volume)]
    if len(volume) and (idle := float((volume == 0).mean())) > MAX_WITHOUT_VOLUME_SHARE:
        return f"it has no volume on {100 * idle:.0f} % of its days"
    if len(returns) > FALL_DAYS:
        falls = candles.close[FALL_DAYS:] / candles.close[:-FALL_DAYS]
        worst = int(np.argmin(falls))
        if falls[worst] < 1 - MAX_FALL_SHARE:
            lost = 100 * (1 - float(falls[worst]))
            return f"it lost {lost:.1f} % in {FALL_DAYS} days up to {candles.dates[worst + FALL_DAYS]}"
    return ""


def without_odd_coins(panel: Panel) -> tuple[Panel, dict[str, str]]:
    """Split a panel into the coins to learn from and the reasons why the others are left out.

    Where every coin is odd the panel stays as it is: a model of an odd coin alone is what was asked for.
    """
    reasons = {coin_id: reason for coin_id, candles in panel.items() if (reason := oddness(candles))}
    kept = {coin_id: candles for coin_id, candles in panel.items() if coin_id not in reasons}
    return (kept, reasons) if kept else (panel, {})
