"""A/B and shadow: sticky sides, shares that come out, shadows off the request's path, all of it in the
ledger.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_forecast.registry.deployment import Deployment, sticky_fraction
from tests.unit.forecast.forecast_kit import FakeModel, Kit, live, make_kit

TEXT = st.text(max_size=20)


@settings(deadline=None)
@given(TEXT, TEXT, TEXT)
def test_a_side_is_a_fixed_number_below_one(experiment: str, coin: str, client: str) -> None:
    drawn = sticky_fraction(experiment, coin, client)
    assert 0 <= drawn < 1
    assert drawn == sticky_fraction(experiment, coin, client)


def test_a_larger_share_only_adds_callers() -> None:
    production, challenger = live(FakeModel("lightgbm")), live(FakeModel("lightgbm", "v000002"))

    def side(share: float) -> set[str]:
        lineup = Deployment(production, challenger, share)
        return {str(i) for i in range(500) if lineup.assigned("bitcoin", str(i))[1] == "challenger"}

    assert side(0) == set()
    assert side(0.1) < side(0.5) < side(1)
    assert len(side(1)) == 500


def test_shares_come_out() -> None:
    lineup = Deployment(live(FakeModel("lightgbm")), live(FakeModel("lightgbm", "v000002")), 0.2)
    sides = [lineup.assigned(f"coin-{i % 40}", f"client-{i}")[1] for i in range(5000)]
    assert sides.count("challenger") / len(sides) == pytest.approx(0.2, abs=0.02)


def test_experiments_draw_independently() -> None:
    same = [
        (sticky_fraction("a", "bitcoin", str(i)) < 0.5) == (sticky_fraction("b", "bitcoin", str(i)) < 0.5)
        for i in range(2000)
    ]
    assert sum(same) / 2000 == pytest.approx(0.5, abs=0.05)


def with_challenger(share: float) -> Kit:
    kit = make_kit()
    production = kit.lineups["lightgbm"].production
    kit.lineups["lightgbm"] = Deployment(
        production, live(FakeModel("lightgbm", "v000002", width=0.09)), share
    )
    return kit


async def test_a_caller_stays_on_a_side_and_the_reply_names_it() -> None:
    kit = with_challenger(0.5)
    sides: dict[str, set[tuple[str, str]]] = {}
    for client in "abcdefghij" * 2:
        forecast = (await kit.one(model="lightgbm", client_key=client)).forecast
        sides.setdefault(client, set()).add((forecast.variant, forecast.version))
    assert all(len(side) == 1 for side in sides.values())
    assert {variant for side in sides.values() for variant in side} == {
        ("production", "v000001"),
        ("challenger", "v000002"),
    }
    assert {e.variant for e in kit.ledger.entries} == {"production", "challenger"}


async def shadowed(kit: Kit) -> None:
    """Let the shadows work until their queue is empty."""
    task = asyncio.create_task(kit.shadow_traffic.work())
    for _ in range(200):
        await asyncio.sleep(0.01)
        if kit.shadow_traffic.idle:
            break
    await cancel_and_wait([task])


async def test_a_shadow_is_recorded_and_never_shown() -> None:
    kit = make_kit()
    shadow = FakeModel("lightgbm", "v000009", width=0.2)
    kit.lineups["lightgbm"] = Deployment(kit.lineups["lightgbm"].production, shadow=live(shadow))
    forecast = (await kit.one(model="lightgbm", days=3)).forecast
    assert forecast.version == "v000001"
    assert shadow.batches == []
    await shadowed(kit)
    entries = [e for e in kit.ledger.entries if e.shadow]
    assert [(e.version, e.variant, e.horizon_days) for e in entries] == [
        ("v000009", "shadow", h) for h in (1, 2, 3)
    ]
    await kit.one(model="lightgbm", days=3)
    await shadowed(kit)
    assert len(shadow.batches) == 1


async def test_a_shadow_that_raises_or_hangs_touches_no_request() -> None:
    kit = make_kit()
    shadow = FakeModel("lightgbm", "v000009")
    shadow.raises = RuntimeError("no")
    kit.lineups["lightgbm"] = Deployment(kit.lineups["lightgbm"].production, shadow=live(shadow))
    assert not (await kit.one(model="lightgbm")).forecast.degraded
    await shadowed(kit)
    assert not [e for e in kit.ledger.entries if e.shadow]


async def test_both_sides_of_a_test_are_in_the_ledger_for_every_coin_and_day() -> None:
    """A paired test needs both forecasts of the same coin and day, whichever was served."""
    kit = with_challenger(0.0001)
    forecast = (await kit.one(model="lightgbm", days=2, client_key="only one")).forecast
    assert forecast.variant == "production"
    await shadowed(kit)
    assert {(e.version, e.variant, e.shadow) for e in kit.ledger.entries} == {
        ("v000001", "production", False),
        ("v000002", "challenger", True),
    }
