"""What a reply says where time runs out: late features, late explanations; the next call is whole."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from coincast_chassis import context
from coincast_modelkit.features import REFERENCE_COINS, FeatureSpec
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import Attribution
from tests.unit.forecast.forecast_kit import FakeModel, Kit, live, make_kit


class HeldSpec(FeatureSpec):
    """Features whose computation blocks until released."""

    released = threading.Event()

    @property
    def memory_days(self) -> int:  # a cached property there
        """Called when a coin is prepared."""
        self.released.wait(20)
        return 60


class SlowToExplain(FakeModel):
    """Takes its time over each explanation."""

    explain_seconds = 0.2

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        time.sleep(self.explain_seconds)
        return super().explain(prepared, horizon, top)


class Mute(FakeModel):
    """Has nothing to say of itself."""

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        return []


def kit_with(model: Any) -> Kit:
    kit = make_kit(step_seconds=10)
    kit.lineups["lightgbm"] = type(kit.lineups["lightgbm"])(production=live(model, step_seconds=10))
    return kit


async def until_whole(kit: Kit, ids: Sequence[str], **changes: Any) -> list[Any]:
    for _ in range(200):
        forecasts = [s.forecast for s in (await kit.ask(*ids, model="lightgbm", **changes)).forecasts]
        if all(not f.degraded and not f.attributions_reason for f in forecasts):
            return forecasts
        await asyncio.sleep(0.05)
    raise AssertionError("no call was whole")


@pytest.mark.slow
async def test_technical_does_not_wait_behind_features_and_the_next_call_is_whole() -> None:
    model = FakeModel("lightgbm")
    model.spec = HeldSpec(("har_1",))
    kit = kit_with(model)
    with context.bind(deadline_seconds=2):
        reply = await kit.ask(*REFERENCE_COINS, model="lightgbm")
    assert {s.forecast.served_by for s in reply.forecasts} == {"technical"}
    for served in reply.forecasts:
        assert served.forecast.degraded
        assert "still being computed: retry" in served.forecast.reason
    HeldSpec.released.set()
    assert {f.served_by for f in await until_whole(kit, REFERENCE_COINS)} == {"lightgbm"}


@pytest.mark.slow
async def test_explanations_that_were_not_ready_say_so_and_come_later() -> None:
    kit = kit_with(SlowToExplain("lightgbm"))
    await kit.ask(*REFERENCE_COINS, model="lightgbm")
    with context.bind(deadline_seconds=1):
        reply = await kit.ask(*REFERENCE_COINS, model="lightgbm", attribution_features=2)
    forecasts = [s.forecast for s in reply.forecasts]
    assert {f.served_by for f in forecasts} == {"lightgbm"}
    assert not any(f.degraded for f in forecasts)
    missing = [f for f in forecasts if not f.attributions]
    assert missing
    assert all("retry" in f.attributions_reason for f in missing)
    assert all(not f.attributions_reason for f in forecasts if f.attributions)
    whole = await until_whole(kit, REFERENCE_COINS, attribution_features=2)
    assert all(f.attributions for f in whole)


async def test_a_model_that_cannot_explain_itself_says_so() -> None:
    kit = kit_with(Mute("lightgbm"))
    forecast = (await kit.one(model="lightgbm", attribution_features=2)).forecast
    assert "no attributions" in forecast.attributions_reason
    assert (await kit.one(model="lightgbm")).forecast.attributions_reason == ""
