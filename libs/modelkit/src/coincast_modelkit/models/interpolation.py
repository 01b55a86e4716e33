"""Small things that several models share: interpolation over horizons, putting a reply together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts, standard_deviations
from coincast_modelkit.intervals.regimes import Regimes
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.volatility import FLOOR_DAILY_VARIANCE

# A trailing volatility at the floor of daily_variance means a constant price.
STANDSTILL_VOLATILITY = 1.001 * FLOOR_DAILY_VARIANCE**0.5
LEAST_CHANCE = 0.01
MAX_DISAGREEMENT = 1.25


def across_horizons(anchors: Sequence[int], values: Floats, horizons: Sequence[int]) -> Floats:
    """Interpolate values at anchor horizons, (A, ...), to other horizons, (H, ...).

    The interpolation is linear in the log of the horizon; outside the anchors the nearest one is used.
    """
    known = np.log(np.asarray(anchors, dtype=np.float64))
    at = np.clip(np.log(np.asarray(horizons, dtype=np.float64)), known[0], known[-1])
    if len(known) == 1:
        return np.repeat(values, len(at), axis=0)
    left = np.clip(np.searchsorted(known, at, side="right") - 1, 0, len(known) - 2)
    share = (at - known[left]) / (known[left + 1] - known[left])
    share = share.reshape((-1,) + (1,) * (values.ndim - 1))
    return np.asarray(values[left] * (1 - share) + values[left + 1] * share)


def regimes_of(coins: Sequence[ModelInput]) -> Regimes:
    """Return the volatility regime of each coin's last day, (n,)."""
    return np.array([coin.regime for coin in coins])


def normal_cdf(z: Floats) -> Floats:
    """Return the standard normal distribution function."""
    from scipy.special import ndtr  # noqa: PLC0415 - slow to import

    return np.asarray(ndtr(z))


def forecasts_of(
    prepared: Sequence[ModelInput],
    horizons: tuple[int, ...],
    distribution: Callable[[list[ModelInput]], tuple[Floats, Floats]],
    *,
    min_history_days: int,
    calibration: Floats,
    errors: Floats,
    agreeing: bool,
) -> Forecasts:
    """Return forecasts from log volatility (n, H) and log-return quantiles (n, H, Q).

    Coins without enough history get NaN. The factor of the volatility and the error of its log are (H,).
    agreeing keeps the quoted volatility close to that of the quantiles, which artifacts of before do not.
    """
    shape = (len(prepared), len(horizons))
    log_volatility, trailing = np.full(shape, np.nan), np.full(shape, np.nan)
    quantiles = np.full((*shape, len(PROBABILITIES)), np.nan)
    good = [i for i, coin in enumerate(prepared) if len(coin.candles) >= min_history_days]
    if good:
        coins = [prepared[i] for i in good]
        log_volatility[good], quantiles[good] = distribution(coins)
        trailing[good] = [coin.trailing(horizons) for coin in coins]
    volatility = np.exp(log_volatility) * calibration
    return assemble(
        prepared,
        horizons,
        quantiles=quantiles,
        volatility=agreeing_volatility(volatility, quantiles, horizons) if agreeing else volatility,
        trailing=trailing,
        rise=normal_cdf((log_volatility - np.log(trailing)) / errors),
    )


def agreeing_volatility(volatility: Floats, quantiles: Floats, horizons: Sequence[int]) -> Floats:
    """Return volatility (..., H) within MAX_DISAGREEMENT of the standard deviation of quantiles (..., H, Q).

    Both are of one unit of the horizon. The forecast of realised volatility has information of its own, but
    a reply must not quote a volatility that its own intervals contradict.
    """
    own = standard_deviations(quantiles) / np.sqrt(np.asarray(horizons, dtype=np.float64))
    return np.asarray(np.clip(volatility, own / MAX_DISAGREEMENT, own * MAX_DISAGREEMENT))


def assemble(
    prepared: Sequence[ModelInput],
    horizons: tuple[int, ...],
    *,
    quantiles: Floats,
    volatility: Floats,
    trailing: Floats,
    rise: Floats,
) -> Forecasts:
    """Return forecasts from arrays in the coins' order: quantiles (n, H, Q) of log returns, the rest (n, H).

    Of a price that stands still nothing is known but that its volatility can only rise; the chance is quoted
    as one half then, and never as a certainty.
    """
    moving = ~(trailing <= STANDSTILL_VOLATILITY)
    rise = np.where(moving, np.clip(rise, LEAST_CHANCE, 1 - LEAST_CHANCE), 0.5)
    return Forecasts(
        coin_ids=tuple(p.coin_id for p in prepared),
        as_of=tuple(p.as_of for p in prepared),
        last_price=np.array([p.last_price for p in prepared], dtype=np.float64),
        horizons=horizons,
        probabilities=PROBABILITIES,
        log_return_quantiles=quantiles,
        volatility=volatility,
        trailing_volatility=trailing,
        rise_of_volatility=rise,
    )
