"""Partial, unconfirmed and short histories: served with a reason or refused, and fetched again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, NotReady, Unavailable
from coincast_forecast.domain import History, Provenance, Source
from coincast_forecast.history.market_client import chunk_of, history_of
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.features.groups import FEATURES
from tests.unit.forecast.forecast_fakes import walk
from tests.unit.forecast.forecast_kit import FakeSource, Kit, make_kit

MODELS = ("lightgbm", "lstm", "ml_ensemble", "technical")


class PartialSource(FakeSource):
    """A source that has only the last days of some coins for now."""

    def __init__(self) -> None:
        super().__init__()
        self.partial: dict[str, int] = {}
        self.unconfirmed: set[str] = set()
        self.without_ranges: set[str] = set()

    async def fetch(self, ids, vs_currency, days, *, sparkline_ids=()):
        found = await super().fetch(ids, vs_currency, days)
        for coin, kept in self.partial.items():
            history = found.get(coin)
            if isinstance(history, History):
                candles = history.candles.rows(len(history.candles) - kept, len(history.candles))
                found[coin] = dataclasses.replace(
                    history, candles=candles, partial_reason="the quota is used up", retry_after_seconds=20.0
                )
        for coin in self.without_ranges:
            bare = found[coin]
            assert isinstance(bare, History)
            nothing = np.full(len(bare.candles), np.nan)
            candles = dataclasses.replace(bare.candles, open=nothing, high=nothing, low=nothing)
            reason = "highs and lows of 800 days are being fetched"
            found[coin] = dataclasses.replace(
                bare, candles=candles, partial_reason=reason, retry_after_seconds=10.0, ranges_pending=True
            )
        for coin in self.unconfirmed:
            doubted = found[coin]
            assert isinstance(doubted, History)
            found[coin] = dataclasses.replace(doubted, doubt_reason="the last close doubled")
        return found


@pytest.fixture
def source() -> PartialSource:
    return PartialSource()


@pytest.fixture
def kit(source: PartialSource) -> Kit:
    return make_kit(source=source)


@pytest.mark.parametrize("model", [*MODELS, "auto"])
async def test_a_short_partial_history_is_refused_with_a_retry_time(
    kit: Kit, source: PartialSource, model: str
) -> None:
    source.partial["bitcoin"] = 2
    [(coin, error)] = (await kit.ask("bitcoin", model=model)).errors
    assert coin == "bitcoin"
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == 20
    assert "the quota is used up" in error.message


async def test_a_partial_history_is_fetched_again_and_then_whole(kit: Kit, source: PartialSource) -> None:
    source.partial["bitcoin"] = 2
    await kit.ask("bitcoin", model="lightgbm")
    source.partial.clear()
    kit.clock.advance(19)
    assert (await kit.ask("bitcoin", model="lightgbm")).errors
    kit.clock.advance(2)
    forecast = (await kit.one("bitcoin", model="lightgbm")).forecast
    assert (forecast.served_by, forecast.degraded) == ("lightgbm", False)


async def test_a_forecast_from_a_partial_history_says_so_and_is_not_cached(
    kit: Kit, source: PartialSource
) -> None:
    source.partial["dogecoin"] = 120
    forecast = (await kit.one("dogecoin", model="lightgbm")).forecast
    assert forecast.degraded
    assert (
        "only 120 days of the history of dogecoin are available so far: the quota is used up"
        in forecast.reason
    )
    source.partial.clear()
    kit.clock.advance(21)
    assert not (await kit.one("dogecoin", model="lightgbm")).forecast.degraded


@pytest.mark.parametrize("coin", ["dogecoin", "bitcoin"])
async def test_a_forecast_from_closes_alone_says_that_highs_and_lows_are_to_come(
    kit: Kit, source: PartialSource, coin: str
) -> None:
    kit.models["lightgbm"].spec = FeatureSpec((next(iter(FEATURES)),))
    source.without_ranges.add(coin)
    forecast = (await kit.one("dogecoin", model="lightgbm")).forecast
    assert (forecast.served_by, forecast.degraded) == ("lightgbm", True)
    assert forecast.reason == (
        "the history of dogecoin has all closes, and highs and lows of 800 days are being fetched"
        if coin == "dogecoin"
        else "the market features lack highs and lows of bitcoin, which are not here yet"
    )
    source.without_ranges.clear()
    kit.clock.advance(11)
    assert not (await kit.one("dogecoin", model="lightgbm")).forecast.degraded


async def test_a_partial_history_does_not_replace_a_longer_one(kit: Kit, source: PartialSource) -> None:
    first = (await kit.one("dogecoin", model="lightgbm")).forecast
    source.next_day()
    source.partial["dogecoin"] = 2
    await kit.histories.check_days()
    kit.clock.advance(61)
    late = (await kit.one("dogecoin", model="lightgbm")).forecast
    assert late.day == first.day
    assert "could not be brought up to date" in late.reason
    source.partial.clear()
    kit.clock.advance(61)
    assert (await kit.one("dogecoin", model="lightgbm")).forecast.day > first.day


async def test_an_unconfirmed_history_is_said_and_fetched_again(kit: Kit, source: PartialSource) -> None:
    source.unconfirmed.add("dogecoin")
    forecast = (await kit.one("dogecoin", model="lightgbm")).forecast
    assert forecast.degraded
    assert "not confirmed: the last close doubled" in forecast.reason
    source.unconfirmed.clear()
    kit.clock.advance(6)
    assert not (await kit.one("dogecoin", model="lightgbm")).forecast.degraded


async def test_several_reasons_are_reported_separately(kit: Kit, source: PartialSource) -> None:
    source.partial["dogecoin"] = 120
    source.unconfirmed.add("dogecoin")
    forecast = (await kit.one("dogecoin", model="lightgbm")).forecast
    assert forecast.reason.split("; ")[:2] == [
        "only 120 days of the history of dogecoin are available so far: the quota is used up",
        "the history of dogecoin is not confirmed: the last close doubled",
    ]


@pytest.mark.parametrize(
    ("stale", "partial", "doubt"),
    [
        ("the quota is used up", "the quota is used up", ""),
        ("days wait to be confirmed", "days wait to be confirmed", "days wait to be confirmed"),
        ("", "days wait to be confirmed", "days wait to be confirmed"),
    ],
)
async def test_one_cause_is_worded_once(
    kit: Kit, source: PartialSource, stale: str, partial: str, doubt: str
) -> None:
    fetch = source.fetch

    async def troubled(ids, vs_currency, days, *, sparkline_ids=()):
        found = await fetch(ids, vs_currency, days)
        history = found["dogecoin"]
        where = dataclasses.replace(history.provenance, stale=bool(stale), reason=stale)
        found["dogecoin"] = dataclasses.replace(
            history, provenance=where, partial_reason=partial, doubt_reason=doubt
        )
        return found

    source.fetch = troubled  # type: ignore[method-assign]
    forecast = (await kit.one("dogecoin", model="lightgbm")).forecast
    assert forecast.degraded
    assert forecast.reason.count(partial) == 1


@pytest.mark.parametrize(("days", "model"), [(d, m) for d in (1, 2, 12, 29) for m in MODELS])
async def test_a_young_coin_is_not_ready_for_a_named_model(
    kit: Kit, source: PartialSource, days: int, model: str
) -> None:
    source.coins["newborn"] = walk("newborn", days)
    [(_, error)] = (await kit.ask("newborn", model=model)).errors
    assert isinstance(error, NotReady)
    assert f"{days} closed days" in error.message
    assert "model=auto" in error.message


@pytest.mark.parametrize("days", [1, 2, 5, 12, 29])
async def test_auto_answers_a_young_coin_naively_and_says_why(
    kit: Kit, source: PartialSource, days: int
) -> None:
    source.coins["newborn"] = walk("newborn", days)
    forecast = (await kit.one("newborn", model="auto")).forecast
    assert forecast.served_by == "last_price"
    assert f"technical needs 30 closed days of history and newborn has {days}" in forecast.reason
    lower, upper = forecast.curve.intervals[0].lower, forecast.curve.intervals[0].upper
    assert all(low < forecast.last_price < up for low, up in zip(lower, upper, strict=True))


async def test_auto_takes_a_model_with_a_smaller_minimum(kit: Kit, source: PartialSource) -> None:
    source.coins["young"] = walk("young", 31)
    for model in kit.models.values():
        model.min_history_days = 45
    forecast = (await kit.one("young", model="auto")).forecast
    assert (forecast.served_by, forecast.degraded) == ("technical", True)


async def test_a_restated_history_of_the_same_day_replaces_the_old_one(
    kit: Kit, source: PartialSource
) -> None:
    source.unconfirmed.add("dogecoin")
    first = (await kit.one("dogecoin", model="lightgbm")).forecast
    candles = source.coins["dogecoin"]
    scaled = {name: getattr(candles, name) / 100 for name in ("open", "high", "low", "close")}
    source.coins["dogecoin"] = dataclasses.replace(candles, **scaled)
    kit.clock.advance(6)
    second = (await kit.one("dogecoin", model="lightgbm")).forecast
    assert second.day == first.day
    assert second.last_price == pytest.approx(first.last_price / 100)


def message(**fields: object) -> pb.History:
    candles = [pb.Candle(date=f"2025-08-{day:02d}", close=100.0 + day) for day in range(1, 4)]
    return pb.History(id="bitcoin", vs_currency="usd", candles=candles, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "partial", "retry", "doubt"),
    [
        ({}, "", None, ""),
        ({"completeness": pb.HISTORY_COMPLETENESS_WHOLE}, "", None, ""),
        ({"completeness": pb.HISTORY_COMPLETENESS_CUT_BY_PLAN}, "", None, ""),
        (
            {
                "completeness": pb.HISTORY_COMPLETENESS_PARTIAL,
                "partial_reason": "no quota",
                "retry_after_seconds": 7.0,
            },
            "no quota",
            7.0,
            "",
        ),
        ({"completeness": pb.HISTORY_COMPLETENESS_PARTIAL}, "market-data could not", None, ""),
        ({"in_doubt": True, "quality_notes": ["a step", "a gap"]}, "", None, "a step; a gap"),
        ({"in_doubt": True}, "", None, "not confirmed yet"),
    ],
)
def test_a_message_says_whether_it_is_whole(
    fields: dict[str, object], partial: str, retry: float | None, doubt: str
) -> None:
    history = history_of("bitcoin", [chunk_of(message(**fields))])
    assert isinstance(history, History)
    assert partial in history.partial_reason
    assert bool(partial) == bool(history.partial_reason)
    assert history.retry_after_seconds == retry
    assert doubt in history.doubt_reason
    assert history.is_whole == (not partial and not doubt)


@pytest.mark.parametrize(
    ("completeness", "kind"),
    [(pb.HISTORY_COMPLETENESS_PARTIAL, Unavailable), (pb.HISTORY_COMPLETENESS_WHOLE, NotReady)],
)
def test_no_candle_at_all_is_unavailable_only_for_now(
    completeness: pb.HistoryCompleteness.ValueType, kind: type[CoincastError]
) -> None:
    empty = pb.History(id="bitcoin", completeness=completeness, provenance=common_pb2.Provenance())
    assert isinstance(history_of("bitcoin", [chunk_of(empty)]), kind)


def test_a_history_without_a_flag_is_whole() -> None:
    assert History(walk("bitcoin"), Provenance(Source.LIVE)).is_whole


class WeekSource(FakeSource):
    """A source that has only a sparkline of some coins, and gives it where a week suffices."""

    def __init__(self) -> None:
        super().__init__()
        self.weeks: set[str] = set()
        self.weekly_ids: list[tuple[str, ...]] = []

    async def fetch(self, ids, vs_currency, days, *, sparkline_ids=()):
        found = await super().fetch(ids, vs_currency, days)
        self.weekly_ids.append(tuple(sparkline_ids))
        for coin in self.weeks & set(ids):
            history = found[coin]
            assert isinstance(history, History)
            found[coin] = (
                dataclasses.replace(
                    history,
                    candles=history.candles.rows(len(history.candles) - 7, len(history.candles)),
                    partial_reason="only the last week is here",
                    retry_after_seconds=5.0,
                    from_sparkline=True,
                )
                if coin in sparkline_ids
                else Unavailable("the quota is used up", retry_after_seconds=20.0)
            )
        return found


async def test_the_week_of_a_reference_coin_serves_the_market_features_and_is_named() -> None:
    source = WeekSource()
    kit = make_kit(source=source)
    kit.models["lightgbm"].spec = FeatureSpec((next(iter(FEATURES)),))
    source.weeks = {"ethereum", "solana"}
    first = (await kit.one("bitcoin", model="lightgbm")).forecast
    assert (first.served_by, first.degraded) == ("lightgbm", True)
    assert "use only the last week of ethereum, solana" in first.reason
    assert "bitcoin" not in source.weekly_ids[0]
    assert "ethereum" in source.weekly_ids[0]
    source.weeks.clear()
    kit.clock.advance(6)
    second = (await kit.one("bitcoin", model="lightgbm")).forecast
    assert (second.degraded, second.reason) == (False, "")


@pytest.mark.parametrize("model", [*MODELS, "auto"])
async def test_no_coin_is_forecast_from_the_week_of_a_sparkline(model: str) -> None:
    source = WeekSource()
    kit = make_kit(source=source)
    source.weeks = {"ethereum"}
    await kit.one("bitcoin", model="lightgbm")
    [(coin, error)] = (await kit.ask("ethereum", model=model)).errors
    assert coin == "ethereum"
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == 20
    source.weeks.clear()
    kit.clock.advance(6)
    assert not (await kit.ask("ethereum", model=model)).errors


async def test_a_week_alone_is_no_readiness() -> None:
    source = WeekSource()
    kit = make_kit(source=source)
    source.weeks = set(source.coins)
    await kit.ask("dogecoin", model="lightgbm")
    assert kit.histories.missing_reason
    source.weeks.clear()
    await kit.histories.get_first()
    assert kit.histories.missing_reason == ""
