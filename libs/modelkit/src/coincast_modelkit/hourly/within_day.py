"""Update a daily forecast from the last close to a later hour of the day.

Until the next close, the width of the distribution is that of the hourly model. Beyond it, the width is that
of the daily model, adjusted to the volatility of the hours so far. The shape is that of the daily model at
the remaining time. At the last close the result equals the daily forecast; as the next close approaches, the
longer horizons approach those of a forecast from that close. Only future closes are forecast, so the horizons
and their days are those of the daily forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.hourly.candles import HOURS_A_DAY

# How far the trained daily models follow the hourly volatility of a day at their next close: the log of their
# width h days ahead changes by REACTION * h ** -REACTION_FADE of the change of the log of the hourly model's
# width at 24 hours.
# Regressions over 118 days and coins of 2020-09 to 2021-11 give 0.84, 0.44, 0.13, 0.09 at 1, 2, 7, 30 days
# for ml_ensemble and 0.54, 0.37, 0.21, 0.15 for lightgbm. technical averages over 60 days: it changes by
# 0.04.
REACTION, REACTION_FADE = 0.8, 0.75
# Limit of the change that the hours of one day may cause, in the log of the width.
MOST_NEWS = 1.0
# If the daily and the hourly width of the same day differ by more than this factor, one of them is wrong.
MOST_DISAGREEMENT = 3.0
_TAILS = (0.1, 0.9)


class WidthsDisagreeError(ValueError):
    """The daily and the hourly forecast of one day are too different to be joined."""


@dataclass(frozen=True, slots=True, eq=False)
class HourlyOutlook:
    """One coin's hourly forecasts, from which a daily forecast is updated.

    Attributes:
        at_close: Forecast from the last daily close, at 24 hours.
        now: Forecast from the newest hour, at the remaining hours of the day and at 24 hours.
        hours: Closed hours since the daily close, 1 to 23.
        volatility_error: Standard error of the log of a forecast volatility.
    """

    at_close: Forecasts
    now: Forecasts
    hours: int
    volatility_error: float


def hours_needed(hours: int) -> tuple[int, int]:
    """Return the horizons in hours that `HourlyOutlook.now` must hold.

    Args:
        hours: Closed hours since the daily close, 1 to 23.
    """
    return HOURS_A_DAY - hours, HOURS_A_DAY


def within_day(daily: Forecasts, outlook: HourlyOutlook, *, reaction: float = REACTION) -> Forecasts:
    """Update the daily forecast of one coin to the newest hour, at the horizons of the daily forecast.

    Args:
        daily: The forecast of one coin from the last close, at horizons 1 to H.
        outlook: The coin's hourly forecasts.
        reaction: How far the daily model follows the volatility of one day; 0 for a model that does not.

    Raises:
        WidthsDisagreeError: The two models' widths of one day differ by more than MOST_DISAGREEMENT.
        ValueError: The forecasts are not of one coin, or lack a horizon.
    """
    if len(daily) != 1 or daily.horizons[0] != 1:
        raise ValueError("a daily forecast that is moved must be of one coin and begin at one day")
    passed = outlook.hours / HOURS_A_DAY
    left, whole_day = hours_needed(outlook.hours)
    at_close = _width_at(outlook.at_close, whole_day)
    now, rest = _width_at(outlook.now, whole_day), _width_at(outlook.now, left)
    ratio = _width_at(daily, 1) / at_close
    if not 1 / MOST_DISAGREEMENT < ratio < MOST_DISAGREEMENT:
        raise WidthsDisagreeError(
            f"the daily forecast of the last close is {ratio:.2g} times as wide as the hourly one"
        )
    base = _with_less_to_go(daily.log_return_quantiles[0], passed)
    before = _half_widths(daily.probabilities, base)
    # The less of the day remains, the more its width and shape come from the hourly model.
    this_day = rest * ratio ** (1 - passed)
    news = np.clip(np.log(now / at_close), -MOST_NEWS, MOST_NEWS)
    ahead = np.maximum(np.array(daily.horizons) - passed, 1.0)
    further = (before**2 - before[0] ** 2) * np.exp(2 * reaction * ahead**-REACTION_FADE * news)
    widths = np.sqrt(np.maximum(this_day**2 + further, this_day**2))
    scale = np.divide(widths, before, out=np.ones_like(widths), where=before > 0)
    quantiles = base * scale[:, None]
    shape = outlook.now.log_return_quantiles[0, outlook.now.horizons.index(left)] / rest
    quantiles[0] = (1 - passed) * quantiles[0] + passed * this_day * shape
    chance = np.clip(daily.rise_of_volatility[0], 1e-6, 1 - 1e-6)
    from scipy.special import ndtr, ndtri  # noqa: PLC0415 - slow to import, and only this function uses it

    return Forecasts(
        coin_ids=daily.coin_ids,
        as_of=daily.as_of,
        last_price=outlook.now.last_price,
        horizons=daily.horizons,
        probabilities=daily.probabilities,
        log_return_quantiles=quantiles[None],
        volatility=daily.volatility * scale,
        trailing_volatility=daily.trailing_volatility,
        rise_of_volatility=ndtr(ndtri(chance) + np.log(scale) / outlook.volatility_error)[None],
    )


def _with_less_to_go(quantiles: Floats, passed: float) -> Floats:
    """Return the quantiles (H, Q) with `passed` days less to run; their squares are interpolated in time."""
    squares = np.sign(quantiles) * quantiles**2
    shorter = np.concatenate([np.zeros_like(squares[:1]), squares[:-1]])
    mixed = (1 - passed) * squares + passed * shorter
    return np.asarray(np.sign(mixed) * np.sqrt(np.abs(mixed)))


def _width_at(forecasts: Forecasts, horizon: int) -> float:
    """Return half the width of the 80 % interval of the first coin's log return at a horizon."""
    quantiles = forecasts.log_return_quantiles[0, [forecasts.horizons.index(horizon)]]
    return float(_half_widths(forecasts.probabilities, quantiles)[0])


def _half_widths(probabilities: Floats, quantiles: Floats) -> Floats:
    low, high = (int(np.argmin(np.abs(probabilities - p))) for p in _TAILS)
    return np.asarray((quantiles[:, high] - quantiles[:, low]) / 2)
