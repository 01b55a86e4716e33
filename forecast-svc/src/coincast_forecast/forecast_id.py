"""Identify a forecast by its version, coin, day and contents."""

from __future__ import annotations

from hashlib import blake2b

from coincast_forecast.inference.predictor import PredictionRef


def forecast_id(
    ref: PredictionRef, *, vs_currency: str, model: str, version: str, variant: str, served_by: str
) -> str:
    """Return 32 hex digits; the same forecast has the same id on every replica.

    Args:
        ref: The forecast of one coin.
        vs_currency: The currency of its prices.
        model: The requested model.
        version: The version that answered.
        variant: production, challenger or shadow.
        served_by: The model that answered.
    """
    model_input = ref.prepared
    names = (
        model_input.coin_id,
        vs_currency,
        model_input.as_of.isoformat(),
        model,
        version,
        variant,
        served_by,
    )
    digest = blake2b("\x1f".join(names).encode(), digest_size=16)
    digest.update(ref.forecasts.last_price[ref.index].tobytes())
    digest.update(ref.forecasts.log_return_quantiles[ref.index].tobytes())
    return digest.hexdigest()
