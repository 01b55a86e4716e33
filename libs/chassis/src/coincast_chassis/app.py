"""What a service's composition root gives to the chassis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio


@dataclass(frozen=True, slots=True)
class Servicer:
    """One gRPC service: the generated `add_X_to_server`, what implements it, and its full name."""

    add: Callable[[Any, grpc.aio.Server], None]
    implementation: object
    full_name: str


@dataclass(frozen=True, slots=True)
class ServiceApp:
    """The servicers of a process, and what must succeed before it reports SERVING."""

    servicers: Sequence[Servicer]
    warm: Callable[[], Awaitable[None]] | None = None
    # Called when the drain begins: ends streams that would otherwise last as long as their readers.
    drain: Callable[[], None] | None = None
