"""Render predictions as forecasts; a forecast that was rendered before comes from a cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from coincast_forecast.domain import CoinForecast, RenderOptions, Start
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.inference.predictor import PredictionRef
from coincast_forecast.lru import Lru
from coincast_forecast.rendering import columns
from coincast_forecast.rendering.explainer import NO_EXPLANATION, Explanation

Key = tuple[PredictionRef, RenderOptions, str, str, str, Explanation, Start]


class ForecastRenderer:
    """Renders forecasts, all coins of one version in one pass over arrays."""

    def __init__(self, cache_size: int) -> None:
        self._cache: Lru[Key, CoinForecast] = Lru(cache_size)

    def render(
        self,
        predictions: Mapping[str, Prediction],
        reasons: Mapping[str, str],
        explanations: Mapping[str, Explanation],
        options: RenderOptions,
    ) -> dict[str, CoinForecast]:
        """Return each coin's forecast.

        Args:
            predictions: What was predicted, by coin.
            reasons: Why the forecast is degraded, by coin; an empty reason means that it is not.
            explanations: Attributions by coin; coins without an entry have none.
            options: How many days, which intervals and which quantiles.
        """
        forecasts: dict[str, CoinForecast] = {}
        missing: dict[str, list[tuple[str, Key]]] = defaultdict(list)
        for coin, prediction in predictions.items():
            explanation = explanations.get(coin, NO_EXPLANATION)
            key = (
                prediction.ref,
                options,
                prediction.model,
                prediction.variant,
                reasons[coin],
                explanation,
                prediction.start,
            )
            cached = self._cache.get(key)
            if cached is not None:
                forecasts[coin] = cached
            else:
                missing[prediction.server_name].append((coin, key))
        for group in missing.values():
            for coin, key, forecast in _render_group(predictions, group, options):
                self._cache.put(key, forecast)
                forecasts[coin] = forecast
        return forecasts


def _render_group(
    predictions: Mapping[str, Prediction], group: Sequence[tuple[str, Key]], options: RenderOptions
) -> Iterable[tuple[str, Key, CoinForecast]]:
    rendered = columns.curves([key[0] for _, key in group], options)
    for (coin, key), curve in zip(group, rendered, strict=True):
        prediction, reason, explanation = predictions[coin], key[4], key[5]
        model_input = prediction.ref.prepared
        forecast = CoinForecast(
            coin_id=coin,
            vs_currency=prediction.vs_currency,
            day=model_input.as_of,
            last_price=prediction.ref.last_price,
            model=prediction.model,
            version=prediction.version_name,
            served_by=prediction.served_by,
            degraded=bool(reason),
            reason=reason,
            variant=prediction.variant,
            forecast_id=prediction.forecast_id,
            curve=curve,
            record=prediction.version.record if prediction.version is not None else None,
            attributions=explanation.attributions,
            attributions_reason=explanation.reason,
            start=prediction.start,
        )
        yield coin, key, forecast
