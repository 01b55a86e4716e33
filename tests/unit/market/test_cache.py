"""The cache: windows, early refresh, one fetch for a cold key, garbage, canonical keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import InvalidInput, NotFound, Unavailable
from coincast_market_data.cache.freshness import Freshness, FreshnessPolicy, classify
from coincast_market_data.cache.read_through import FetchResult, ReadThrough
from coincast_market_data.cache.two_level import (
    CacheEntry,
    CacheKind,
    CacheStats,
    KeyLeases,
    TwoLevelCache,
    pack,
    unpack,
)
from coincast_market_data.domain import Quote, Source
from coincast_market_data.identifiers import canonical_currencies, document_key, split_ids
from coincast_market_data.passthrough.routes import canonical_query, find_route
from coincast_market_data.ports import Claim, Priority
from coincast_market_data.prices.fetcher import quote_kind

WINDOWS = FreshnessPolicy(fresh=30, revalidate=120, if_error=3600)
KIND = CacheKind("text", WINDOWS, str.encode, bytes.decode)


class FakeStore:
    """Redis as a dict."""

    up = True

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}
        self.leased: set[str] = set()
        self.released: list[str] = []
        self.reads = 0

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        self.reads += 1
        return {key: self.items[key] for key in keys if key in self.items}

    async def claim(self, keys: Sequence[str]) -> Claim:
        """Whatever another has leased is fetched elsewhere."""
        mine = tuple(key for key in keys if key not in self.leased)
        return Claim(mine, frozenset(keys) & self.leased, {k: self.items[k] for k in keys if k in self.items})

    async def look(self, keys: Sequence[str]) -> Claim:
        return await self.claim(keys)

    def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        self.items |= items

    def remove(self, key: str) -> None:
        self.items.pop(key, None)

    def release(self, keys: Iterable[str]) -> None:
        self.released += list(keys)


class Origin:
    """An upstream for one document."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.calls = 0
        self.error: Exception | None = None
        self.seconds = 0.0

    async def fetch(self, priority: Priority) -> FetchResult[str]:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        return FetchResult(f"v{self.calls}", self.clock.now(), 0.01)


def rig(
    store: FakeStore | None = None, rand: float = 0.5
) -> tuple[ReadThrough[str], Origin, ManualClock, FakeStore]:
    clock, store = ManualClock(), store or FakeStore()
    cache = TwoLevelCache(KIND, store, clock, CacheStats(), max_entries=100)
    return (
        ReadThrough(cache, clock=clock, data_clock=clock, sandbox=False, rand=lambda: rand),
        Origin(clock),
        clock,
        store,
    )


@pytest.mark.parametrize(
    ("age", "freshness"),
    [
        (0, Freshness.FRESH),
        (29, Freshness.FRESH),
        (30, Freshness.STALE_REFRESH),
        (119, Freshness.STALE_REFRESH),
        (120, Freshness.ONLY_IF_ERROR),
        (3600, Freshness.GONE),
        (-3600, Freshness.STALE_REFRESH),
    ],
)
def test_windows(age: float, freshness: Freshness) -> None:
    assert classify(age, WINDOWS, fetch_seconds=0.1, rand=1.0) is freshness


@given(st.floats(0, 29.99), st.floats(0, 10), st.floats(1e-9, 1))
def test_early_refresh_only_comes_near_the_end(age: float, seconds: float, rand: float) -> None:
    freshness = classify(age, WINDOWS, fetch_seconds=seconds, rand=rand)
    assert freshness in (Freshness.FRESH, Freshness.FRESH_REFRESH)
    if freshness is Freshness.FRESH:
        assert classify(age, WINDOWS, fetch_seconds=seconds, rand=1.0) is Freshness.FRESH


async def test_one_fetch_for_a_cold_key_however_many_ask() -> None:
    reader, origin, _, _ = rig()
    origin.seconds = 0.02
    answers = await asyncio.gather(*(reader.get("k", origin.fetch) for _ in range(500)))
    assert origin.calls == 1
    assert {answer.value for answer in answers} == {"v1"}
    assert answers[0].provenance.source is Source.LIVE


async def test_fresh_then_stale_while_refetched_then_fresh_again() -> None:
    reader, origin, clock, _ = rig()
    await reader.get("k", origin.fetch)
    clock.advance(10)
    fresh = await reader.get("k", origin.fetch)
    assert (fresh.value, fresh.provenance.source, fresh.provenance.stale) == ("v1", Source.FRESH, False)
    assert fresh.provenance.age_seconds == pytest.approx(10)
    clock.advance(50)
    stale = await reader.get("k", origin.fetch)
    assert (stale.value, stale.provenance.source, stale.provenance.stale) == ("v1", Source.STALE, True)
    assert stale.provenance.reason
    await asyncio.sleep(0.01)
    assert (await reader.get("k", origin.fetch)).value == "v2"
    await reader.aclose()


async def test_stale_if_error_and_then_the_error() -> None:
    reader, origin, clock, _ = rig()
    await reader.get("k", origin.fetch)
    origin.error = Unavailable("down")
    clock.advance(1000)
    stale = await reader.get("k", origin.fetch)
    assert (stale.value, stale.provenance.stale, stale.provenance.reason) == ("v1", True, "down")
    with pytest.raises(Unavailable, match="more than"):
        await reader.get("k", origin.fetch, max_age_seconds=5)
    clock.advance(3600)
    with pytest.raises(Unavailable, match="down"):
        await reader.get("k", origin.fetch)


async def test_what_is_gone_upstream_is_not_served_from_before() -> None:
    reader, origin, clock, _ = rig()
    await reader.get("k", origin.fetch)
    origin.error = NotFound("delisted")
    clock.advance(1000)
    with pytest.raises(NotFound):
        await reader.get("k", origin.fetch)


async def test_an_early_refresh_serves_the_fresh_value_meanwhile() -> None:
    reader, origin, clock, _ = rig(rand=1 - 1e-12)
    await reader.get("k", origin.fetch)
    clock.advance(29.9)
    assert (await reader.get("k", origin.fetch)).provenance.stale is False
    await asyncio.sleep(0.01)
    assert origin.calls == 2
    await reader.aclose()


async def test_another_replica_finds_it_in_the_shared_layer() -> None:
    store = FakeStore()
    first, origin, _, _ = rig(store)
    await first.get("k", origin.fetch)
    second, origin2, _, _ = rig(store)
    assert (await second.get("k", origin2.fetch)).value == "v1"
    assert origin2.calls == 0


@given(st.binary(max_size=200))
def test_garbage_from_the_store_reads_as_nothing(data: bytes) -> None:
    async def ask() -> None:
        store = FakeStore()
        store.items["text:k"] = data
        reader, origin, _, _ = rig(store)
        assert (await reader.get("k", origin.fetch)).value == "v1"

    asyncio.run(ask())


@given(st.integers(0, 7), st.integers(0, 10_000))
def test_one_flipped_bit_is_noticed(bit: int, place: int) -> None:
    kind = quote_kind(30, 3600)
    entry: CacheEntry[Quote | None] = CacheEntry(Quote("bitcoin", "usd", 65_000.5), 1.0, 2.0, 0.1)
    data = bytearray(pack(entry, kind, "k"))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(ValueError, match=r"."):
        unpack(bytes(data), kind, "k")


def test_memory_is_bounded() -> None:
    async def fill() -> int:
        cache = TwoLevelCache(KIND, FakeStore(), ManualClock(), CacheStats(), max_entries=100)
        for n in range(1000):
            cache.write({f"k{n}": CacheEntry("x", 0.0, 0.0)})
        return len(cache)

    assert asyncio.run(fill()) == 100


@given(st.lists(st.sampled_from(["bitcoin", "Bitcoin ", "ETHEREUM", "solana"]), min_size=1), st.randoms())
def test_order_case_and_duplicates_make_no_difference(ids: list[str], random: Random) -> None:
    shuffled = [*ids, *ids]
    random.shuffle(shuffled)
    assert set(split_ids(ids)[0]) == set(split_ids(shuffled)[0])
    route, _ = find_route("coins/markets")
    one, other = (
        canonical_query(route, {"ids": ",".join(some), "vs_currency": "usd"}) for some in (ids, shuffled)
    )
    assert document_key("coins/markets", one) == document_key("coins/markets", other)


PARTS = st.dictionaries(st.text("ab=|:,1", max_size=4), st.text("ab=|:,1", max_size=4), max_size=3)


@given(PARTS, PARTS)
def test_two_questions_never_share_a_key(one: dict[str, str], other: dict[str, str]) -> None:
    same = document_key("p", one.items()) == document_key("p", other.items())
    assert same == (one == other)


@pytest.mark.parametrize(
    "text", ["../x", "a/b", "a\x00", "a\r\nb", "\u202ex", "", "a?b", "a#b", "a..b", "x" * 200, "é"]
)
def test_what_cannot_be_an_id_is_said(text: str) -> None:
    good, bad = split_ids(["bitcoin", text])
    assert good == ["bitcoin"]
    assert len(bad) == 1


@pytest.mark.parametrize(
    "text", ["-10", "1move token", "boringdao-[old]", "_", "usd-coin", "0.5x.long", "[fake]-coin"]
)
def test_ids_of_coingeckos_list_are_accepted(text: str) -> None:
    assert split_ids([text]) == ([text], [])


def test_too_many_ids_or_currencies_are_refused() -> None:
    with pytest.raises(InvalidInput, match="250"):
        split_ids([f"c{n}" for n in range(251)])
    with pytest.raises(InvalidInput, match="20"):
        canonical_currencies([f"cu{n}" for n in range(21)])
    assert canonical_currencies([]) == ["usd"]


@pytest.mark.parametrize(
    "path", ["../key", "coins/../key", "keys", "coins/a/b/c", "coins//market_chart", "", "coins/a%2fb"]
)
def test_only_mirrored_paths_pass(path: str) -> None:
    with pytest.raises((NotFound, InvalidInput)):
        find_route(path)


def test_keys_in_the_query_never_go_further() -> None:
    route, _ = find_route("coins/bitcoin/ohlc")
    query = canonical_query(route, {"x_cg_demo_api_key": "secret", "days": "1", "_": "7", "Days": "2"})
    assert query == (("days", "1"),)
    with pytest.raises(InvalidInput):
        canonical_query(route, {"days": "1\r\nX: y"})


def test_documents_are_bounded_by_their_bytes() -> None:
    async def fill() -> tuple[int, int]:
        kind = CacheKind("doc", WINDOWS, bytes, bytes)
        cache = TwoLevelCache(
            kind, FakeStore(), ManualClock(), CacheStats(), max_entries=100, max_bytes=10_000
        )
        for n in range(50):
            cache.write({f"k{n % 20}": CacheEntry(b"x" * 1000 * (1 + n % 3), 0.0, 0.0)})
        held = [entry.value for entry in (await cache.read([f"k{n}" for n in range(20)])).values()]
        return len(cache), sum(map(len, held))

    entries, _ = asyncio.run(fill())
    assert 3 <= entries <= 10


async def test_what_another_replica_is_fetching_is_waited_for() -> None:
    store = FakeStore()
    reader, origin, clock, _ = rig(store)
    store.leased.add("text:k")
    requested = asyncio.create_task(reader.get("k", origin.fetch))
    await asyncio.sleep(0.05)
    assert not requested.done()
    store.items["text:k"] = pack(CacheEntry("theirs", clock.now(), clock.now(), 0.1), KIND, "k")
    store.leased.clear()
    answer = await requested
    assert (answer.value, answer.provenance.source, origin.calls) == ("theirs", Source.LIVE, 0)


async def test_when_the_other_replica_gives_up_this_one_fetches() -> None:
    store = FakeStore()
    reader, origin, _, _ = rig(store)
    store.leased.add("text:k")
    requested = asyncio.create_task(reader.get("k", origin.fetch))
    await asyncio.sleep(0.05)
    store.leased.clear()
    assert (await requested).value == "v1"


async def test_nobody_waits_for_another_replica_without_end() -> None:
    store = FakeStore()
    cache = TwoLevelCache(KIND, store, ManualClock(), CacheStats(), max_entries=100)
    store.leased.add("text:k")
    sharing = KeyLeases(cache, longest_seconds=0.2)
    assert await sharing.obtain("k") is None
    assert await sharing.wait(["k"], cache.versions(["k"])) == {}


async def test_a_failed_fetch_gives_its_lease_back() -> None:
    reader, origin, _, store = rig()
    origin.error = Unavailable("down")
    with pytest.raises(Unavailable):
        await reader.get("k", origin.fetch)
    assert "text:k" in store.released


async def test_a_requested_age_is_looked_up_in_the_shared_layer_too() -> None:
    """Fresh here, newer there: another replica's value is new enough, and costs no call."""
    store = FakeStore()
    reader, origin, clock, _ = rig(store)
    await reader.get("k", origin.fetch)
    clock.advance(20)
    store.items["text:k"] = pack(CacheEntry("newer", clock.now(), clock.now(), 0.1), KIND, "k")
    clock.advance(2)
    assert (await reader.get("k", origin.fetch)).value == "v1"
    answer = await reader.get("k", origin.fetch, max_age_seconds=5)
    assert (answer.value, origin.calls) == ("newer", 1)


async def test_what_arrives_while_the_shared_layer_is_read_is_not_fetched_again() -> None:
    """A slow look below, and a fetch that ends meanwhile: the caller has what the fetch brought."""

    class SlowStore(FakeStore):
        async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
            self.reads += 1
            late = self.reads == 2
            await asyncio.sleep(0.05 if late else 0)
            return {}

    reader, origin, _, _ = rig(SlowStore())
    first = asyncio.create_task(reader.get("k", origin.fetch))
    second = asyncio.create_task(reader.get("k", origin.fetch))
    assert (await first).value == (await second).value == "v1"
    assert origin.calls == 1


async def test_what_another_caller_read_while_this_one_waited_ends_the_wait() -> None:
    """The value is in the process already when the wait looks below, and still it is what was waited for."""
    store = FakeStore()
    clock = ManualClock()
    cache = TwoLevelCache(KIND, store, clock, CacheStats(), max_entries=100)
    store.leased.add("text:k")
    waiting = asyncio.create_task(KeyLeases(cache, longest_seconds=20).obtain("k"))
    await asyncio.sleep(0.02)
    store.items["text:k"] = pack(CacheEntry("theirs", clock.now(), clock.now(), 0.1), KIND, "k")
    assert (await cache.read(["k"]))["k"].value == "theirs"
    store.leased.clear()
    found = await waiting
    assert found is not None
    assert found.value == "theirs"
