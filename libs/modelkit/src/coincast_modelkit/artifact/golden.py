"""Golden files: inputs and the forecasts of the trained version, which it must reproduce before it serves."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import numpy as np

from coincast_modelkit.artifact.errors import ArtifactCorrupt, ArtifactRefused
from coincast_modelkit.candles import FIELDS, Candles
from coincast_modelkit.hourly.day_measures import DayRow
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import ForecastModel

GOLDEN = "golden.npz"
HORIZONS = (1, 7, 30)
# Another processor may round differently; a wrong model differs by far more.
TOLERANCE = 1e-5
OUTPUTS = ("horizons", "quantiles", "volatility")


def golden_bytes(model: ForecastModel, prepared: Sequence[ModelInput]) -> bytes:
    """Return the inputs and outputs of some coins as npz (plain arrays).

    Raises:
        ValueError: No coin could be forecast.
    """
    horizons = [h for h in HORIZONS if h <= model.max_horizon_days]
    forecasts = model.predict(prepared, horizons)
    if not forecasts.usable().any():
        raise ValueError("golden outputs need at least one coin that the model can forecast")
    arrays: dict[str, np.ndarray] = {
        "horizons": np.array(horizons),
        "quantiles": forecasts.log_return_quantiles,
        "volatility": forecasts.volatility,
        "coins": np.array([p.coin_id for p in prepared]),
    }
    for i, coin in enumerate(prepared):
        arrays[f"row_{i}"], arrays[f"window_{i}"] = coin.row, coin.window
        arrays[f"dates_{i}"] = coin.candles.dates.astype(np.int64)
        if coin.hours is not None:
            arrays[f"hours_{i}"] = coin.hours.values
            arrays[f"hours_source_{i}"] = np.array(coin.hours.source)
        arrays[f"candles_{i}"] = np.stack([getattr(coin.candles, f) for f in FIELDS])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def golden_inputs(raw: bytes) -> tuple[list[ModelInput], dict[str, np.ndarray]]:
    """Return the coins and the arrays of a golden file. Raises ArtifactCorrupt."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*OUTPUTS, *file.files)}
        coins = [str(c) for c in arrays["coins"]]
        prepared = [_coin(arrays, i, coin) for i, coin in enumerate(coins)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactCorrupt(f"the golden file cannot be read: {error!r}") from error
    return prepared, arrays


def check_golden(model: ForecastModel, raw: bytes) -> float:
    """Return the largest deviation of the model's forecasts from the golden ones.

    Args:
        model: The loaded model.
        raw: Content of the golden file.

    Raises:
        ArtifactRefused: The deviation exceeds TOLERANCE, or the file holds no forecast to compare with.
        ArtifactCorrupt: It is not a golden file.
    """
    prepared, arrays = golden_inputs(raw)
    if not any(one.size and np.isfinite(one).all() for one in arrays["quantiles"]):
        raise ArtifactRefused("the golden file holds no whole forecast of any coin")
    now = model.predict(prepared, [int(h) for h in arrays["horizons"]])
    deviation = 0.0
    for name, values in (("quantiles", now.log_return_quantiles), ("volatility", now.volatility)):
        expected = arrays[name]
        if values.shape != expected.shape or not np.array_equal(np.isnan(values), np.isnan(expected)):
            raise ArtifactRefused(f"golden {name} have another shape or other gaps here")
        deviation = max(deviation, float(np.nanmax(np.abs(values - expected), initial=0.0)))
    if not deviation <= TOLERANCE:
        raise ArtifactRefused(f"golden forecasts differ by {deviation:.2g} here, more than {TOLERANCE:.0e}")
    return deviation


def _coin(arrays: dict[str, np.ndarray], i: int, coin: str) -> ModelInput:
    days = arrays[f"dates_{i}"].astype("datetime64[D]")
    candles = Candles(coin, days, *arrays[f"candles_{i}"])
    known = f"hours_{i}" in arrays
    hours = DayRow(arrays[f"hours_{i}"], str(arrays[f"hours_source_{i}"])) if known else None
    return ModelInput(
        coin_id=coin,
        as_of=candles.as_of,
        last_price=candles.last_price,
        row=arrays[f"row_{i}"],
        window=arrays[f"window_{i}"],
        candles=candles,
        hours=hours,
    )
