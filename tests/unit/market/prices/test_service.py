"""Prices: provenance and age of every figure, stale figures are marked, a bad coin fails only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Exhausted, InvalidInput, Unavailable
from coincast_market_data.cache.two_level import CacheStats, NullStore, TwoLevelCache
from coincast_market_data.catalogue.service import UnknownCoinBudget
from coincast_market_data.domain import Source
from coincast_market_data.grpc.proto_mapping import iso, prices_json
from coincast_market_data.identifiers import Pair
from coincast_market_data.item_errors import raise_if_all_transient
from coincast_market_data.jobs.refresh import refresh_interval
from coincast_market_data.ports import UpstreamReply, UpstreamRequest
from coincast_market_data.prices.batcher import PriceBatcher
from coincast_market_data.prices.fetcher import QuoteFetcher, quote_kind
from coincast_market_data.prices.service import PairPopularity, PriceService, worst
from coincast_market_data.prices.simple_price import SimplePriceService
from coincast_market_data.validation.outliers import OutlierDetector, PlausibilityChecker
from coincast_market_data.validation.quality_log import QualityLog
from tests.unit.market.market_fakes import FakeDirectory, NoArchive

NOW = 1_756_731_600.0
TRADED_BEFORE_SECONDS = 6.0


class FakePrices:
    """`simple/price` of a few coins."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.prices: dict[str, float | None] = {
            "bitcoin": 100_000.0,
            "ethereum": 4_000.0,
            "pepe": 1.234567e-9,
        }
        self.error: Exception | None = None
        self.calls = 0

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        self.calls += 1
        if self.error:
            raise self.error
        query = dict(request.query)
        known = [coin for coin in query["ids"].split(",") if coin in self.prices]
        document = {coin: self._row(coin, query["vs_currencies"].split(",")) for coin in known}
        now = self.clock.now()
        return UpstreamReply(document, b"", received_at=now, as_of=now, seconds=0.01)

    def _row(self, coin: str, codes: Sequence[str]) -> dict[str, float | None]:
        row: dict[str, float | None] = dict.fromkeys(codes, self.prices[coin])
        return row | {"last_updated_at": self.clock.now() - TRADED_BEFORE_SECONDS, "usd_market_cap": 5.0}


class Rig:
    """The service over a fake upstream."""

    def __init__(self, *, sandbox: bool = False) -> None:
        self.clock = ManualClock(NOW)
        self.upstream = FakePrices(self.clock)
        cache = TwoLevelCache(quote_kind(30, 3600), NullStore(), self.clock, CacheStats(), max_entries=1000)
        judge = PlausibilityChecker(OutlierDetector(), cache, NoArchive(), self.clock, self.clock)
        self.source = QuoteFetcher(self.upstream, cache, self.clock, judge, QualityLog())
        self.batcher = PriceBatcher(self.source.fetch, window_seconds=0.0, max_ids=250, max_query_bytes=2000)
        self.hot = PairPopularity()
        self.directory = FakeDirectory(["bitcoin"])
        self.prices = PriceService(
            cache,
            self.batcher,
            self.clock,
            hot=self.hot,
            sandbox=sandbox,
            directory=self.directory,
            look_ups=UnknownCoinBudget(self.directory, self.clock),
            rand=lambda: 0.5,
        )


async def test_live_then_fresh_then_stale_each_says_so() -> None:
    rig = Rig()
    live = (await rig.prices.get(["bitcoin"], [])).prices[0]
    assert (live.provenance.source, live.provenance.stale) == (Source.LIVE, False)
    assert live.provenance.as_of == NOW - TRADED_BEFORE_SECONDS
    assert live.provenance.age_seconds == TRADED_BEFORE_SECONDS
    rig.clock.advance(20)
    fresh = (await rig.prices.get(["bitcoin"], [])).prices[0]
    assert (fresh.provenance.source, fresh.provenance.age_seconds) == (Source.FRESH, 26.0)
    rig.clock.advance(40)
    rig.upstream.error = Unavailable("down")
    stale = (await rig.prices.get(["bitcoin"], [])).prices[0]
    assert (stale.provenance.source, stale.provenance.stale) == (Source.STALE, True)
    assert stale.provenance.reason
    rig.clock.advance(1000)
    older = (await rig.prices.get(["bitcoin"], [])).prices[0]
    assert older.provenance.reason == "down"
    assert older.quote.price == 100_000.0
    rig.clock.advance(3600)
    gone = await rig.prices.get(["bitcoin"], [])
    assert not gone.prices
    assert gone.failures[0].kind == "unavailable"
    with pytest.raises(Unavailable):
        raise_if_all_transient(gone.failures)


async def test_sandbox_figures_say_sandbox_whatever_their_age() -> None:
    rig = Rig(sandbox=True)
    assert (await rig.prices.get(["bitcoin"], [])).prices[0].provenance.source is Source.SANDBOX
    rig.clock.advance(60)
    later = (await rig.prices.get(["bitcoin"], [])).prices[0].provenance
    assert (later.source, later.stale) == (Source.SANDBOX, True)
    await rig.prices.aclose()


async def test_an_age_is_refetched_first_and_then_refused() -> None:
    rig = Rig()
    await rig.prices.get(["bitcoin"], [])
    rig.clock.advance(20)
    found = await rig.prices.get(["bitcoin"], [], max_age_seconds=10)
    assert rig.upstream.calls == 2
    assert found.prices[0].provenance.age_seconds == TRADED_BEFORE_SECONDS
    refused = await rig.prices.get(["bitcoin", "ethereum"], [], max_age_seconds=3)
    assert not refused.prices
    assert {f.field for f in refused.failures} == {"max_age_seconds"}
    calls = rig.upstream.calls
    for _ in range(50):
        await rig.prices.get(["bitcoin"], [], max_age_seconds=3)
    assert rig.upstream.calls <= calls + 1, "asking for the impossible does not spend the quota"


async def test_unknown_bad_and_good_ids_side_by_side() -> None:
    rig = Rig()
    rig.upstream.prices["broken"] = -5.0
    found = await rig.prices.get(["ethereum", "nope", "broken", "a/b", "bitcoin"], ["usd"])
    assert [item.quote.id for item in found.prices] == ["ethereum", "bitcoin"]
    kinds = {failure.id: failure.kind for failure in found.failures}
    assert kinds == {"nope": "not_found", "broken": "unavailable", "a/b": "invalid_input"}
    assert next(f for f in found.failures if f.id == "nope").suggestions == ("bitcoin",)
    raise_if_all_transient(found.failures)


async def test_a_request_that_is_all_wrong_costs_few_searches_and_one_call() -> None:
    rig = Rig()
    found = await rig.prices.get([f"nope-{n}" for n in range(200)], ["usd"])
    assert len(found.failures) == 200
    assert len(rig.directory.suggested) <= 10
    calls = rig.upstream.calls
    await rig.prices.get([f"nope-{n}" for n in range(200)], ["usd"])
    assert rig.upstream.calls == calls, "that they are unknown is kept as well"


async def test_a_warm_coin_that_is_left_out_once_is_not_gone() -> None:
    rig = Rig()
    await rig.prices.get(["bitcoin"], [])
    rig.upstream.prices["bitcoin"] = None
    rig.clock.advance(200)
    found = await rig.prices.get(["bitcoin"], [])
    assert found.prices[0].provenance.stale
    assert "missing" in found.prices[0].provenance.reason


@pytest.mark.slow
async def test_a_stale_figure_is_served_at_once_where_the_upstream_hangs() -> None:
    rig = Rig()
    await rig.prices.get(["bitcoin"], [])
    rig.clock.advance(200)
    hang = asyncio.Event()

    async def never(request: UpstreamRequest) -> UpstreamReply:
        await hang.wait()
        raise Unavailable("at last")

    rig.upstream.fetch = never  # type: ignore[method-assign]  # a fake that hangs
    started = asyncio.get_running_loop().time()
    found = await rig.prices.get(["bitcoin"], [])
    assert asyncio.get_running_loop().time() - started < 3
    assert found.prices[0].provenance.stale
    hang.set()


async def test_the_ready_json_has_every_field_and_null_for_absent() -> None:
    rig = Rig()
    document = orjson.loads(prices_json(await rig.prices.get(["bitcoin", "nope"], ["eur"])))
    assert document["prices"][0] == {
        "id": "bitcoin",
        "vs_currency": "eur",
        "price": 100_000.0,
        "market_cap": None,
        "volume_24h": None,
        "change_24h_percent": None,
        "last_updated_at": "2025-09-01T12:59:54Z",
        "as_of": "2025-09-01T12:59:54Z",
        "age_seconds": 6.0,
        "source": "live",
        "stale": False,
        "reason": None,
    }
    assert document["errors"][0]["id"] == "nope"
    assert iso(1.5) == "1970-01-01T00:00:01.500Z"


class OneListed:
    """CoinGecko's row of `listed` is empty; no row is incomplete."""

    def is_priceless(self, coin: str) -> bool:
        return coin == "listed"

    def incomplete_row(self, pair: Pair) -> None:
        del pair


async def test_simple_price_comes_out_in_coingeckos_shape() -> None:
    rig = Rig()
    query = {"ids": "bitcoin,pepe,nope", "vs_currencies": "usd", "include_last_updated_at": "true"}
    simple = SimplePriceService(
        rig.prices,
        fresh_seconds=30.0,
        directory=rig.directory,
        unusable=OneListed(),
    )
    answer = await simple.get(query)
    document = orjson.loads(answer.value)
    assert document == {
        "bitcoin": {"usd": 100_000.0, "last_updated_at": int(NOW - 6)},
        "pepe": {"usd": 1.234567e-9, "last_updated_at": int(NOW - 6)},
    }
    full = await simple.get({"ids": "pepe", "vs_currencies": "usd", "precision": "full"})
    assert orjson.loads(full.value) == {"pepe": {"usd": 1.234567e-9}}
    none = await simple.get({"ids": "nope", "vs_currencies": "usd"})
    assert none.value == b"{}"
    listed = await simple.get({"ids": "nope,listed", "vs_currencies": "usd"})
    assert orjson.loads(listed.value) == {"listed": {}}, "in the list, but without a price"
    with pytest.raises(InvalidInput):
        await simple.get({"ids": "pepe", "vs_currencies": "usd", "precision": "19"})
    assert rig.upstream.calls == 2, "the second time all is cached, the unknown one too"


async def test_the_worst_provenance_speaks_for_all() -> None:
    rig = Rig()
    await rig.prices.get(["bitcoin"], [])
    rig.clock.advance(25)
    mixed = await rig.prices.get(["bitcoin", "ethereum"], [])
    where = worst(item.provenance for item in mixed.prices)
    assert where is not None
    assert where.age_seconds == 31.0
    assert worst([]) is None


async def test_hot_pairs_are_those_requested_again() -> None:
    rig = Rig()
    for _ in range(3):
        await rig.prices.get(["bitcoin"], [])
    await rig.prices.get(["ethereum"], [])
    assert rig.hot.take(10) == [("bitcoin", "usd")]
    assert rig.hot.take(10) == []


@pytest.mark.parametrize(("per_month", "seconds"), [(0, 27.0), (10_000, 535.68), (500_000_000, 27.0)])
def test_refreshes_keep_to_the_months_budget(per_month: int, seconds: float) -> None:
    assert refresh_interval(30.0, per_month) == pytest.approx(seconds)


async def test_a_limit_is_reported_with_a_wait_of_a_minute_at_most() -> None:
    rig = Rig()
    rig.upstream.error = Exhausted("limit", retry_after_seconds=86_400)
    found = await rig.prices.get(["bitcoin"], [])
    assert (found.failures[0].kind, found.failures[0].retry_after_seconds) == ("exhausted", 60.0)


async def test_a_price_older_than_the_known_one_is_put_aside() -> None:
    rig = Rig()
    await rig.prices.get(["bitcoin"], [])
    rig.clock.advance(200)
    original = rig.upstream._row
    rig.upstream._row = lambda coin, codes: (  # type: ignore[method-assign]  # a fake with old prices
        original(coin, codes) | {"last_updated_at": NOW - 86_400}
    )
    found = await rig.prices.get(["bitcoin"], [])
    assert found.prices[0].provenance.as_of == NOW - TRADED_BEFORE_SECONDS
    assert "older" in found.prices[0].provenance.reason


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ({"ids": "dead", "vs_currencies": "usd"}, {"dead": {"usd": 0}}),
        ({"ids": "dead,bitcoin", "vs_currencies": "usd"}, {"dead": {"usd": 0}, "bitcoin": {"usd": 100_000}}),
        ({"ids": "dead", "vs_currencies": "usd", "precision": "full"}, {"dead": {"usd": 0}}),
        (
            {"ids": "dead", "vs_currencies": "usd", "include_market_cap": "true"},
            {"dead": {"usd": 0, "usd_market_cap": 5.0}},
        ),
    ],
)
async def test_a_price_of_zero_is_passed_on(query: dict[str, str], document: dict[str, object]) -> None:
    rig = Rig()
    rig.upstream.prices["dead"] = 0.0
    simple = SimplePriceService(
        rig.prices,
        fresh_seconds=30.0,
        directory=rig.directory,
        unusable=rig.source,
    )
    for _ in range(2):
        assert orjson.loads((await simple.get(query)).value) == document
    assert rig.upstream.calls == 1
    found = await rig.prices.get(["dead"], [])
    assert not found.prices, "no price to compute with"
    rig.upstream.prices["dead"] = 3.0
    rig.clock.advance(61)
    assert orjson.loads((await simple.get(query)).value)["dead"]["usd"] == 3.0
