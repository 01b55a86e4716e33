"""Batching: each caller gets its own prices, a bad id fails one caller, a cancel affects no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_chassis.errors import CoincastError, InvalidInput, NotFound, Unavailable
from coincast_market_data.cache.two_level import CacheEntry
from coincast_market_data.coingecko.error_mapping import BeyondPlanReach
from coincast_market_data.domain import Quote
from coincast_market_data.identifiers import Pair
from coincast_market_data.ports import Priority
from coincast_market_data.prices.batcher import PriceBatcher
from coincast_market_data.prices.fetcher import FIXED_BYTES, Chunk, Outcome, plan_chunks

IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True)
CURRENCIES = st.sampled_from(["usd", "eur", "btc", "jpy", "gbp"])
PAIRS = st.sets(st.tuples(IDS, CURRENCIES), max_size=60)


class FakeSource:
    """Answers every pair with a price of its own; ids that start with `bad` make the whole call fail."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.calls: list[tuple[Chunk, Priority]] = []
        self.seconds = seconds
        self.error: Exception | None = None

    async def fetch(self, chunk: Chunk, priority: Priority) -> Mapping[Pair, Outcome]:
        self.calls.append((chunk, priority))
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        if any(coin.startswith("bad") for coin in chunk.ids):
            raise InvalidInput("refused")
        return {pair: entry(pair) for pair in chunk.pairs()}


def entry(pair: Pair) -> CacheEntry[Quote | None]:
    return CacheEntry(Quote(*pair, price=float(len(pair[0]))), 0.0, 0.0)


def batcher_for(source: FakeSource, window: float = 0.0, max_ids: int = 250) -> PriceBatcher:
    return PriceBatcher(source.fetch, window_seconds=window, max_ids=max_ids, max_query_bytes=2000)


@pytest.mark.slow
@given(PAIRS, st.integers(1, 250), st.integers(FIXED_BYTES + 80, 4000))
def test_chunks_cover_every_pair_within_both_bounds(pairs: set[Pair], max_ids: int, max_bytes: int) -> None:
    chunks = plan_chunks(pairs, max_ids=max_ids, max_query_bytes=max_bytes)
    covered = [pair for chunk in chunks for pair in chunk.pairs()]
    assert set(covered) >= pairs
    assert len(covered) == len(set(covered))
    ids = [coin for chunk in chunks for coin in chunk.ids]
    assert len(ids) == len(set(ids)), "an id is requested once"
    for chunk in chunks:
        size = sum(len(key) + len(value.replace(",", "%2C")) + 2 for key, value in chunk.query())
        assert len(chunk.ids) <= max_ids
        assert size <= max_bytes + 8 or len(chunk.ids) == 1


@pytest.mark.slow
@given(PAIRS)
def test_a_plan_does_not_depend_on_order(pairs: set[Pair]) -> None:
    bounds = {"max_ids": 7, "max_query_bytes": 600}
    assert plan_chunks(sorted(pairs), **bounds) == plan_chunks(sorted(pairs, reverse=True), **bounds)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.tuples(IDS, CURRENCIES), min_size=1, max_size=8), min_size=1, max_size=12))
def test_each_caller_gets_exactly_its_own(questions: list[set[Pair]]) -> None:
    async def ask() -> None:
        source = FakeSource()
        batcher = batcher_for(source)
        answers = await asyncio.gather(*(batcher.fetch(question) for question in questions))
        for question, answer in zip(questions, answers, strict=True):
            assert set(answer) == question
            for pair, outcome in answer.items():
                if pair[0].startswith("bad"):
                    assert isinstance(outcome, InvalidInput)
                else:
                    assert isinstance(outcome, CacheEntry)
                    assert outcome.value is not None
                    assert (outcome.value.id, outcome.value.vs_currency) == pair
        await batcher.aclose()

    asyncio.run(ask())


async def test_calls_within_the_window_share_one_upstream_call() -> None:
    source = FakeSource()
    batcher = batcher_for(source, window=0.05)
    await asyncio.gather(*(batcher.fetch([(f"coin-{n % 20}", "usd")]) for n in range(1000)))
    assert len(source.calls) == 1
    assert len(source.calls[0][0].ids) == 20
    assert (batcher.client_calls, batcher.upstream_calls) == (1000, 1)


async def test_a_pair_that_the_reply_left_out_gets_an_error_of_its_own() -> None:
    async def fetch(chunk: Chunk, priority: Priority) -> Mapping[Pair, Outcome]:
        return {pair: entry(pair) for pair in chunk.pairs() if pair[0] == "there"}

    batcher = PriceBatcher(fetch, window_seconds=0.0, max_ids=250, max_query_bytes=2000)
    answer = await batcher.fetch([("there", "usd"), ("gone", "usd"), ("lost", "usd")])
    assert answer["there", "usd"] == entry(("there", "usd"))
    errors = [answer["gone", "usd"], answer["lost", "usd"]]
    assert [str(error) for error in errors] == ["CoinGecko's reply left this out"] * 2
    assert all(isinstance(error, Unavailable) for error in errors)
    assert errors[0] is not errors[1]


async def test_one_bad_id_fails_one_caller() -> None:
    source = FakeSource()
    batcher = batcher_for(source, window=0.01)
    questions = [[(f"coin-{n}", "usd")] for n in range(30)] + [[("bad-one", "usd")]]
    answers = await asyncio.gather(*(batcher.fetch(question) for question in questions))
    failed = [
        pair for answer in answers for pair, outcome in answer.items() if isinstance(outcome, Exception)
    ]
    assert failed == [("bad-one", "usd")]
    assert len(source.calls) < 14, "bisection, not one call an id"


class Refusing:
    """Refuses every call that holds one of the bad pairs' ids, and counts."""

    def __init__(self, bad: set[str], error: CoincastError) -> None:
        self.bad, self.error, self.calls = bad, error, 0

    async def fetch(self, chunk: Chunk, priority: Priority) -> Mapping[Pair, Outcome]:
        self.calls += 1
        if self.bad.intersection(chunk.ids):
            raise self.error
        return {pair: entry(pair) for pair in chunk.pairs()}


async def refused(bad: set[str], error: CoincastError) -> tuple[Refusing, dict[Pair, Outcome]]:
    """250 coins requested in one call, some of them bad."""
    source = Refusing(bad, error)
    batcher = PriceBatcher(source.fetch, window_seconds=0.0, max_ids=250, max_query_bytes=20_000)
    return source, await batcher.fetch([(f"c{n:03}", "usd") for n in range(250)])


@pytest.mark.parametrize("place", [0, 124, 125, 249])
async def test_one_bad_id_of_250_is_found_within_few_calls(place: int) -> None:
    source, answers = await refused({f"c{place:03}"}, NotFound("no such coin"))
    assert {pair[0] for pair, o in answers.items() if not isinstance(o, CacheEntry)} == {f"c{place:03}"}
    assert isinstance(answers[f"c{place:03}", "usd"], NotFound)
    assert source.calls <= 17


async def test_several_bad_ids_cost_no_more_and_most_coins_are_answered() -> None:
    bad = {"c010", "c130", "c240"}
    source, answers = await refused(bad, NotFound("no such coin"))
    good = {pair[0] for pair, outcome in answers.items() if isinstance(outcome, CacheEntry)}
    found = {pair[0] for pair, outcome in answers.items() if isinstance(outcome, NotFound)}
    passing = [outcome for outcome in answers.values() if isinstance(outcome, Unavailable)]
    assert source.calls <= 21
    assert not good & bad
    assert len(good) > 190
    assert found <= bad, "no caller gets an error for a good coin"
    assert len(good) + len(found) + len(passing) == 250
    assert all(error.retry_after_seconds for error in passing)


async def test_a_call_that_is_refused_whatever_it_holds_costs_few() -> None:
    source, answers = await refused({f"c{n:03}" for n in range(250)}, InvalidInput("wrong path"))
    assert source.calls <= 21
    assert all(isinstance(o, InvalidInput | Unavailable) for o in answers.values())
    assert all("wrong path" in o.message for o in answers.values() if isinstance(o, CoincastError))


async def test_what_the_plan_does_not_give_is_not_requested_in_parts() -> None:
    source, answers = await refused({"c007"}, BeyondPlanReach("not in your plan"))
    assert source.calls == 1
    assert all(isinstance(o, BeyondPlanReach) for o in answers.values())


async def test_the_search_for_a_bad_id_stops_when_the_upstream_goes_away() -> None:
    source = Refusing({"c000"}, InvalidInput("refused"))
    requested = source.fetch

    async def fetch(chunk: Chunk, priority: Priority) -> Mapping[Pair, Outcome]:
        if source.calls == 3:
            source.calls += 1
            raise Unavailable("down")
        return await requested(chunk, priority)

    batcher = PriceBatcher(fetch, window_seconds=0.0, max_ids=250, max_query_bytes=20_000)
    answers = await batcher.fetch([(f"c{n:03}", "usd") for n in range(250)])
    assert source.calls == 4
    assert sum(isinstance(outcome, CacheEntry) for outcome in answers.values()) == 125
    assert sum(isinstance(outcome, Unavailable) for outcome in answers.values()) == 125


async def test_a_question_under_way_is_joined_not_repeated() -> None:
    source = FakeSource(seconds=0.05)
    batcher = batcher_for(source)
    first = asyncio.create_task(batcher.fetch([("bitcoin", "usd")]))
    await asyncio.sleep(0.02)
    second = await batcher.fetch([("bitcoin", "usd")])
    assert len(source.calls) == 1
    assert second == await first


async def test_a_caller_that_leaves_ends_nothing_but_its_own_wait() -> None:
    source = FakeSource(seconds=0.05)
    batcher = batcher_for(source)
    callers = [asyncio.create_task(batcher.fetch([("bitcoin", "usd")])) for _ in range(100)]
    await asyncio.sleep(0.01)
    for caller in callers[:-1]:
        caller.cancel()
    answer = await callers[-1]
    assert isinstance(answer["bitcoin", "usd"], CacheEntry)
    assert len(source.calls) == 1


async def test_an_upstream_error_reaches_every_caller_of_the_batch_and_no_one_hangs() -> None:
    source = FakeSource()
    source.error = Unavailable("down")
    batcher = batcher_for(source)
    answers = await asyncio.gather(*(batcher.fetch([(f"c{n}", "usd")]) for n in range(5)))
    assert all(isinstance(o, Unavailable) for answer in answers for o in answer.values())
    source.error = None
    assert isinstance((await batcher.fetch([("c1", "usd")]))["c1", "usd"], CacheEntry), (
        "the next call is a new one"
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_fault_of_our_own_leaves_no_caller_waiting() -> None:
    source = FakeSource()
    source.error = ZeroDivisionError("a bug")
    batcher = batcher_for(source)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    answer = await asyncio.wait_for(batcher.fetch([("a", "usd")]), 1)
    assert isinstance(answer["a", "usd"], Unavailable)


async def test_a_batch_goes_with_its_most_urgent_caller() -> None:
    source = FakeSource()
    batcher = batcher_for(source, window=0.01)
    refresh = asyncio.create_task(batcher.fetch([("a", "usd")], Priority.REFRESH))
    await batcher.fetch([("b", "usd")], Priority.LIVE)
    await refresh
    assert [priority for _, priority in source.calls] == [Priority.LIVE]


async def test_closing_tells_those_who_wait() -> None:
    source = FakeSource(seconds=10)
    batcher = batcher_for(source)
    caller = asyncio.create_task(batcher.fetch([("a", "usd")]))
    await asyncio.sleep(0.01)
    await batcher.aclose()
    assert isinstance((await asyncio.wait_for(caller, 1))["a", "usd"], Unavailable)


def test_not_found_is_isolated_like_a_refusal() -> None:
    chunk = Chunk(("a", "b", "c"), ("eur", "usd"))
    assert [half.ids for half in chunk.halves()] == [("a",), ("b", "c")]
    assert [half.currencies for half in Chunk(("a",), ("eur", "usd")).halves()] == [("eur",), ("usd",)]
    assert Chunk(("a",), ("usd",)).halves() == []
    assert issubclass(NotFound, Exception)
