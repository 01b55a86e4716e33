"""A gRPC channel to a service that may not listen yet."""

from __future__ import annotations

import grpc

# A service listens some seconds after its process has started. gRPC's default pauses between attempts to
# connect grow to many seconds, which would delay the first status by as much.
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


def open_status_channel(target: str) -> grpc.aio.Channel:
    """Open a channel to a service on this machine."""
    return grpc.aio.insecure_channel(target, options=OPTIONS)
