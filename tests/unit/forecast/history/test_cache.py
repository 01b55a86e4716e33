"""HistoryCache: kept until the source has a new day, stale and said so where it does not answer."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime

import pytest

from coincast.common.v1 import common_pb2
from coincast_chassis.errors import Unavailable
from coincast_forecast.domain import Source
from coincast_forecast.grpc import proto_mapping
from coincast_forecast.history.cache import REREAD_SECONDS
from coincast_modelkit.features import REFERENCE_COINS
from tests.unit.clock_jumps import JUMPS, JumpingClock
from tests.unit.forecast.forecast_kit import Kit, make_kit


async def test_missing_coins_are_one_fetch() -> None:
    kit = make_kit()
    await kit.ask("bitcoin", "dogecoin", "tether")
    [fetched] = kit.source.fetched
    assert set(fetched) == {*REFERENCE_COINS, "dogecoin", "tether"}


async def test_a_source_that_is_gone_leaves_what_is_kept_and_says_so() -> None:
    kit = make_kit()
    assert (await kit.one(model="lightgbm")).provenance.source is Source.FRESH
    kit.source.down = True
    await kit.histories.check_days()
    kit.clock.advance(60)
    soon = await kit.one(model="lightgbm")
    assert (soon.forecast.degraded, soon.provenance.stale) == (False, False)
    kit.clock.advance(61)
    later = await kit.one(model="lightgbm")
    assert later.provenance.stale
    assert later.provenance.source is Source.STALE
    assert later.forecast.degraded
    assert "market-data" in later.forecast.reason
    assert later.forecast.served_by == "lightgbm"
    assert not kit.histories.source_up
    kit.source.down = False
    await kit.histories.check_days()
    assert not (await kit.one(model="lightgbm")).provenance.stale


async def test_a_new_day_that_cannot_be_fetched_leaves_the_old_one() -> None:
    kit = make_kit()
    first = await kit.one(model="lightgbm")
    kit.source.next_day()
    await kit.histories.check_days()
    kit.source.down = True
    kit.clock.advance(61)
    late = await kit.one(model="lightgbm")
    assert late.forecast.day == first.forecast.day
    assert "could not be brought up to date" in late.forecast.reason
    kit.source.down = False
    kit.clock.advance(6)
    assert (await kit.one(model="lightgbm")).forecast.day > first.forecast.day


async def test_a_history_that_was_replaced_within_the_day_is_seen_a_few_minutes_later() -> None:
    kit = make_kit()
    first = await kit.one(model="lightgbm")
    fetches = len(kit.source.fetched)
    candles = kit.source.coins["bitcoin"]
    tenth = {name: getattr(candles, name) / 10 for name in ("open", "high", "low", "close")}
    kit.source.coins["bitcoin"] = dataclasses.replace(candles, **tenth)
    kit.clock.advance(REREAD_SECONDS - 1)
    assert (await kit.one(model="lightgbm")).forecast.last_price == first.forecast.last_price
    assert len(kit.source.fetched) == fetches
    kit.clock.advance(2)
    # This request is answered from the cache, and has the history read again behind it.
    assert (await kit.one(model="lightgbm")).forecast.last_price == first.forecast.last_price
    await settled(kit, fetches + 1)
    now = await kit.one(model="lightgbm")
    assert now.forecast.last_price == pytest.approx(first.forecast.last_price / 10)
    assert now.forecast.day == first.forecast.day


async def test_a_history_that_is_unchanged_when_read_again_keeps_what_was_computed_from_it() -> None:
    kit = make_kit()
    await kit.one(model="lightgbm")
    before = kit.histories.peek("bitcoin", "usd")
    assert before is not None
    fetches = len(kit.source.fetched)
    for source_down in (True, False):
        kit.source.down = source_down
        kit.clock.advance(REREAD_SECONDS + 1)
        await kit.histories.get(["bitcoin"], "usd")
        await kit.histories.get(["bitcoin"], "usd")
        fetches += 1
        await settled(kit, fetches)
        after = kit.histories.peek("bitcoin", "usd")
        assert after is not None
        assert after.candles is before.candles
    assert len(kit.source.fetched) == fetches


async def settled(kit: Kit, fetches: int) -> None:
    """Return once the source was read so often, and what it gave is cached."""
    for _ in range(1000):
        if len(kit.source.fetched) >= fetches:
            break
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_coin_never_seen_is_an_error_while_the_source_is_gone() -> None:
    kit = make_kit()
    kit.source.down = True
    [(coin, error)] = (await kit.ask("bitcoin")).errors
    assert coin == "bitcoin"
    assert isinstance(error, Unavailable)


async def test_a_coin_that_lags_is_requested_again_but_not_at_once() -> None:
    kit = make_kit()
    lagging = kit.source.coins["dogecoin"]
    kit.source.coins["dogecoin"] = lagging.rows(0, len(lagging) - 2)
    await kit.one("dogecoin", model="lightgbm")
    fetches = len(kit.source.fetched)
    await kit.one("dogecoin", model="lightgbm")
    assert len(kit.source.fetched) == fetches
    kit.clock.advance(61)
    await kit.histories.check_days()
    await kit.one("dogecoin", model="lightgbm")
    assert len(kit.source.fetched) == fetches + 1


async def test_an_unknown_coin_is_not_requested_again_at_once() -> None:
    kit = make_kit()
    await kit.ask("nothing")
    fetches = len(kit.source.fetched)
    await kit.ask("nothing")
    assert len(kit.source.fetched) == fetches
    kit.clock.advance(11)
    await kit.ask("nothing")
    assert len(kit.source.fetched) == fetches + 1


async def test_a_source_without_bitcoin_is_served_all_the_same() -> None:
    kit = make_kit()
    del kit.source.coins["bitcoin"]
    first = await kit.one("dogecoin", model="lightgbm")
    assert (first.forecast.degraded, first.provenance.stale) == (False, False)
    kit.clock.advance(61)
    await kit.histories.check_days()
    kit.source.next_day()
    again = await kit.one("dogecoin", model="lightgbm")
    assert (again.forecast.day - first.forecast.day).days == 1


async def test_what_there_is_to_forecast_from_is_seen_to_and_counts_for_as_long_as_it_is_kept() -> None:
    kit = make_kit()
    kit.source.down = True
    await kit.histories.get_first()
    assert kit.histories.missing_reason == "MarketDataService does not answer"
    kit.source.down = False
    await kit.histories.get_first()
    assert kit.source.fetched[1:] == [("bitcoin",)]
    await kit.histories.get_first()
    assert len(kit.source.fetched) == 2
    kit.source.down = True
    await kit.histories.check_days()
    kit.clock.advance(86_400)
    assert not kit.histories.missing_reason


async def test_a_source_that_knows_no_reference_coin_is_taken_to_have_others_while_it_answers() -> None:
    kit = make_kit()
    kit.source.coins = {"dogecoin": kit.source.coins["dogecoin"]}
    await kit.histories.get_first()
    assert not kit.histories.missing_reason
    kit.source.down = True
    await kit.histories.get_first()
    assert kit.histories.missing_reason


async def test_a_history_that_a_caller_had_fetched_is_enough() -> None:
    kit = make_kit()
    assert kit.histories.missing_reason
    await kit.one("dogecoin", model="technical")
    assert not kit.histories.missing_reason


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_wall_clock_that_jumps_makes_nothing_stale_or_young(jump: float) -> None:
    kit = make_kit()
    first = await kit.one(model="lightgbm")
    fetches = len(kit.source.fetched)
    kit.clock.set_wall(kit.clock.now() + jump)
    again = await kit.one(model="lightgbm")
    assert (again.forecast.day, again.provenance.stale) == (first.forecast.day, False)
    assert len(kit.source.fetched) == fetches
    kit.source.down = True
    kit.clock.advance(121)
    kit.clock.set_wall(kit.clock.now() - 2 * jump)
    await kit.histories.check_days()
    late = await kit.one(model="lightgbm")
    assert late.provenance.stale


@pytest.mark.parametrize("jump", JUMPS)
def test_the_age_of_a_history_runs_on_a_steady_clock(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = JumpingClock()
    monkeypatch.setattr(proto_mapping, "steady_clock", lambda: clock.steady)
    sent = common_pb2.Provenance(age_seconds=100.0)
    as_of = datetime.fromtimestamp(clock.now() - 100, UTC)
    sent.as_of.FromDatetime(as_of)
    found = proto_mapping.provenance_of(sent)
    clock.advance(40)
    clock.jump(jump)
    message = proto_mapping.provenance_message(as_of, found, clock.steady)
    assert message.age_seconds == pytest.approx(140, abs=0.01)
