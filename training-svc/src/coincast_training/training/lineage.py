"""What it takes to train a version again, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coincast_training.registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Lineage:
    """What it takes to train a version again, bit for bit."""

    version: str
    coins: tuple[str, ...]
    from_date: str
    to_date: str
    data_hash: str
    reference_hash: str
    seed: int
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, registry: Registry, model: str, version_name: str) -> Lineage:
        """The lineage of a version. Raises `NotFound` or `NotReady`."""
        manifest, _ = registry.versions.manifest(model, version_name)
        return cls(
            version=version_name,
            coins=manifest.coins,
            from_date=manifest.data.from_date,
            to_date=manifest.data.to_date,
            data_hash=manifest.data.sha256,
            reference_hash=str(manifest.metrics.get("reference", {}).get("sha256", "")),
            seed=manifest.seeds[0],
            parameters=manifest.parameters,
        )
