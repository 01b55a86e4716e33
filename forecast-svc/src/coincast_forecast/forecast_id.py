"""What makes a forecast one and the same: the answering version, the coin, its day and what went in."""

from hashlib import blake2b

from coincast_forecast.inference.predictor import PredictionRef


def forecast_id(
    row: PredictionRef, *, vs_currency: str, model: str, version: str, variant: str, served_by: str
) -> str:
    """32 hex digits. The same forecast served twice has the same id, here and on any replica."""
    prepared = row.prepared
    names = (prepared.coin_id, vs_currency, prepared.as_of.isoformat(), model, version, variant, served_by)
    digest = blake2b("\x1f".join(names).encode(), digest_size=16)
    digest.update(row.forecasts.last_price[row.index].tobytes())
    digest.update(row.forecasts.log_return_quantiles[row.index].tobytes())
    return digest.hexdigest()
