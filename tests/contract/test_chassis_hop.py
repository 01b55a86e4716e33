"""One hop over real gRPC: context, deadline and errors cross it whole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest

from coincast.market.v1 import market_pb2, market_pb2_grpc
from coincast_chassis import context, errors
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.grpc.error_mapping import from_rpc_error
from coincast_chassis.run import serve
from coincast_chassis.settings import ServiceSettings

NAME = "coincast.market.v1.MarketDataService"


class Market(market_pb2_grpc.MarketDataServiceServicer):
    """Answers each call as the test tells it."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0
        self.seen: dict[str, object] = {}
        self.sleep_seconds = 0.0

    async def GetStatus(self, request, servicer_context):
        self.calls += 1
        self.seen = {
            "request_id": context.request_id(),
            "trace_id": context.trace_id(),
            "remaining": context.remaining_seconds(),
        }
        await asyncio.sleep(self.sleep_seconds)
        if self.error is not None:
            raise self.error
        return market_pb2.GetStatusResponse()


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
async def stub(market: Market) -> AsyncIterator[market_pb2_grpc.MarketDataServiceStub]:
    async def build(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        add = market_pb2_grpc.add_MarketDataServiceServicer_to_server
        return ServiceApp([Servicer(add, market, NAME)])

    settings = ServiceSettings(not_serving_seconds=0.0)
    async with (
        serve("market-data", settings, build) as address,
        open_channel(address, service=NAME) as channel,
    ):
        yield market_pb2_grpc.MarketDataServiceStub(channel)


async def test_request_id_trace_and_deadline_cross_the_hop(market, stub):
    with context.bind(request_id="abc", trace_id="1" * 32, deadline_seconds=3.0):
        await stub.GetStatus(market_pb2.GetStatusRequest())
    assert market.seen["request_id"] == "abc"
    assert market.seen["trace_id"] == "1" * 32
    assert 2.0 < market.seen["remaining"] <= 3.0


async def test_every_call_has_a_deadline(market, stub):
    await stub.GetStatus(market_pb2.GetStatusRequest())
    assert 5.0 < market.seen["remaining"] <= 10.0


@pytest.mark.parametrize("kind", sorted(errors.KINDS))
async def test_each_error_comes_back_whole(market, stub, kind):
    market.error = errors.KINDS[kind](
        "Say it ünlike.", field="ids", retry_after_seconds=2.5, suggestions=["bitcoin"]
    )
    with pytest.raises(errors.KINDS[kind]) as caught:
        await stub.GetStatus(market_pb2.GetStatusRequest())
    error = caught.value
    assert type(error) is errors.KINDS[kind]
    assert (error.message, error.field, error.retry_after_seconds) == ("Say it ünlike.", "ids", 2.5)
    assert error.suggestions == ("bitcoin",)


async def test_an_unexpected_error_reveals_no_details(market, stub):
    market.error = ValueError("the password is hunter2")
    with pytest.raises(errors.CoincastError) as caught:
        await stub.GetStatus(market_pb2.GetStatusRequest())
    assert type(caught.value) is errors.CoincastError
    assert "hunter2" not in str(caught.value)


async def test_a_domain_error_is_not_sent_again_by_the_retry_policy(market, stub):
    market.error = errors.Unavailable("upstream is down")
    with pytest.raises(errors.Unavailable):
        await stub.GetStatus(market_pb2.GetStatusRequest())
    assert market.calls == 1


async def test_a_passed_deadline_is_a_timeout(market, stub):
    market.sleep_seconds = 5.0
    with context.bind(deadline_seconds=0.1), pytest.raises(errors.Timeout):
        await stub.GetStatus(market_pb2.GetStatusRequest())


async def test_a_dead_server_is_unavailable_with_a_retry_after():
    async with open_channel("127.0.0.1:1", service=NAME) as channel:
        stub = market_pb2_grpc.MarketDataServiceStub(channel)
        with pytest.raises(errors.Unavailable) as caught:
            await stub.GetStatus(market_pb2.GetStatusRequest(), timeout=2.0)
    assert caught.value.retry_after_seconds == 1.0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        # gRPC's server drops calls while too many wait for it; that is no fault of the gateway (500).
        (grpc.StatusCode.CANCELLED, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.Timeout),
        (grpc.StatusCode.UNKNOWN, errors.CoincastError),
    ],
)
def test_a_status_of_grpc_itself_becomes_an_error(
    code: grpc.StatusCode, kind: type[errors.CoincastError]
) -> None:
    bare = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="bare")
    error = from_rpc_error(bare, service="coincast.market.v1.MarketDataService")
    assert type(error) is kind
    assert (error.retry_after_seconds == 1.0) == (kind is errors.Unavailable)
