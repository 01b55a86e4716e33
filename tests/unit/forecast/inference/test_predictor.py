"""The batcher: each coin is computed once, and every caller gets the row of its coin."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_forecast.fallback.naive import without_features
from coincast_forecast.inference.predictor import PredictionRef, Predictor
from tests.unit.forecast.forecast_fakes import walk
from tests.unit.forecast.forecast_kit import FakeModel

PREPARED = [without_features(walk(f"coin-{i}", 40)) for i in range(12)]
CALLS = st.lists(st.tuples(st.sets(st.integers(0, 11), min_size=1), st.booleans()), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(calls=CALLS, max_batch=st.integers(1, 5))
async def test_every_coin_once_and_to_everyone(calls: list[tuple[set[int], bool]], max_batch: int) -> None:
    model = FakeModel("lightgbm")
    predictor = Predictor(
        model, limit_seconds=30, max_batch=max_batch, keep_rows=100, timer=time.perf_counter
    )
    tasks = []
    for wanted, pause in calls:
        tasks.append(asyncio.create_task(predictor.rows("usd", [PREPARED[i] for i in sorted(wanted)])))
        if pause:
            await asyncio.sleep(0)
    for (wanted, _), outcomes in zip(calls, await asyncio.gather(*tasks), strict=True):
        assert set(outcomes) == {f"coin-{i}" for i in wanted}
        for coin, row in outcomes.items():
            assert isinstance(row, PredictionRef)
            assert row.prepared.coin_id == row.forecasts.coin_ids[row.index] == coin
    computed = [coin for batch in model.batches for coin in batch]
    assert len(computed) == len(set(computed)) == len({i for wanted, _ in calls for i in wanted})
    assert max(len(batch) for batch in model.batches) <= max_batch
    predictor.stop()
