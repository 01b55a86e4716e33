"""gRPC channels between services: health-checked load balancing, safe retries, deadlines, request context."""

# ruff: noqa: ASYNC109 - `timeout` is gRPC's own name for the limit that it enforces itself

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from opentelemetry.trace import SpanKind

from coincast_chassis import context
from coincast_chassis.errors import CoincastError, Timeout
from coincast_chassis.grpc.error_mapping import from_rpc_error
from coincast_chassis.grpc.server import MAX_MESSAGE_BYTES
from coincast_chassis.grpc.server_interceptor import REQUEST_ID
from coincast_chassis.observability import metrics
from coincast_chassis.observability.tracing import TRACEPARENT, Tracing, current_tracing, outgoing_traceparent

DEFAULT_TIMEOUT_SECONDS = 10.0


def service_config(service: str) -> str:
    """Return gRPC's service config: round robin over healthy servers, throttled retries of unserved calls."""
    health = {"healthCheckConfig": {"serviceName": service}} if service else {}
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        **health,
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 200, "tokenRatio": 1},
    }
    return json.dumps(config)


def channel_options(service: str) -> list[tuple[str, int | str]]:
    """Return the options of a channel; each one prevents a problem that was observed with gRPC's defaults."""
    return [
        ("grpc.service_config", service_config(service)),
        ("grpc.enable_retries", 1),
        # http_proxy is honoured even for localhost.
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Current gRPC cores ignore keepalive_timeout_ms and use the ping timeout. A frozen service
        # is noticed within the sum of both, and a caller waits for one attempt to connect again on top.
        ("grpc.keepalive_time_ms", 500),
        ("grpc.http2.ping_timeout_ms", 800),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # With these, a client reconnects to a restarted service within about a second.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.dns_min_time_between_resolutions_ms", 2000),
        # By default channels share connections, so one channel would wait for the back-off of another.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def open_channel(
    target: str,
    *,
    service: str,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    tracing: Tracing | None = None,
) -> grpc.aio.Channel:
    """Return a channel to a service; open one per service and reuse it.

    Calls carry the request id and the trace. Failed calls raise a CoincastError.

    Args:
        target: `host:port`, or dns:///name:port.
        service: Full name of the service whose health is checked; empty for callers that check it themselves.
        timeout_seconds: A call ends at the earliest of its own `timeout`, the request's deadline and this
            one; a stream does not end at this one.
        tracing: Spans of calls; by default those of the process.
    """
    inner = grpc.aio.insecure_channel(target, options=channel_options(service))
    return _Channel(inner, service, timeout_seconds, tracing or current_tracing())


class _Channel(grpc.aio.Channel):
    """A channel whose calls return plain awaitables and plain async iterators."""

    def __init__(
        self, inner: grpc.aio.Channel, service: str, timeout_seconds: float, tracing: Tracing
    ) -> None:
        self._inner, self._service = inner, service
        self._timeout_seconds, self._tracing = timeout_seconds, tracing

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable that sends one request and awaits one reply."""
        return self._unary(method, self._inner.unary_unary(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable that sends many requests and awaits one reply."""
        return self._unary(method, self._inner.stream_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable that sends one request and iterates over the replies."""
        return self._stream(method, self._inner.unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable that sends many requests and iterates over the replies."""
        return self._stream(method, self._inner.stream_stream(method, *args, **kwargs))

    def _unary(self, path: str, invoke: Callable[..., Any]) -> Callable[..., Any]:
        async def call(request: Any, *, timeout: float | None = None, metadata: Any = (), **rest: Any) -> Any:
            with self._tracing.span(path.lstrip("/"), kind=SpanKind.CLIENT):
                watch = _CallTimer(path)
                try:
                    limit = self._limit(timeout, self._timeout_seconds)
                    return await invoke(request, timeout=limit, metadata=_outgoing(metadata), **rest)
                except grpc.aio.AioRpcError as error:
                    watch.code = error.code().name
                    raise from_rpc_error(error, service=self._service) from error
                except (asyncio.CancelledError, CoincastError) as error:
                    watch.code = "DEADLINE_EXCEEDED" if isinstance(error, Timeout) else "CANCELLED"
                    raise
                finally:
                    watch.stop()

        return call

    def _stream(self, path: str, invoke: Callable[..., Any]) -> Callable[..., Any]:
        async def call(
            request: Any, *, timeout: float | None = None, metadata: Any = (), **rest: Any
        ) -> AsyncIterator[Any]:
            watch, stream = _CallTimer(path), None
            try:
                stream = invoke(
                    request, timeout=self._limit(timeout, None), metadata=_outgoing(metadata), **rest
                )
                async for message in stream:
                    yield message
            except grpc.aio.AioRpcError as error:
                watch.code = error.code().name
                raise from_rpc_error(error, service=self._service) from error
            except (asyncio.CancelledError, GeneratorExit, CoincastError) as error:
                watch.code = "DEADLINE_EXCEEDED" if isinstance(error, Timeout) else "CANCELLED"
                raise
            finally:
                if stream is not None:
                    stream.cancel()
                watch.stop()

        return call

    def _limit(self, wanted: float | None, default: float | None) -> float | None:
        limits = [
            seconds for seconds in (wanted, default, context.remaining_seconds()) if seconds is not None
        ]
        limit = min(limits, default=None)
        if limit is not None and limit <= 0:
            raise Timeout("The deadline had passed before the call was made.")
        return limit

    async def __aenter__(self) -> _Channel:
        """Return itself; it closes at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close without a grace period: no calls remain at this point."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the connection; `grace` seconds for calls in flight."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the connection."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connection leaves the given state."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until there is a healthy connection."""
        await self._inner.channel_ready()


class _CallTimer:
    """Times and counts one outgoing call."""

    __slots__ = ("_started", "_where", "code")

    def __init__(self, path: str) -> None:
        self._where, self._started, self.code = metrics.split_method(path), time.perf_counter(), "OK"

    def stop(self) -> None:
        """Record the call in the metrics."""
        metrics.CLIENT_CALLS.labels(*self._where, self.code).inc()
        elapsed = time.perf_counter() - self._started
        metrics.observe_latency(metrics.CLIENT_SECONDS.labels(*self._where), elapsed)


def _outgoing(metadata: Sequence[tuple[str, str | bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    pairs = ((REQUEST_ID, context.request_id()), (TRACEPARENT, outgoing_traceparent()))
    return (*metadata, *((key, value) for key, value in pairs if value))
