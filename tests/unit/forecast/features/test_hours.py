"""Hours of a day for daily models: fetched beside the requests, as of the close, and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, NotReady, Unavailable
from coincast_forecast.domain import HourlyHistory, Provenance, Source, close_of
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.features.hours import RETRY_SECONDS, DayHours
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.features.groups import FEATURES
from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyCandles
from coincast_modelkit.model_input import ModelInput
from tests.unit.modelkit.hourly.hourly_market import invented

SPEC = FeatureSpec(tuple(FEATURES))
HOURS = {
    "bitcoin": invented("bitcoin", 120, seed=1),
    "dogecoin": invented("dogecoin", 120, seed=2),
    "bare": invented("bare", 120, seed=3, ranges=False),
}
DAILY = {coin: hours.daily() for coin, hours in HOURS.items()}


class FakeHours:
    """Hourly histories of the coins it was given; counts what it was asked."""

    def __init__(self, panel: Mapping[str, HourlyCandles]) -> None:
        self.panel = dict(panel)
        self.asked: list[tuple[tuple[str, ...], datetime]] = []
        self.down = False

    async def until(
        self, ids: Sequence[str], vs_currency: str, moment: datetime
    ) -> Mapping[str, HourlyHistory | CoincastError]:
        self.asked.append((tuple(ids), moment))
        if self.down:
            raise Unavailable("market-data does not answer")
        return {
            coin: HourlyHistory(self.panel[coin].until(moment), Provenance(Source.ARCHIVE))
            if coin in self.panel
            else NotReady("no hours", field="ids")
            for coin in ids
        }


class Rig:
    """Rows of hours over a fake source."""

    def __init__(self, panel: Mapping[str, HourlyCandles] = HOURS) -> None:
        self.source, self.clock = FakeHours(panel), ManualClock(1_756_700_000.0)
        self.came = 0
        self.hours = DayHours(self.source, self.clock, on_rows=self._count)

    def _count(self) -> None:
        self.came += 1


async def test_a_row_is_missing_at_first_and_there_after_the_fetch() -> None:
    rig = Rig()
    assert rig.hours.row(DAILY["dogecoin"], "usd") is None
    await rig.hours.fetch_batch()
    row = rig.hours.row(DAILY["dogecoin"], "usd")
    assert row is not None and np.isfinite(row.values).all() and row.source == RANGES
    ids, moment = rig.source.asked[0]
    assert moment == close_of(DAILY["dogecoin"].as_of) and ids[0] == "dogecoin" and "bitcoin" in ids
    assert rig.came == 1 and len(rig.source.asked) == 1


async def test_nothing_is_fetched_for_a_model_without_hours() -> None:
    rig = Rig()
    cache = FeatureCache(keep_bytes=2**26, limit_seconds=30, hours=rig.hours)
    coin = DAILY["dogecoin"]
    first = (await cache.prepare([coin], "usd", SPEC))["dogecoin"]
    assert isinstance(first, ModelInput) and first.hours is None
    await rig.hours.fetch_batch()
    assert rig.source.asked == []
    await cache.prepare([coin], "usd", SPEC, reads_hours=True)
    await rig.hours.fetch_batch()
    assert len(rig.source.asked) == 1
    assert cache.cached(coin, "usd", SPEC) is first, "hours are no reason to compute its input again"
    cache.stop()


async def test_a_model_with_hours_does_not_share_a_computation_without_them() -> None:
    rig = Rig()
    coin = DAILY["dogecoin"]
    rig.hours.row(coin, "usd")
    await rig.hours.fetch_batch()
    cache = FeatureCache(keep_bytes=2**26, limit_seconds=30, hours=rig.hours)
    without, given = await asyncio.gather(
        cache.prepare([coin], "usd", SPEC), cache.prepare([coin], "usd", SPEC, reads_hours=True)
    )
    first, second = without["dogecoin"], given["dogecoin"]
    assert isinstance(first, ModelInput) and first.hours is None
    assert isinstance(second, ModelInput) and second.hours is not None
    cache.stop()


@pytest.mark.parametrize("failure", ["down", "no hours", "the last hour is missing"])
async def test_missing_hours_are_asked_for_again_after_a_while(failure: str) -> None:
    rig = Rig()
    if failure == "down":
        rig.source.down = True
    elif failure == "no hours":
        del rig.source.panel["dogecoin"]
    else:
        whole = HOURS["dogecoin"]
        rig.source.panel["dogecoin"] = whole.until(whole.closes_at - np.timedelta64(1, "h"))
    for _ in range(2):
        assert rig.hours.row(DAILY["dogecoin"], "usd") is None
        await rig.hours.fetch_batch()
    assert len(rig.source.asked) == 1, "it is not asked at every request"
    rig.source.down = False
    rig.source.panel["dogecoin"] = HOURS["dogecoin"]
    rig.clock.advance(RETRY_SECONDS)
    assert rig.hours.row(DAILY["dogecoin"], "usd") is None
    await rig.hours.fetch_batch()
    assert rig.hours.row(DAILY["dogecoin"], "usd") is not None


async def test_coins_without_ranges_are_read_from_closes() -> None:
    rig = Rig()
    assert rig.hours.row(DAILY["bare"], "usd") is None
    await rig.hours.fetch_batch()
    row = rig.hours.row(DAILY["bare"], "usd")
    assert row is not None and row.source == CLOSES


async def test_an_earlier_day_is_read_from_the_hours_up_to_its_close() -> None:
    rig = Rig()
    earlier = DAILY["dogecoin"].rows(0, 110)
    rig.hours.row(earlier, "usd")
    await rig.hours.fetch_batch()
    whole = Rig()
    whole.hours.row(DAILY["dogecoin"], "usd")
    await whole.hours.fetch_batch()
    one, other = rig.hours.row(earlier, "usd"), whole.hours.row(DAILY["dogecoin"], "usd")
    assert one is not None and other is not None and not np.allclose(one.values, other.values)
    assert rig.source.asked[0][1] == whole.source.asked[0][1] - timedelta(days=10)
    assert rig.source.asked[0][1].tzinfo is UTC


async def test_features_are_made_without_hours_and_again_when_they_have_come() -> None:
    rig = Rig()
    cache = FeatureCache(keep_bytes=2**26, limit_seconds=30, hours=rig.hours)
    coin = DAILY["dogecoin"]
    first = (await cache.prepare([coin], "usd", SPEC, reads_hours=True))["dogecoin"]
    assert isinstance(first, ModelInput) and first.hours is None
    assert cache.cached(coin, "usd", SPEC, reads_hours=True) is first
    await rig.hours.fetch_batch()
    assert cache.cached(coin, "usd", SPEC, reads_hours=True) is None
    second = (await cache.prepare([coin], "usd", SPEC, reads_hours=True))["dogecoin"]
    assert isinstance(second, ModelInput) and second.hours is not None
    assert cache.cached(coin, "usd", SPEC, reads_hours=True) is second
    np.testing.assert_array_equal(first.row, second.row)
    tail = (await cache.prepare([coin], "usd", FeatureSpec(())))["dogecoin"]
    assert isinstance(tail, ModelInput) and tail.hours is None
    cache.stop()
