"""Feature cache: inputs are computed again when the reference coins' histories become longer."""

from __future__ import annotations

import numpy as np

from coincast_forecast.features.cache import FeatureCache
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.features.groups import FEATURES
from coincast_modelkit.model_input import ModelInput
from tests.unit.forecast.forecast_fakes import walk

REFERENCES = ("bitcoin", "ethereum", "solana")
SPEC = FeatureSpec(tuple(FEATURES))


async def test_a_week_of_a_reference_coin_gives_way_to_its_whole_history() -> None:
    cache = FeatureCache(keep_bytes=2**26, limit_seconds=30)
    coin = walk("dogecoin")
    panel = {name: walk(name) for name in REFERENCES}
    weeks = panel | {
        name: panel[name].rows(len(panel[name]) - 7, len(panel[name])) for name in ("ethereum", "solana")
    }
    without = {"bitcoin": panel["bitcoin"]}
    rows = []
    for reference in (without, weeks, panel):
        await cache.set_reference("usd", reference)
        assert cache.cached(coin, "usd", SPEC) is None
        found = (await cache.prepare([coin], "usd", SPEC))["dogecoin"]
        assert isinstance(found, ModelInput)
        rows.append(found.row)
        assert cache.cached(coin, "usd", SPEC) is found
    cache.stop()
    known = [int(np.isfinite(row).sum()) for row in rows]
    assert known[0] <= known[1] <= known[2]
    assert not np.array_equal(rows[0], rows[1], equal_nan=True)
    assert not np.array_equal(rows[1], rows[2], equal_nan=True)
