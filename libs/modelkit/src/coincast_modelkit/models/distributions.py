"""Build predictive distributions from scales at anchor horizons: interpolation, residual shapes, quantiles.

The distribution at a horizon has a location, a scale and a symmetric shape, which is given by the quantiles
of absolute standardised residuals (their sizes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts, standard_deviations
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.volatility import FLOOR_DAILY_VARIANCE, REGIMES, Regimes

# A trailing volatility at the minimum of daily_variance means that the price was constant.
STANDSTILL_VOLATILITY = 1.001 * FLOOR_DAILY_VARIANCE**0.5
LEAST_CHANCE = 0.01
MAX_DISAGREEMENT = 1.25


def across_horizons(anchors: Sequence[int], values: Floats, horizons: Sequence[int]) -> Floats:
    """Interpolate values at anchor horizons to other horizons, linearly in the log of the horizon.

    Args:
        anchors: A horizons, increasing.
        values: Values at the anchors, (A, ...).
        horizons: H horizons; beyond the outermost anchors the value of the nearest anchor is used.

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
    """Compute the forecasts of a location-scale model; coins without enough history get NaN.

    Args:
        prepared: n coins.
        horizons: H horizons in days.
        distribution: Computes log volatility (n, H) and log-return quantiles (n, H, Q) of the given coins.
        min_history_days: Days of history that a coin needs.
        calibration: Factor of the volatility, (H,).
        errors: Standard error of the log volatility, (H,).
        agreeing: Whether the quoted volatility is limited to a range around that of the quantiles; False for
            artifacts from before this rule.
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
    """Clip volatility to within a factor of MAX_DISAGREEMENT of the standard deviation of the quantiles.

    The volatility is forecast separately and carries information that the quantiles lack, but a reply must
    not quote a volatility that its own intervals contradict.

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
    """Return Forecasts from arrays in the order of the coins.

    The volatility of a constant price can only rise. The probability of a rise is then given as one half and
    not as a certainty, since nothing else is known about the coin.

    Args:
        prepared: n coins.
        horizons: H horizons in days.
        quantiles: Log-return quantiles at PROBABILITIES, (n, H, Q).
        volatility: Daily volatility, (n, H).
        trailing: Trailing daily volatility, (n, H).
        rise: Probability that the volatility rises above the trailing one, (n, H).
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

# With at least this many residuals their own quantiles are used. With fewer, only the scale of a Student t
# with five degrees of freedom is estimated.
MIN_RESIDUALS = 40
# With this many independent periods the sample has the same weight as the prior shape. The spread of the
# prior is that of returns in units of range volatility before 2022.
PRIOR_BLOCKS = 20.0
PRIOR_SPREAD = 1.2
# Limit of a residual in second moments: without it, one wrong price among ten thousand would change the
# volatility of every coin.
MAX_RESIDUAL = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class ResidualShape:
    """The distribution of residuals at A anchor horizons.

    sizes (A, HALF + 1) are quantiles of |residual| at LEVELS, in units of forecast volatility.
    root_mean_square (A,) is that of the residuals. regime_widths (A, REGIMES) are factors of the sizes in
    each volatility regime. The shape is symmetric by construction, since asymmetric residuals would imply a
    drift.

    agreeing says whether the quoted volatility is limited to a range around that of the quantiles; it is
    False for artifacts from before this rule.
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
        """Return the factors that convert forecast volatility to a standard deviation of returns: (H,)."""
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
        """Parse the output of to_dict; in older artifacts, without regime_widths, all factors are 1."""
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
    """Estimate the shape of standardised residuals.

    Beyond the last quantile that the sample can resolve, the tail is that of a Student t.

    Args:
        anchors: A horizons in days.
        residuals: One array of any length per anchor; NaN are left out.
        blocks: Number of independent periods in each array; the fewer there are, the more the shape is shrunk
            towards a Student t. None shrinks nothing.
    """
    sizes, squares = [], []
    for j, h in enumerate(anchors):
        known = np.abs(residuals[j][np.isfinite(residuals[j])])
        own = _sizes(known)
        square = float(np.mean(np.minimum(known, MAX_RESIDUAL) ** 2)) if len(known) else PRIOR_SPREAD**2
        # A model without any error gets zero width, however few residuals there are.
        if blocks is not None and not (len(known) >= MIN_RESIDUALS and square == 0):
            trust = blocks[j] / (blocks[j] + PRIOR_BLOCKS)
            own = trust * own + (1 - trust) * PRIOR_SPREAD * student_sizes(h)
            square = trust * square + (1 - trust) * PRIOR_SPREAD**2
        sizes.append(own)
        squares.append(np.sqrt(square))
    return ResidualShape(tuple(anchors), np.stack(sizes), np.array(squares), np.ones((len(anchors), REGIMES)))


@cache
def student_sizes(horizon: int) -> Floats:
    """Return sizes (HALF + 1,) of a Student t of unit variance.

    It has 4 degrees of freedom at one day and 10 at thirty. The pooled residuals of the coins in the years
    before 2022 agree with it within a few percent at every level.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    freedom = 4 + 6 * (horizon - 1) / 29
    return np.asarray(stdtrit(freedom, (1 + LEVELS) / 2) * np.sqrt((freedom - 2) / freedom))


def _sizes(known: Floats) -> Floats:
    """Return the quantiles of absolute residuals (m,) at LEVELS: zero at level 0, never decreasing."""
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
    """The conversion of a location-scale model's outputs to distributions.

    The model has A outputs of log volatility at anchors (days) and M scores of the mean at mean_anchors.
    shape is the distribution of the residuals.
    """

    anchors: tuple[int, ...]
    mean_anchors: tuple[int, ...]
    shape: ResidualShape

    def log_volatility(self, at_anchors: Floats, horizons: Sequence[int]) -> Floats:
        """Interpolate log daily volatility from the anchors (n, A) to the horizons (n, H)."""
        return across_horizons(self.anchors, at_anchors.T, horizons).T

    def mean(self, scores: Floats, log_volatility: Floats, horizons: Sequence[int]) -> Floats:
        """Return the mean log return (n, H) from weighted scores (n, M).

        It stops growing at the last mean anchor.
        """
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

        Args:
            at_anchors: Log volatility at the anchors, (n, A).
            scores: Weighted scores of the mean, (n, M).
            horizons: H horizons in days.
            regimes: Volatility regimes, (n,).
            widen: Added to the log of the width only, not to the mean, (n, A).
        """
        log_volatility = self.log_volatility(at_anchors, horizons)
        width = log_volatility if widen is None else self.log_volatility(at_anchors + widen, horizons)
        scale = np.exp(width) * np.sqrt(np.asarray(horizons, dtype=np.float64))
        mean = self.mean(scores, log_volatility, horizons)
        return np.asarray(mean[..., None] + scale[..., None] * self.shape.quantiles(horizons, regimes))
