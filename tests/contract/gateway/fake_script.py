"""What the fakes of the three services share: their script, and where their figures stand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1 import common_pb2 as common
from coincast_chassis.errors import CoincastError

AS_OF = 1_700_000_000
COINS = {"bitcoin": 37_000.0, "ethereum": 2_000.0, "tether": 1.0}
STANDING = {
    "as_of": "2023-11-14T22:13:20Z",
    "age_seconds": 1.5,
    "source": "sandbox",
    "stale": False,
    "reason": None,
}


def provenance() -> common.Provenance:
    return common.Provenance(
        as_of=Timestamp(seconds=AS_OF), age_seconds=1.5, source=common.SOURCE_SANDBOX, stale=False, reason=""
    )


def item_error(coin_id: str) -> dict[str, Any]:
    return {
        "id": coin_id,
        "kind": "not_found",
        "message": f"No coin has the id {coin_id}.",
        "field": "ids",
        "suggestions": ["bitcoin"],
        "retry_after_seconds": None,
    }


Asked = TypeVar("Asked")


@dataclass
class Script:
    """Behaviour of the fakes: the error and delay of each service, and the requests that it got."""

    error: CoincastError | None = None
    delay_seconds: float = 0.0
    # Set where streams stay open after their events.
    hold_streams: bool = False
    calls: list[Any] = field(default_factory=list)

    def requested(self, kind: type[Asked]) -> Asked:
        """The last request of a kind: the gateway asks for other things in the background at any time."""
        return [call for call in self.calls if isinstance(call, kind)][-1]

    async def play(self, request: Any) -> None:
        self.calls.append(request)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.error is not None:
            raise self.error
