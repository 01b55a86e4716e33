"""Save the walk-forward forecasts of a version as NumPy arrays, so that versions can be compared."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from coincast_training.trainers.base import WalkForward

FILE_NAME = "walk_forward.npz"
KEPT_PROBABILITIES = np.array(
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.995]
)


def save_walk_forward(forecast: WalkForward, folder: Path) -> None:
    """Write the forecasts with single precision and at most 15 quantiles: 2 MB instead of 10 MB."""
    kept = _kept_columns(forecast)
    with (folder / FILE_NAME).open("wb") as file:
        np.savez(
            file,
            coin_ids=forecast.coin_ids.astype(np.str_),
            origins=forecast.origins.astype("datetime64[D]").astype(np.int32),
            horizons=forecast.horizons.astype(np.int16),
            last_prices=forecast.last_prices.astype(np.float64),
            probabilities=forecast.probabilities[kept].astype(np.float64),
            log_return_quantiles=forecast.log_return_quantiles[:, kept].astype(np.float32),
            actual_log_returns=forecast.actual_log_returns.astype(np.float64),
        )


def at_saved_precision(forecast: WalkForward) -> WalkForward:
    """Reduce forecasts to the precision and the quantiles of a saved file.

    A score depends on the number of quantiles. Forecasts that were not saved must therefore be reduced before
    they are compared with saved ones.
    """
    kept = _kept_columns(forecast)
    return replace(
        forecast,
        probabilities=forecast.probabilities[kept],
        log_return_quantiles=forecast.log_return_quantiles[:, kept].astype(np.float32).astype(np.float64),
    )


def _kept_columns(forecast: WalkForward) -> list[int]:
    return sorted({int(np.abs(forecast.probabilities - p).argmin()) for p in KEPT_PROBABILITIES})


def load_walk_forward(content: bytes) -> WalkForward:
    """Read the forecasts of `save_walk_forward`; the caller must verify the digest of the content."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return WalkForward(
            coin_ids=arrays["coin_ids"],
            origins=arrays["origins"].astype("datetime64[D]"),
            horizons=arrays["horizons"].astype(np.int64),
            last_prices=arrays["last_prices"],
            probabilities=arrays["probabilities"],
            log_return_quantiles=arrays["log_return_quantiles"].astype(np.float64),
            actual_log_returns=arrays["actual_log_returns"],
        )
