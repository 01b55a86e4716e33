"""The fallback that needs no artifact: last price, exponential range volatility, the coin's own residuals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.features import kernels as k
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.models.base import MAX_HORIZON_DAYS, Attribution, checked_horizons
from coincast_modelkit.models.parts import assemble, trailing_volatility
from coincast_modelkit.prepared import Prepared
from coincast_modelkit.volatility import FLOOR_DAILY_VARIANCE, daily_variance

MIN_HISTORY_DAYS = 30
DECAY = 0.94
# Weight of the coin's own residuals: so many independent ones count as much as the prior shape.
PRIOR_ROWS = 250.0


class TechnicalModel:
    """A random walk whose width follows the coin's recent volatility, pulled to its long-run mean with the
    horizon.

    The shape is the coin's own absolute residuals, mixed with a Student t by how many of them are
    independent, and symmetric: a drift read off one coin's past costs more than it gives.
    """

    name = "technical"
    version = ""
    max_horizon_days = MAX_HORIZON_DAYS
    min_history_days = MIN_HISTORY_DAYS
    spec = FeatureSpec(names=())

    def predict(self, prepared: Sequence[Prepared], horizons: Sequence[int]) -> Forecasts:
        """See ForecastModel."""
        wanted = checked_horizons(horizons)
        shape = (len(prepared), len(wanted))
        volatility, trailing, rise = (np.full(shape, np.nan) for _ in range(3))
        quantiles = np.full((*shape, len(PROBABILITIES)), np.nan)
        for i, coin in enumerate(prepared):
            if len(coin.candles) >= self.min_history_days:
                volatility[i], quantiles[i], rise[i] = _forecast(coin.candles, wanted)
                trailing[i] = trailing_volatility(coin.candles, wanted)
        return assemble(
            prepared,
            wanted,
            quantiles=quantiles,
            volatility=volatility,
            trailing=trailing,
            rise=rise,
        )

    def explain(self, prepared: Prepared, horizon: int, top: int) -> list[Attribution]:
        """Nothing to explain: the forecast is the last price."""
        return []

    def save(self, folder: Path) -> None:
        """Nothing to save."""

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """The same for everyone."""
        return cls()


def _forecast(candles: Candles, horizons: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """Daily volatility (H,), log-return quantiles (H, Q) and the chance of a rise of volatility (H,) of one
    coin.
    """
    log_close = np.log(candles.close)
    variance = daily_variance(candles)
    short = k.ewm_mean(variance, DECAY, min_rows=10)
    scales = np.stack([_horizon_scale(variance, short, h) for h in horizons])
    quantiles = np.stack(
        [scales[j, -1] * np.sqrt(h) * _shape(log_close, scales[j], h) for j, h in enumerate(horizons)]
    )
    trailing = trailing_volatility(candles, horizons)
    spread = np.array([_log_volatility_error(h) for h in horizons])
    rise = _normal_cdf((np.log(scales[:, -1]) - 0.5 * spread**2 - np.log(trailing)) / spread)
    return np.asarray(scales[:, -1]), quantiles, rise


def _horizon_scale(variance: Floats, short: Floats, horizon: int) -> Floats:
    """Daily volatility over a horizon (n,): the short mean, reverting to the mean so far at 3 % a day."""
    known = np.where(np.isnan(variance), 0.0, variance)
    count = np.cumsum(np.isfinite(variance))
    long_run = np.cumsum(known) / np.maximum(count, 1)
    stay = (1 - 0.97**horizon) / (horizon * 0.03)
    return np.asarray(np.sqrt(np.maximum(stay * short + (1 - stay) * long_run, FLOOR_DAILY_VARIANCE)))


def _shape(log_close: Floats, scale: Floats, horizon: int) -> Floats:
    """Symmetric quantiles (Q,) of the standardised return over a horizon."""
    returns = log_close[horizon:] - log_close[:-horizon]
    sizes = np.abs(returns / (scale[:-horizon] * np.sqrt(horizon)))
    sizes = sizes[np.isfinite(sizes)]
    levels = np.abs(2 * PROBABILITIES - 1)
    prior = _prior_sizes(levels, horizon)
    own = prior if len(sizes) < 5 else np.quantile(sizes, levels)
    weight = (len(sizes) / horizon) / (len(sizes) / horizon + PRIOR_ROWS)
    # Beyond the reach of the coin's own past the prior's tail speaks, scaled to meet it.
    reach = levels <= 1 - 5 / max(len(sizes), 6)
    edge = own[reach][-1] / prior[reach][-1] if reach.any() and prior[reach][-1] > 0 else 1.0
    mixed = weight * np.where(reach, own, np.maximum(edge, 0.5) * prior) + (1 - weight) * prior
    half = len(PROBABILITIES) // 2
    upper = np.maximum.accumulate(mixed[half:])
    upper[0] = 0.0
    return np.asarray(np.concatenate([-upper[::-1][:half], upper]))


def _prior_sizes(levels: Floats, horizon: int) -> Floats:
    """Quantiles of |Student t| of unit scale: 4 degrees of freedom at one day, 10 at thirty."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    freedom = 4 + 6 * (horizon - 1) / 29
    return np.asarray(stdtrit(freedom, (1 + levels) / 2) * np.sqrt((freedom - 2) / freedom))


def _log_volatility_error(horizon: int) -> float:
    """How far log volatility over a horizon usually lands from its forecast (one standard deviation)."""
    return 0.28 + 0.27 / horizon


def _normal_cdf(z: Floats) -> Floats:
    from scipy.special import ndtr  # noqa: PLC0415 - slow to import

    return np.asarray(ndtr(z))
