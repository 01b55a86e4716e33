"""A late answer of a service that is starting is Unavailable with a time to come again, later a Timeout."""

from __future__ import annotations

from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, NotFound, Timeout, Unavailable
from coincast_chassis.resilience.breaker import Breaker
from coincast_gateway.clients.resilient import START_RETRY_SECONDS, ResilientStub

GRACE_SECONDS = 60.0
LATE, LOST = Timeout("Deadline Exceeded"), Unavailable("connection refused")


def answered(error: CoincastError) -> CoincastError:
    error.answered = True
    return error


class Service:
    """A service whose next outcome a test sets, behind a stub."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.outcome: CoincastError | None = None
        self.stub = ResilientStub(
            "market-data",
            breaker=Breaker("market-data", fail_max=100, clock=self.clock),
            deadline_seconds=5.0,
            max_calls=8,
            start_grace_seconds=GRACE_SECONDS,
            clock=self.clock,
        )

    async def _rpc(self, request: Any, **_: Any) -> pb.GetStatusResponse:
        if self.outcome is not None:
            raise self.outcome
        return pb.GetStatusResponse()

    async def _stream(self, request: Any, **_: Any) -> Any:
        yield await self._rpc(request)

    async def call(self, outcome: CoincastError | None = None) -> None:
        self.outcome = outcome
        await self.stub.call(self._rpc, pb.GetStatusRequest())

    async def watch(self, outcome: CoincastError | None = None) -> None:
        self.outcome = outcome
        async for _ in self.stub.watch(self._stream, pb.GetStatusRequest()):
            pass

    async def probe(self) -> None:
        self.outcome = None
        await self.stub.probe(self._rpc, pb.GetStatusRequest(), deadline_seconds=1.0)


async def first_answer(service: Service) -> None:
    await service.call()


async def first_probe(service: Service) -> None:
    await service.probe()


async def first_error(service: Service) -> None:
    with pytest.raises(NotFound):
        await service.call(answered(NotFound("no such coin")))


@pytest.mark.parametrize("kind", ["call", "watch"])
async def test_a_service_that_never_answered_is_starting(kind: str) -> None:
    service = Service()
    service.clock.advance(10 * GRACE_SECONDS)
    with pytest.raises(Unavailable, match="market-data is starting") as caught:
        await getattr(service, kind)(LATE)
    assert caught.value.retry_after_seconds == START_RETRY_SECONDS


@pytest.mark.parametrize("begin", [first_answer, first_probe, first_error])
@pytest.mark.parametrize(
    ("seconds", "error"), [(0.0, Unavailable), (GRACE_SECONDS - 1, Unavailable), (GRACE_SECONDS, Timeout)]
)
async def test_a_late_answer_is_a_timeout_once_the_start_is_over(
    begin: Any, seconds: float, error: type[CoincastError]
) -> None:
    service = Service()
    await begin(service)
    service.clock.advance(seconds)
    with pytest.raises(error):
        await service.call(LATE)


async def test_a_service_that_was_lost_starts_again() -> None:
    service = Service()
    await service.call()
    service.clock.advance(GRACE_SECONDS)
    with pytest.raises(Unavailable, match="does not answer"):
        await service.call(LOST)
    with pytest.raises(Unavailable, match="is starting"):
        await service.call(LATE)
    await service.call()
    service.clock.advance(GRACE_SECONDS)
    with pytest.raises(Timeout):
        await service.call(LATE)


async def test_what_a_service_answers_itself_stays_what_it_is() -> None:
    service = Service()
    with pytest.raises(Timeout, match="the upstream is late"):
        await service.call(answered(Timeout("the upstream is late")))
