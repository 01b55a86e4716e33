"""All features by name, in the order of their groups."""

from __future__ import annotations

from coincast_modelkit.features.definition import Feature
from coincast_modelkit.features.groups import (
    calendar,
    cross_section,
    drawdown,
    indicators,
    momentum,
    ranges,
    realised,
    volume,
)

GROUPS = (momentum, indicators, ranges, realised, volume, drawdown, cross_section, calendar)


def _collect() -> dict[str, Feature]:
    found: dict[str, Feature] = {}
    for group in GROUPS:
        for feature in group.FEATURES:
            if feature.name in found:
                raise ValueError(f"two features are called {feature.name}")
            found[feature.name] = feature
    return found


FEATURES = _collect()
