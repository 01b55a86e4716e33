"""Lineage of a version: what is needed to train it again, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from coincast_modelkit.artifact import Manifest
from coincast_modelkit.candles import Panel
from coincast_training.registry.registry import Registry

Spans = Mapping[str, tuple[str, str]]


def spans_of(panel: Panel) -> dict[str, tuple[str, str]]:
    """Return each coin's first and last day (ISO dates), since coins differ in age and one may be late."""
    return {
        coin_id: (str(candles.dates[0]), str(candles.dates[-1]))
        for coin_id, candles in sorted(panel.items())
        if len(candles)
    }


@dataclass(frozen=True, slots=True)
class TrainedDays:
    """Candles that a version learnt from: their hash, and each coin's days."""

    sha256: str
    spans: Spans


@dataclass(frozen=True, slots=True)
class Lineage:
    """Inputs of a version's training. `reference` is None if it used none."""

    version: str
    coins: tuple[str, ...]
    panel: TrainedDays
    reference: TrainedDays | None
    seed: int
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, registry: Registry, model: str, version_name: str) -> Self:
        """Return the lineage of a version. Raises `NotFound` or `NotReady`."""
        manifest, _ = registry.versions.manifest(model, version_name)
        taken = manifest.metrics.get("reference", {})
        return cls(
            version=version_name,
            coins=manifest.coins,
            panel=TrainedDays(manifest.data.sha256, _spans(manifest, manifest.metrics, manifest.coins)),
            reference=TrainedDays(taken["sha256"], _spans(manifest, taken, taken["coins"]))
            if taken
            else None,
            seed=manifest.seeds[0],
            parameters=manifest.parameters,
        )


def _spans(manifest: Manifest, kept: Mapping[str, Any], coins: list[str] | tuple[str, ...]) -> Spans:
    """Return the stored spans; an older manifest has the span of the whole panel, taken for each coin."""
    whole = (manifest.data.from_date, manifest.data.to_date)
    spans = kept.get("spans", {})
    return {coin_id: tuple(spans.get(coin_id, whole)) for coin_id in coins}
