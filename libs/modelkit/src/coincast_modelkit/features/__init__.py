"""Features: documented definitions, computed for a whole history (`batch`) or its last day (`latest`)."""

from __future__ import annotations

from coincast_modelkit.features.definition import batch, latest
from coincast_modelkit.features.market import REFERENCE_COINS, Market, market_of
from coincast_modelkit.features.spec import WINDOW_DAYS, FeatureSpec, spec_of

DEFAULT_SPEC = spec_of()

__all__ = [
    "DEFAULT_SPEC",
    "REFERENCE_COINS",
    "WINDOW_DAYS",
    "FeatureSpec",
    "Market",
    "batch",
    "latest",
    "market_of",
    "spec_of",
]
