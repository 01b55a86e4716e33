"""From scales at anchor horizons to a predictive distribution: interpolation, residual shapes, quantiles.

A distribution at any horizon has a location, a scale and a fixed symmetric shape: the sizes of standardised
residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts, standard_deviations
from coincast_modelkit.intervals.regimes import REGIMES, Regimes
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.volatility import FLOOR_DAILY_VARIANCE

# A trailing volatility at the floor of daily_variance means a constant price.
STANDSTILL_VOLATILITY = 1.001 * FLOOR_DAILY_VARIANCE**0.5
LEAST_CHANCE = 0.01
MAX_DISAGREEMENT = 1.25


def across_horizons(anchors: Sequence[int], values: Floats, horizons: Sequence[int]) -> Floats:
    """Interpolate values at anchor horizons to other horizons, linearly in the log of the horizon.

    Args:
        anchors: A horizons, increasing.
        values: Values at the anchors, (A, ...).
        horizons: H horizons; outside the anchors the nearest one is used.

    Returns:
        Values, (H, ...).
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
    """Return forecasts from log volatility and log-return quantiles; coins without enough history get NaN.

    Args:
        prepared: n coins.
        horizons: H horizons in days.
        distribution: Returns log volatility (n, H) and log-return quantiles (n, H, Q) of coins.
        min_history_days: Days of history that a coin needs.
        calibration: Factor of the volatility, (H,).
        errors: Standard error of the log volatility, (H,).
        agreeing: Whether the quoted volatility stays close to that of the quantiles; in earlier artifacts it
            does not.
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
    """Return volatility within MAX_DISAGREEMENT of the standard deviation of quantiles.

    The forecast of realised volatility has information of its own, but a reply must not quote a volatility
    that its own intervals contradict.

    Args:
        volatility: Volatility per unit of the horizon, (..., H).
        quantiles: Log-return quantiles, (..., H, Q).
        horizons: H horizons in the same unit.

    Returns:
        Volatility per unit of the horizon, (..., H).
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
    """Return forecasts from arrays in the coins' order.

    Of a price that stands still nothing is known but that its volatility can only rise; the chance is quoted
    as one half then, and never as a certainty.

    Args:
        prepared: n coins.
        horizons: H horizons in days.
        quantiles: Log-return quantiles at PROBABILITIES, (n, H, Q).
        volatility: Daily volatility, (n, H).
        trailing: Trailing daily volatility, (n, H).
        rise: Chance that the volatility rises above the trailing one, (n, H).
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


HALF = len(PROBABILITIES) // 2
# Central levels of the stored sizes: 0 at the median, up to the widest interval.
LEVELS: Floats = 2 * PROBABILITIES[HALF:] - 1

# So many residuals tell their own middle; fewer only tell the scale of a Student t with five degrees of
# freedom.
MIN_RESIDUALS = 40
# With this many independent stretches of days the sample counts as much as the prior shape, which is as wide
# as returns were in units of range volatility before 2022.
PRIOR_BLOCKS = 20.0
PRIOR_SPREAD = 1.2
# A residual farther out counts as if it were this far in second moments: one false print among ten thousand
# would otherwise move every coin's volatility.
MAX_RESIDUAL = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class ResidualShape:
    """The distribution of residuals at A anchor horizons.

    It holds sizes (A, HALF + 1) of |residual| in units of forecast volatility, their root mean square (A,),
    and the factor of the sizes in each volatility regime (A, REGIMES). It is symmetric by construction, since
    asymmetric residuals would be an implied drift.

    agreeing tells that the quoted volatility is held to that of the quantiles; artifacts of before that rule
    quote theirs as it is.
    """

    anchors: tuple[int, ...]
    sizes: Floats
    root_mean_square: Floats
    regime_widths: Floats
    agreeing: bool = True

    def quantiles(self, horizons: Sequence[int], regimes: Regimes) -> Floats:
        """Return standardised quantiles (n, H, Q) at PROBABILITIES in regimes (n,)."""
        upper = across_horizons(self.anchors, self.sizes, horizons)
        widths = across_horizons(self.anchors, self.regime_widths, horizons).T[regimes]
        both = np.concatenate([-upper[:, :0:-1], upper], axis=1)
        return np.asarray(widths[..., None] * both)

    def calibration(self, horizons: Sequence[int]) -> Floats:
        """Return what forecast volatility must be multiplied with to be a standard deviation: (H,)."""
        return across_horizons(self.anchors, self.root_mean_square, horizons)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists."""
        return {
            "anchors": list(self.anchors),
            "sizes": self.sizes.tolist(),
            "root_mean_square": self.root_mean_square.tolist(),
            "regime_widths": self.regime_widths.tolist(),
            "agreeing": self.agreeing,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read what to_dict wrote, or gave before regimes had widths of their own."""
        anchors = tuple(raw["anchors"])
        widths = raw.get("regime_widths", np.ones((len(anchors), REGIMES)))
        return cls(
            anchors,
            np.array(raw["sizes"]),
            np.array(raw["root_mean_square"]),
            np.array(widths),
            agreeing=bool(raw.get("agreeing", False)),
        )


def residual_shape(
    anchors: Sequence[int], residuals: Sequence[Floats], *, blocks: Sequence[int] | None = None
) -> ResidualShape:
    """Return the shape of standardised residuals.

    Beyond the reach of the sample the tail of a Student t continues from the last size that it can tell.

    Args:
        anchors: A horizons in days.
        residuals: One array of any length per anchor; NaN are left out.
        blocks: How many independent stretches of days each array holds: with few of them the shape is
            shrunk to a Student t.
    """
    sizes, squares = [], []
    for j, h in enumerate(anchors):
        known = np.abs(residuals[j][np.isfinite(residuals[j])])
        own = _sizes(known)
        square = float(np.mean(np.minimum(known, MAX_RESIDUAL) ** 2)) if len(known) else PRIOR_SPREAD**2
        # A model that was never wrong needs no width, however little was seen.
        if blocks is not None and not (len(known) >= MIN_RESIDUALS and square == 0):
            trust = blocks[j] / (blocks[j] + PRIOR_BLOCKS)
            own = trust * own + (1 - trust) * PRIOR_SPREAD * student_sizes(h)
            square = trust * square + (1 - trust) * PRIOR_SPREAD**2
        sizes.append(own)
        squares.append(np.sqrt(square))
    return ResidualShape(tuple(anchors), np.stack(sizes), np.array(squares), np.ones((len(anchors), REGIMES)))


@cache
def student_sizes(horizon: int) -> Floats:
    """Sizes (HALF + 1,) of a Student t of unit variance: 4 degrees of freedom at one day, 10 at thirty.

    So the pooled residuals of the coins fell on the years before 2022, within a few percent at every level.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    freedom = 4 + 6 * (horizon - 1) / 29
    return np.asarray(stdtrit(freedom, (1 + LEVELS) / 2) * np.sqrt((freedom - 2) / freedom))


def _sizes(known: Floats) -> Floats:
    """Return quantiles of sizes (m,) at LEVELS, zero at the median, never falling."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, and only fitting needs it

    tail = np.asarray(stdtrit(5.0, (1 + LEVELS) / 2))
    if len(known) < MIN_RESIDUALS:
        square = np.sqrt(np.mean(known**2)) if len(known) else 1.0
        return np.asarray(tail * square / np.sqrt(5.0 / 3.0))
    resolved = 1 - 10 / len(known) >= LEVELS
    own = np.quantile(known, LEVELS)
    last = int(np.flatnonzero(resolved)[-1])
    out = np.where(resolved, own, own[last] * tail / tail[last])
    out[0] = 0.0
    return np.asarray(np.maximum.accumulate(out))


@dataclass(frozen=True, slots=True, eq=False)
class LocationScale:
    """The head of a location-scale model.

    It has A outputs of log volatility at anchors (days), M scores of the mean at mean_anchors, and the
    residuals' shape.
    """

    anchors: tuple[int, ...]
    mean_anchors: tuple[int, ...]
    shape: ResidualShape

    def log_volatility(self, at_anchors: Floats, horizons: Sequence[int]) -> Floats:
        """Log daily volatility (n, H) from (n, A)."""
        return across_horizons(self.anchors, at_anchors.T, horizons).T

    def mean(self, scores: Floats, log_volatility: Floats, horizons: Sequence[int]) -> Floats:
        """Mean log return (n, H) from weighted scores (n, M); past the last mean anchor it grows no more."""
        days = np.minimum(np.asarray(horizons, dtype=np.float64), self.mean_anchors[-1])
        at = across_horizons(self.mean_anchors, scores.T, horizons).T
        return np.asarray(at * np.exp(log_volatility) * np.sqrt(days))

    def quantiles(
        self,
        at_anchors: Floats,
        scores: Floats,
        horizons: Sequence[int],
        *,
        regimes: Regimes,
        widen: Floats | None = None,
    ) -> Floats:
        """Return log-return quantiles (n, H, Q) at PROBABILITIES.

        They come from log volatility (n, A), weighted scores (n, M) and volatility regimes (n,). widen (n, A)
        adds to the log of the width alone.
        """
        log_volatility = self.log_volatility(at_anchors, horizons)
        width = log_volatility if widen is None else self.log_volatility(at_anchors + widen, horizons)
        scale = np.exp(width) * np.sqrt(np.asarray(horizons, dtype=np.float64))
        mean = self.mean(scores, log_volatility, horizons)
        return np.asarray(mean[..., None] + scale[..., None] * self.shape.quantiles(horizons, regimes))
