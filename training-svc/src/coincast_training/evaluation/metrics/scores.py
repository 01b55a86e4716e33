"""Score one model at one horizon: points, distribution, volatility and direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_training.evaluation.metrics.significance import hac_mean, ratio_interval
from coincast_training.evaluation.metrics.slices import Slice
from coincast_training.optional_imports import import_scoringrules

Floats = NDArray[np.float64]
LEVELS = (50, 80, 90, 95)
TERCILES = ("calm", "usual", "wild")
CALIBRATION = tuple(round(0.05 * i, 2) for i in range(1, 20))


def point_scores(s: Slice) -> dict[str, float]:
    """Return MAPE, MAE and RMSE (in percent of the last price), R2 of log return and of log price, MASE."""
    from sklearn.metrics import (  # noqa: PLC0415 - slow to import, and workers of an evaluation do not score
        mean_absolute_error,
        r2_score,
        root_mean_squared_error,
    )

    actual, point, last = s.outcomes.actual, s.rows.point, s.rows.last_price
    moved = np.log(point / last)
    known = s.outcomes.mean_step > 0
    mase = np.abs(actual - point)[known] / s.outcomes.mean_step[known]
    enough = len(s) > 1
    return {
        "forecasts": len(s),
        "mape_percent": float(s.absolute_percent.mean()),
        "mae_percent_of_last": 100 * float(mean_absolute_error(actual / last, point / last)),
        "rmse_percent_of_last": 100 * float(root_mean_squared_error(actual / last, point / last)),
        "r2_log_return": float(r2_score(s.outcomes.log_return, moved)) if enough else float("nan"),
        "r2_log_price": float(r2_score(np.log(actual), np.log(point))) if enough else float("nan"),
        "mase": float(mase.mean()) if len(mase) else float("nan"),
    }


def distribution_scores(s: Slice) -> dict[str, Any]:
    """Return CRPS, Winkler and pinball scores, coverage and width, calibration.

    The coverage of the 80 % interval is also given by coin, by causal volatility tercile and by year.
    """
    scoringrules = import_scoringrules()
    pinball = {
        str(p): float(
            np.mean(scoringrules.quantile_score(s.outcomes.log_return, s.quantile(p), p, backend="numpy"))
        )
        for p in (0.05, 0.25, 0.5, 0.75, 0.95)
    }
    return {
        "crps_percent": 100 * float(s.crps.mean()),
        "winkler_80_percent": 100 * float(s.winkler.mean()),
        "pinball_percent": {p: 100 * v for p, v in pinball.items()},
        "coverage_percent": {str(level): 100 * float(s.inside(level).mean()) for level in LEVELS},
        "width_percent": {str(level): _width(s, level) for level in LEVELS},
        "coverage_80_by_tercile": _by_tercile(s),
        "coverage_80_by_year": _by_year(s),
        "coverage_80_by_coin": {
            str(c): 100 * float(s.inside(80)[s.rows.coin == c].mean()) for c in np.unique(s.rows.coin)
        },
        "calibration": {str(p): float((s.outcomes.log_return <= s.quantile(p)).mean()) for p in CALIBRATION},
    }


def _width(s: Slice, level: float) -> float:
    return float(_widths(s, level).mean())


def _widths(s: Slice, level: float) -> Floats:
    """Return the width of each interval in percent of the last price, (n,)."""
    tail = 0.5 - level / 200
    return np.asarray(100 * (np.exp(s.quantile(1 - tail)) - np.exp(s.quantile(tail))))


def _by_tercile(s: Slice) -> dict[str, dict[str, float]]:
    out = {}
    for i, name in enumerate(TERCILES):
        at = s.outcomes.tercile == i
        if at.any():
            _, error = hac_mean(s.inside(80)[at].astype(np.float64), s.rows.origin[at], s.horizon)
            out[name] = {
                "coverage_percent": 100 * float(s.inside(80)[at].mean()),
                "standard_error": 100 * error,
                "width_percent": float(_widths(s, 80)[at].mean()),
                "forecasts": int(at.sum()),
            }
    return out


def _by_year(s: Slice) -> dict[str, dict[str, float]]:
    year = s.rows.origin.astype("datetime64[Y]").astype(int) + 1970
    out = {}
    for y in np.unique(year):
        at = year == y
        _, error = hac_mean(s.inside(80)[at].astype(np.float64), s.rows.origin[at], s.horizon)
        out[str(y)] = {
            "coverage_percent": 100 * float(s.inside(80)[at].mean()),
            "standard_error": 100 * error,
            "forecasts": int(at.sum()),
        }
    return out


def volatility_scores(s: Slice) -> dict[str, Any]:
    """Return the QLIKE of the variance and the accuracy of the volatility's direction.

    `qlike_at_right_level` is the QLIKE after the variance is scaled to the right mean level.
    """
    out: dict[str, Any] = {}
    good = np.isfinite(s.qlike)
    if good.any():
        share = s.outcomes.realised[good] / s.rows.variance[good]
        level = float(share.mean())
        out["qlike"] = float(s.qlike[good].mean())
        out["qlike_at_right_level"] = float((share / level - np.log(share / level) - 1).mean())
        out["realised_over_forecast_variance"] = level
    rise = s.rows.volatility_rise
    known = np.isfinite(rise) & np.isfinite(s.outcomes.realised) & np.isfinite(s.outcomes.trailing)
    if known.any():
        right = volatility_direction(s)[known].astype(np.float64)
        sure = _most_confident_quarter(np.abs(rise[known] - 0.5))
        dates = s.rows.origin[known]
        out["direction_percent"] = 100 * float(right.mean())
        out["direction_interval"] = _percent_interval(right, dates, s.horizon)
        out["direction_surest_quarter_percent"] = 100 * float(right[sure].mean())
    return out


def volatility_direction(s: Slice) -> NDArray[np.bool_]:
    """Return whether volatility moved in the forecast direction, (n,)."""
    ended = 0.5 * np.log(s.outcomes.realised / s.horizon)
    return np.asarray((s.rows.volatility_rise > 0.5) == (ended > s.outcomes.trailing))


def price_direction(s: Slice) -> dict[str, Any]:
    """Return the accuracy of the sign of the return, on all days and on the most confident quarter.

    A model without a probability of a rise is scored by the sign of its point. The result is empty if
    fewer than half of the forecasts have a direction.
    """
    stated = s.rows.price_rise - 0.5
    view = np.where(np.isfinite(stated), stated, np.log(s.rows.point / s.rows.last_price))
    known = (np.abs(view) > 1e-9) & (s.outcomes.log_return != 0)
    if known.mean() < 0.5:
        return {}
    right = ((view > 0) == (s.outcomes.log_return > 0))[known].astype(np.float64)
    dates, sure = s.rows.origin[known], _most_confident_quarter(np.abs(view[known]))
    return {
        "accuracy_percent": 100 * float(right.mean()),
        "interval": _percent_interval(right, dates, s.horizon),
        "surest_quarter_percent": 100 * float(right[sure].mean()),
        "surest_quarter_interval": _percent_interval(right[sure], dates[sure], s.horizon),
        "days_with_a_view": int(known.sum()),
    }


def _most_confident_quarter(confidence: Floats) -> NDArray[np.bool_]:
    return np.asarray(confidence >= np.quantile(confidence, 0.75))


def _percent_interval(right: Floats, dates: NDArray[np.datetime64], horizon: int) -> list[float]:
    low, high = ratio_interval(right, np.ones(len(right)), dates, horizon)
    return [100 * low, 100 * high]
