"""Turns answers into what is shown, and keeps it: the same forecast asked again is not drawn again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coincast_forecast import render
from coincast_forecast.climb import Answered
from coincast_forecast.domain import CoinForecast, Provenance, Shape
from coincast_forecast.explanations import UNASKED, Explained
from coincast_forecast.identity import forecast_id
from coincast_forecast.lru import Lru
from coincast_forecast.predictor import Row
from coincast_forecast.steps import explain


@dataclass(frozen=True, slots=True)
class Item:
    """An answer with what the reply must say of it."""

    answered: Answered
    model: str
    provenance: Provenance
    explained: Explained = UNASKED

    @property
    def reason(self) -> str:
        """Why the forecast is degraded; empty where it is not."""
        parts = [
            explain(self.answered.failures, f"{self.answered.served_by} {_version(self.answered)}".strip())
        ]
        if self.provenance.stale:
            parts.append(self.provenance.reason or "the history is older than its fresh window")
        return " ".join(part for part in parts if part)


Key = tuple[Row, Shape, str, str, str, Explained]


class Presenter:
    """Draws forecasts, many coins of one version in one go."""

    def __init__(self, keep: int) -> None:
        self._kept: Lru[Key, CoinForecast] = Lru(keep)

    def show(self, items: Mapping[str, Item], vs_currency: str, shape: Shape) -> dict[str, CoinForecast]:
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
    items: Mapping[str, Item], group: list[tuple[str, Key]], vs_currency: str, shape: Shape
) -> Iterable[tuple[str, Key, CoinForecast]]:
    curves = render.curves([items[coin].answered.row for coin, _ in group], shape)
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


def _version(answered: Answered) -> str:
    return answered.version.version if answered.version is not None else ""
