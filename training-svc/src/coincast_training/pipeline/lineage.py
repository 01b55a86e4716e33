"""Lineage of a version: all inputs that are needed to train exactly the same version again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from coincast_modelkit.artifact import Manifest
from coincast_modelkit.artifact.hourly import hourly_data_window
from coincast_modelkit.candles import Panel
from coincast_modelkit.hourly.candles import HourlyPanel
from coincast_training.registry.registry import Registry

Spans = Mapping[str, tuple[str, str]]


def spans_of(panel: Panel) -> dict[str, tuple[str, str]]:
    """Return the first and the last day of each coin (ISO dates); coins can differ in both."""
    return {
        coin_id: (str(candles.dates[0]), str(candles.dates[-1]))
        for coin_id, candles in sorted(panel.items())
        if len(candles)
    }


def hours_of(panel: HourlyPanel) -> dict[str, Any]:
    """Return the hash of hourly candles, and the first hour and last close (ISO, UTC) of each coin."""
    return {
        "sha256": hourly_data_window(panel).sha256,
        "spans": {coin_id: [str(c.first), str(c.closes_at)] for coin_id, c in sorted(panel.items())},
    }


@dataclass(frozen=True, slots=True)
class TrainedDays:
    """The candles that a version was trained on: their hash, and the first and last day of each coin."""

    sha256: str
    spans: Spans


@dataclass(frozen=True, slots=True)
class Lineage:
    """Inputs of the training of a version; `reference` and `hours` are None if it did not use them."""

    version: str
    coins: tuple[str, ...]
    panel: TrainedDays
    reference: TrainedDays | None
    seed: int
    parameters: Mapping[str, Any]
    hours: TrainedDays | None = None

    @classmethod
    def of(cls, registry: Registry, model: str, version_name: str) -> Self:
        """Read the lineage of a version from its manifest.

        Raises:
            NotFound: There is no such version.
            NotReady: The version is damaged.
        """
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
            hours=_hours(manifest.metrics.get("hours_data", {})),
        )


def _hours(taken: Mapping[str, Any]) -> TrainedDays | None:
    spans = {coin_id: (str(first), str(last)) for coin_id, (first, last) in taken.get("spans", {}).items()}
    return TrainedDays(taken["sha256"], spans) if taken else None


def _spans(manifest: Manifest, kept: Mapping[str, Any], coins: list[str] | tuple[str, ...]) -> Spans:
    """Return the days of each coin; an old manifest only has those of the whole panel, used for each coin."""
    whole = (manifest.data.from_date, manifest.data.to_date)
    spans = kept.get("spans", {})
    return {coin_id: tuple(spans.get(coin_id, whole)) for coin_id in coins}
