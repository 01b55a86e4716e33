"""The status of the market-data service, polled over gRPC: upstream, queue and quota."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from coincast.market.v1 import market_pb2 as pb
from coincast.market.v1 import market_pb2_grpc as rpc
from coincast_stack.status.channel import open_status_channel

STATUS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """State of the upstream, for the terminal output during the start.

    Attributes:
        problem: Sentence with cause and remedy; empty while the upstream answers or was not called yet.
        cause: Name of the cause in the contract; empty without a problem.
        fetching: Description of the current fetch, such as `history of bitcoin`; empty if there is none.
        work: The fetch, the calls left this minute and the time left in words; empty if nothing is fetched.
        tried: Whether the upstream was called yet.
    """

    problem: str
    cause: str
    fetching: str
    work: str
    tried: bool


def upstream_view(status: pb.GetStatusResponse) -> UpstreamView:
    """Convert a status reply to a view."""
    upstream, queue = status.upstream_status, status.queue
    failing = upstream.tried and not upstream.available
    return UpstreamView(
        problem=upstream.sentence if failing else "",
        cause=upstream.cause if failing else "",
        fetching=queue.current,
        work=queue.in_words,
        tried=upstream.tried,
    )


class MarketWatch:
    """Polls the status of the market-data service."""

    def __init__(self, target: str) -> None:
        self._channel = open_status_channel(target)
        self._stub = rpc.MarketDataServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def view(self) -> UpstreamView | None:
        """Return the current view, or None while the service does not answer."""
        try:
            return upstream_view(await self._stub.GetStatus(pb.GetStatusRequest(), timeout=STATUS_SECONDS))
        except grpc.aio.AioRpcError:
            return None
