"""The choice and order of features; a manifest stores it, and an artifact with another one is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from coincast_modelkit.features.definition import Feature
from coincast_modelkit.features.groups import FEATURES
from coincast_modelkit.volatility import CAP_DAYS

# Number of rows of features in the input of the recurrent models.
WINDOW_DAYS = 60


@dataclass(frozen=True)
class FeatureSpec:
    """An ordered choice of features. Raises ValueError for an unknown or repeated name."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = [n for n in self.names if n not in FEATURES]
        if unknown:
            raise ValueError(
                f"unknown features {unknown}: this version of coincast-modelkit does not define them"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError("a feature is named twice")

    @cached_property
    def definitions(self) -> tuple[Feature, ...]:
        """Return the definitions, in order."""
        return tuple(FEATURES[n] for n in self.names)

    @cached_property
    def hash(self) -> str:
        """Return SHA-256 over order, parameters and formula versions: equal hashes mean equal numbers."""
        return hashlib.sha256("\n".join(f.identity() for f in self.definitions).encode()).hexdigest()

    @cached_property
    def warmup_days(self) -> int:
        """Return the number of rows before all features have a value."""
        return max((f.warmup_days for f in self.definitions), default=0)

    @cached_property
    def memory_days(self) -> int:
        """Return the number of rows that the last row depends on, including those of the cap on ranges."""
        return max((f.memory_days for f in self.definitions), default=1) + CAP_DAYS

    def without(self, group: str) -> FeatureSpec:
        """Return the spec without one group."""
        return FeatureSpec(tuple(f.name for f in self.definitions if f.group != group))


def spec_of(names: Sequence[str] | None = None) -> FeatureSpec:
    """Return the spec of the named features, or of all features in the order of GROUPS."""
    return FeatureSpec(tuple(FEATURES) if names is None else tuple(names))
