"""The ledger's side of a request: every forecast once, before it is shown; and what `auto` makes of the
record.
"""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from coincast_forecast.domain import HorizonRecord, Record
from coincast_forecast.registry.deployment import Deployment
from coincast_forecast.registry.live_records import scores_of
from tests.unit.forecast.forecast_kit import FakeModel, Kit, live, make_kit


async def test_a_forecast_is_one_entry_a_day_ahead_however_often_it_is_requested() -> None:
    kit = make_kit()
    await asyncio.gather(*(kit.one(model="lightgbm", days=5) for _ in range(20)))
    assert [e.horizon_days for e in kit.ledger.entries] == [1, 2, 3, 4, 5]
    await kit.one(model="lightgbm", days=7)
    await kit.one(model="lightgbm", days=3)
    assert [e.horizon_days for e in kit.ledger.entries] == [1, 2, 3, 4, 5, 6, 7]
    assert len({e.forecast_id for e in kit.ledger.entries}) == 1


async def test_an_entry_has_the_figures_of_the_reply() -> None:
    kit = make_kit()
    forecast = (await kit.one(model="lightgbm", days=2, levels_percent=(80.0, 95.0))).forecast
    second = kit.ledger.entries[1]
    assert (second.forecast_id, second.as_of) == (forecast.forecast_id, forecast.day.isoformat())
    quantiles = dict(zip(second.probabilities, second.price_quantiles, strict=True))
    inner, outer = forecast.curve.intervals
    assert (quantiles[0.5], quantiles[0.1], quantiles[0.975]) == (
        forecast.curve.prices[1],
        inner.lower[1],
        outer.upper[1],
    )


async def test_a_forecast_the_ledger_does_not_take_has_no_id_there() -> None:
    kit = make_kit()
    kit.ledger.full = True
    assert (await kit.one(model="lightgbm")).forecast.forecast_id == ""
    kit.ledger.full = False
    assert (await kit.one(model="lightgbm")).forecast.forecast_id != ""


def measured(kit: Kit, **skills: float) -> None:
    for model, skill in skills.items():
        record = Record(horizons=(HorizonRecord(7, 100, crps_skill_percent=skill),))
        kit.lineups[model] = Deployment(production=live(kit.models[model], record=record))


async def test_auto_takes_the_best_measured_record() -> None:
    kit = make_kit()
    measured(kit, ml_ensemble=1.0, lightgbm=3.0, lstm=2.0)
    forecast = (await kit.one()).forecast
    assert (forecast.model, forecast.served_by, forecast.degraded) == ("lightgbm", "lightgbm", False)


async def test_auto_prefers_live_skill_of_the_coin_and_horizon() -> None:
    kit = make_kit()
    measured(kit, ml_ensemble=1.0, lightgbm=3.0, lstm=2.0)
    kit.scores.update({(m, "", 7): s for m, s in (("ml_ensemble", 5.0), ("lightgbm", 1.0), ("lstm", 0.0))})
    kit.scores.update(
        {(m, "ethereum", 7): s for m, s in (("ml_ensemble", 0.0), ("lightgbm", 1.0), ("lstm", 9.0))}
    )
    assert (await kit.one("bitcoin")).forecast.model == "ml_ensemble"
    assert (await kit.one("ethereum")).forecast.model == "lstm"


async def test_auto_without_any_version_is_technical_and_says_so() -> None:
    kit = make_kit()
    for model in ("ml_ensemble", "lightgbm", "lstm"):
        del kit.lineups[model]
    forecast = (await kit.one()).forecast
    assert (forecast.model, forecast.served_by, forecast.degraded) == ("technical", "technical", True)
    assert "in production" in forecast.reason


def test_the_live_record_is_read() -> None:
    document = {
        "records": [
            {"model": "lstm", "id": "bitcoin", "horizon_days": 7, "skill_percent": 1.5},
            {"model": "lstm", "id": "", "horizon_days": 7, "skill_percent": None},
        ]
    }
    assert scores_of(document).skill_percent == {("lstm", "bitcoin", 7): 1.5}


@pytest.mark.slow
async def test_an_answer_without_its_explanation_is_not_kept_as_whole() -> None:
    kit = make_kit()
    model = kit.models["lightgbm"]
    await kit.one(model="lightgbm")
    model.hang.clear()
    missing = (await kit.one(model="lightgbm", attribution_features=3)).forecast
    assert (missing.attributions, missing.served_by) == ((), "lightgbm")
    model.hang.set()
    for _ in range(100):
        explained = (await kit.one(model="lightgbm", attribution_features=3)).forecast
        if explained.attributions:
            break
        await asyncio.sleep(0.05)
    assert [a.feature for a in explained.attributions] == ["return_1"]


async def test_a_version_swapped_out_is_not_held_on_to() -> None:
    kit = make_kit()
    await kit.one(model="lightgbm")
    version = weakref.ref(kit.lineups["lightgbm"].production)
    kit.models["lightgbm"] = FakeModel("lightgbm", "v000002")
    kit.lineups["lightgbm"] = Deployment(production=live(kit.models["lightgbm"]))
    assert (await kit.one(model="lightgbm")).forecast.version == "v000002"
    gc.collect()
    assert version() is None
