"""Cached answers are served only while versions, scores, history and newest hour are unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coincast_forecast.domain import LIGHTGBM, ForecastQuery, History, LiveScores
from coincast_forecast.registry.deployment import Deployment
from coincast_forecast.response_cache import CacheGeneration, ResponseCache, cache_key_of
from coincast_modelkit.candles import Candles
from tests.unit.forecast.forecast_kit import make_kit

QUERY = ForecastQuery(("bitcoin",), client_key="one")


async def test_an_answer_is_found_for_its_own_history_and_generation_alone() -> None:
    served = await make_kit().one("bitcoin")
    days = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")
    history = History(Candles.of("bitcoin", days, [1.0, 2.0]), served.provenance)
    generation = CacheGeneration({}, LiveScores())
    key = cache_key_of(QUERY, {})
    cache = ResponseCache(10)
    cache.put(key, generation, history, served)
    assert cache.get(key, "bitcoin", generation, history) is served
    assert cache.get(key, "ethereum", generation, history) is None
    assert cache.get(key, "bitcoin", generation, replace(history)) is None
    assert cache.get(key, "bitcoin", CacheGeneration({}, LiveScores()), history) is None
    cache.clear()
    assert cache.get(key, "bitcoin", generation, history) is None


@pytest.mark.parametrize(("testing", "equal"), [(False, True), (True, False)])
def test_callers_share_an_answer_unless_an_experiment_runs(testing: bool, equal: bool) -> None:
    version = make_kit().lineups[LIGHTGBM].production if testing else None
    snapshot = {LIGHTGBM: Deployment(challenger=version, challenger_share=0.5)}
    other = replace(QUERY, client_key="two")
    assert (cache_key_of(QUERY, snapshot) == cache_key_of(other, snapshot)) is equal
