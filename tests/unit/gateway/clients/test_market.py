"""Questions that travel together: each gets its own answer, and none waits for a slow one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import NotFound, Unavailable
from coincast_chassis.item_errors import to_item_error
from coincast_gateway.clients.market import MAX_BATCH, MAX_ROWS, WAIT_SECONDS, PriceRequestBatcher

SECONDS = 5.0


def requested(coin: str, *, coins: int = 1) -> pb.GetPricesRequest:
    return pb.GetPricesRequest(ids=[coin] * coins, vs_currencies=["usd"], encode_json=True)


class Service:
    """A fake market-data that answers with the requested id when released."""

    def __init__(self) -> None:
        self.alone: list[str] = []
        self.bundles: list[list[str]] = []
        self.held: dict[str, asyncio.Event] = {}
        self.refused: set[str] = set()
        self.broken: Exception | None = None
        self.received = asyncio.Event()

    def hold(self, coin: str) -> asyncio.Event:
        self.held[coin] = asyncio.Event()
        return self.held[coin]

    async def one(self, request: pb.GetPricesRequest, *, timeout: float) -> pb.GetPricesResponse:  # noqa: ASYNC109 - gRPC's name
        self.alone.append(request.ids[0])
        self.received.set()
        return await self._answer(request.ids[0])

    async def _answer(self, coin: str) -> pb.GetPricesResponse:
        if coin in self.held:
            await self.held[coin].wait()
        await asyncio.sleep(0)
        if coin in self.refused:
            raise NotFound(f"No {coin}.", field="ids", suggestions=["bitcoin"])
        return pb.GetPricesResponse(json=coin.encode())

    async def many(
        self,
        request: pb.GetPricesForManyRequest,
        *,
        timeout: float,  # noqa: ASYNC109 - as above
    ) -> AsyncGenerator[pb.GetPricesForManyResponse]:
        coins = [question.request.ids[0] for question in request.questions]
        self.bundles.append(coins)
        self.received.set()
        tasks = {asyncio.create_task(self._one_of_many(i, coin)) for i, coin in enumerate(coins)}
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self.broken is not None:
                raise self.broken
            yield pb.GetPricesForManyResponse(answers=[task.result() for task in done])

    async def _one_of_many(self, number: int, coin: str) -> pb.PricesAnswer:
        try:
            return pb.PricesAnswer(question=number, response=await self._answer(coin))
        except NotFound as error:
            return pb.PricesAnswer(question=number, error=to_item_error(error))


def bundled(service: Service) -> PriceRequestBatcher:
    return PriceRequestBatcher(service.one, service.many, seconds=SECONDS)


async def ask(together: PriceRequestBatcher, coin: str, **more: Any) -> bytes:
    return (await together(requested(coin, **more), timeout=SECONDS)).json


async def test_a_lone_question_leaves_at_once_by_itself() -> None:
    service = Service()
    assert await ask(bundled(service), "bitcoin") == b"bitcoin"
    assert (service.alone, service.bundles) == (["bitcoin"], [])


async def test_questions_of_one_moment_share_a_call_and_a_refused_one_fails_alone() -> None:
    service = Service()
    service.refused = {"nocoin"}
    found = await asyncio.gather(
        *(ask(bundle, coin) for bundle in [bundled(service)] for coin in ("bitcoin", "nocoin", "ethereum")),
        return_exceptions=True,
    )
    assert service.bundles == [["bitcoin", "nocoin", "ethereum"]]
    assert (found[0], found[2]) == (b"bitcoin", b"ethereum")
    assert isinstance(found[1], NotFound)
    assert (found[1].field, found[1].suggestions) == ("ids", ("bitcoin",))


async def test_a_slow_question_holds_up_none_of_its_company_and_nobody_who_comes_later() -> None:
    service = Service()
    bundle = bundled(service)
    free = service.hold("cold")
    cold, warm = asyncio.create_task(ask(bundle, "cold")), asyncio.create_task(ask(bundle, "warm"))
    assert await warm == b"warm"
    assert await ask(bundle, "later") == b"later"
    assert not cold.done()
    free.set()
    assert await cold == b"cold"


async def test_a_call_without_an_answer_makes_others_wait_for_a_moment_only() -> None:
    service = Service()
    bundle = bundled(service)
    free = service.hold("cold")
    cold = asyncio.create_task(ask(bundle, "cold"))
    await service.received.wait()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await ask(bundle, "warm") == b"warm"
    assert loop.time() - began >= WAIT_SECONDS / 2
    assert not cold.done()
    free.set()
    await cold


async def test_large_and_hasty_questions_go_alone() -> None:
    service = Service()
    bundle = bundled(service)
    large = requested("large", coins=MAX_ROWS + 1)
    await asyncio.gather(
        ask(bundle, "bitcoin"), ask(bundle, "ethereum"),
        bundle(large, timeout=SECONDS), bundle(requested("hasty"), timeout=SECONDS / 2),
    )  # fmt: skip
    assert sorted(service.alone) == ["hasty", "large"]
    assert service.bundles == [["bitcoin", "ethereum"]]


async def test_a_call_that_fails_fails_for_all_in_it_and_for_nobody_else() -> None:
    service = Service()
    bundle = bundled(service)
    service.broken = Unavailable("gone")
    found = await asyncio.gather(ask(bundle, "a"), ask(bundle, "b"), return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable, Unavailable]
    service.broken = None
    assert [*await asyncio.gather(ask(bundle, "a"), ask(bundle, "b"))] == [b"a", b"b"]


async def test_closing_ends_what_is_under_way() -> None:
    service = Service()
    bundle = bundled(service)
    service.hold("a")
    service.hold("b")
    waiting = asyncio.gather(ask(bundle, "a"), ask(bundle, "b"), return_exceptions=True)
    await service.received.wait()
    await bundle.aclose()
    assert [type(each) for each in await waiting] == [Unavailable, Unavailable]


CacheRequest = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["good", "refused", "leaves"])), min_size=1, max_size=90
)


@settings(max_examples=60, deadline=None)
@given(CacheRequest)
def test_whoever_asks_whenever_gets_their_own_answer(plan: list[tuple[int, str]]) -> None:
    async def run() -> None:
        service = Service()
        bundle = bundled(service)
        tasks = []
        for number, (pause, fate) in enumerate(plan):
            coin = f"{fate}-{number}"
            if fate == "refused":
                service.refused.add(coin)
            task = asyncio.create_task(ask(bundle, coin))
            tasks.append((coin, fate, task))
            for _ in range(pause):
                await asyncio.sleep(0)
            if fate == "leaves":
                task.cancel()
        await asyncio.gather(*(task for *_, task in tasks), return_exceptions=True)
        for coin, fate, task in tasks:
            if task.cancelled():
                assert fate == "leaves"
            elif fate == "refused":
                with pytest.raises(NotFound, match=f"No {coin}"):
                    task.result()
            else:
                assert task.result() == coin.encode()
        calls = len(service.alone) + len(service.bundles)
        questions = len(service.alone) + sum(map(len, service.bundles))
        assert calls <= questions <= len(plan)
        assert max(map(len, service.bundles), default=0) <= MAX_BATCH
        await bundle.aclose()

    asyncio.run(run())
