"""Data classes with which a service's composition root describes the service to the chassis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio


@dataclass(frozen=True, slots=True)
class Servicer:
    """One gRPC service: the generated `add_X_to_server`, the implementation, and the full service name."""

    add: Callable[[Any, grpc.aio.Server], None]
    implementation: object
    full_name: str


@dataclass(frozen=True, slots=True)
class ServiceApp:
    """The servicers of a process, with its hooks for warm-up (before SERVING) and drain."""

    servicers: Sequence[Servicer]
    warm: Callable[[], Awaitable[None]] | None = None
    # Called when the drain begins. It ends streams that would otherwise last until their clients disconnect.
    drain: Callable[[], None] | None = None
