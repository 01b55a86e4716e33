"""Turns answers into what is shown, and keeps it: the same forecast asked again is not drawn again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coincast_forecast.domain import CoinForecast, Provenance, RenderOptions
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.fallback.policy import explain
from coincast_forecast.forecast_id import forecast_id
from coincast_forecast.inference.predictor import PredictionRef
from coincast_forecast.lru import Lru
from coincast_forecast.rendering import columns
from coincast_forecast.rendering.explainer import NO_EXPLANATION, Explanation


@dataclass(frozen=True, slots=True)
class RenderItem:
    """An answer with what the reply must say of it."""

    answered: Prediction
    model: str
    provenance: Provenance
    explained: Explanation = NO_EXPLANATION

    @property
    def reason(self) -> str:
        """Why the forecast is degraded; empty where it is not."""
        parts = [
            explain(self.answered.failures, f"{self.answered.served_by} {_version(self.answered)}".strip())
        ]
        if self.provenance.stale:
            parts.append(self.provenance.reason or "the history is older than its fresh window")
        return " ".join(part for part in parts if part)


Key = tuple[PredictionRef, RenderOptions, str, str, str, Explanation]


class ForecastRenderer:
    """Draws forecasts, many coins of one version in one go."""

    def __init__(self, keep: int) -> None:
        self._kept: Lru[Key, CoinForecast] = Lru(keep)

    def show(
        self, items: Mapping[str, RenderItem], vs_currency: str, shape: RenderOptions
    ) -> dict[str, CoinForecast]:
        """Each coin's forecast in the shape asked for."""
        shown: dict[str, CoinForecast] = {}
        missing: dict[str, list[tuple[str, Key]]] = defaultdict(list)
        for coin, item in items.items():
            answered = item.answered
            key = (answered.row, shape, item.model, answered.variant, item.reason, item.explained)
            kept = self._kept.get(key)
            if kept is not None:
                shown[coin] = kept
            else:
                missing[f"{answered.served_by}/{_version(answered)}"].append((coin, key))
        for group in missing.values():
            for coin, key, forecast in _draw(items, group, vs_currency, shape):
                self._kept.put(key, forecast)
                shown[coin] = forecast
        return shown


def _draw(
    items: Mapping[str, RenderItem], group: list[tuple[str, Key]], vs_currency: str, shape: RenderOptions
) -> Iterable[tuple[str, Key, CoinForecast]]:
    curves = columns.curves([items[coin].answered.row for coin, _ in group], shape)
    for (coin, key), curve in zip(group, curves, strict=True):
        item, answered = items[coin], items[coin].answered
        prepared, version, reason = answered.row.prepared, _version(answered), item.reason
        yield (
            coin,
            key,
            CoinForecast(
                coin_id=coin,
                vs_currency=vs_currency,
                day=prepared.as_of,
                last_price=prepared.last_price,
                model=item.model,
                version=version,
                served_by=answered.served_by,
                degraded=bool(reason),
                reason=reason,
                variant=answered.variant,
                forecast_id=forecast_id(
                    answered.row,
                    vs_currency=vs_currency,
                    model=item.model,
                    version=version,
                    variant=answered.variant,
                    served_by=answered.served_by,
                ),
                curve=curve,
                record=answered.version.record if answered.version is not None else None,
                attributions=item.explained.attributions,
                attributions_reason=item.explained.reason,
            ),
        )


def _version(answered: Prediction) -> str:
    return answered.version.version if answered.version is not None else ""
