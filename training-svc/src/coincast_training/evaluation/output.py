"""Write the results of an evaluation: predictions.parquet and evaluation.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coincast_training.evaluation.metrics.slices import quantiles_at
from coincast_training.evaluation.rows import Rows

PROBABILITIES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


def write_predictions(rows: Rows, actual: np.ndarray, path: Path) -> None:
    """Write one Parquet row for each forecast; quantiles are prices, null for a model with only a point."""
    order = np.lexsort((rows.origin, rows.coin, rows.horizon, rows.model))
    rows, actual = rows.take(order), actual[order]
    prices = rows.last_price[:, None] * np.exp(quantiles_at(rows.quantiles, np.array(PROBABILITIES)))
    columns: dict[str, Any] = {
        "coin": pa.array(rows.coin.astype(object)),
        "origin": pa.array(rows.origin.astype("datetime64[D]")),
        "horizon_days": pa.array(rows.horizon.astype(np.int32)),
        "model": pa.array(rows.model.astype(object)),
        "last_price": pa.array(rows.last_price),
        "point": pa.array(rows.point, from_pandas=True),
    }
    for i, p in enumerate(PROBABILITIES):
        columns[f"q{p}"] = pa.array(prices[:, i], from_pandas=True)
    columns["actual"] = pa.array(actual, from_pandas=True)
    pq.write_table(pa.table(columns), path, compression="zstd")


def write_json(plain: dict[str, Any], path: Path) -> None:
    """Write indented JSON; NaN and infinity become null, floats are rounded to six decimals."""
    path.write_text(json.dumps(_clean(plain), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
