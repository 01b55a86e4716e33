"""The interceptor of every gRPC server: request context, span, metrics, error mapping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from opentelemetry.trace import SpanKind

from coincast_chassis import context
from coincast_chassis.errors import CoincastError, InvalidInput, Timeout
from coincast_chassis.grpc.error_mapping import status_of, trailers_of
from coincast_chassis.observability import metrics
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.observability.tracing import TRACEPARENT, Tracing, current_trace_id

REQUEST_ID = "x-request-id"
log = get_logger("coincast.grpc")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ServerCalls(grpc.aio.ServerInterceptor):
    """Binds request id, trace and deadline; measures and counts calls; converts errors to gRPC statuses.

    Health checks and reflection are not intercepted, so that metrics count only the product's own calls.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.last_at = time.monotonic()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of the method, wrapped once and cached."""
        path = handler_call_details.method
        if (known := self._handlers.get(path)) is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or not path.startswith("/coincast."):
            return handler
        return self._handlers.setdefault(path, self._wrap(path, handler))

    def _wrap(self, path: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        factory = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[(handler.request_streaming, handler.response_streaming)]
        behaviour = next(
            b
            for b in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
            if b is not None
        )
        wrapped = (
            self._stream(path, behaviour) if handler.response_streaming else self._unary(path, behaviour)
        )
        made: grpc.RpcMethodHandler[Any, Any] = factory(
            wrapped, _tolerant(handler.request_deserializer), handler.response_serializer
        )
        return made

    def _unary(self, path: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Callable[..., Any]:
        async def call(request: Any, servicer_context: Context) -> Any:
            with self._around(path, servicer_context) as outcome:
                try:
                    _check_parsed(request)
                    return await behaviour(request, servicer_context)
                except Exception as error:
                    outcome.error = error
                    await _refuse(path, servicer_context, error)

        return call

    def _stream(
        self, path: str, behaviour: Callable[[Any, Context], AsyncGenerator[Any]]
    ) -> Callable[..., Any]:
        # This handler writes messages and does not yield them. A cancelled call then ends here, in its own
        # context, and closes the service's generator at once; gRPC would leave that to the garbage collector.
        async def call(request: Any, servicer_context: Context) -> None:
            with self._around(path, servicer_context) as outcome:
                try:
                    _check_parsed(request)
                    async with aclosing(behaviour(request, servicer_context)) as messages:
                        async for message in messages:
                            await servicer_context.write(message)
                except Exception as error:
                    outcome.error = error
                    await _refuse(path, servicer_context, error)

        return call

    @contextmanager
    def _around(self, path: str, servicer_context: Context) -> Iterator[_Outcome]:
        metadata = {k: v for k, v in servicer_context.invocation_metadata() or () if isinstance(v, str)}
        service, method = metrics.split_method(path)
        outcome, started = _Outcome(), time.perf_counter()
        self.last_at = time.monotonic()
        running = metrics.SERVER_RUNNING.labels(service)
        running.inc()
        parent = metadata.get(TRACEPARENT)
        with (
            self._tracing.span(path.lstrip("/"), kind=SpanKind.SERVER, traceparent=parent),
            context.bind(
                request_id=context.safe_id(metadata.get(REQUEST_ID)) or context.new_request_id(),
                trace_id=current_trace_id(metadata),
                deadline_seconds=servicer_context.time_remaining(),
            ),
        ):
            try:
                yield outcome
            except (asyncio.CancelledError, GeneratorExit):
                outcome.code = grpc.StatusCode.CANCELLED.name
                raise
            finally:
                running.dec()
                metrics.SERVER_CALLS.labels(service, method, outcome.name()).inc()
                elapsed = time.perf_counter() - started
                metrics.observe_latency(metrics.SERVER_SECONDS.labels(service, method), elapsed)


class _Malformed:
    """Placeholder for a request that could not be parsed."""


_MALFORMED = _Malformed()


def _tolerant(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return a deserializer that returns `_MALFORMED` on failure: gRPC itself would answer INTERNAL."""
    if deserializer is None:
        return None

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except (DecodeError, UnicodeDecodeError, ValueError):
            return _MALFORMED

    return deserialize


def _check_parsed(request: Any) -> None:
    """Raise InvalidInput for a request that could not be parsed."""
    if request is _MALFORMED:
        raise InvalidInput(
            "The request cannot be parsed: text must be UTF-8, and the message of the method's type."
        )


class _Outcome:
    """How a call ended."""

    __slots__ = ("code", "error")

    def __init__(self) -> None:
        self.code = ""
        self.error: Exception | None = None

    def name(self) -> str:
        """Return the gRPC status by name."""
        if self.error is not None:
            return status_of(self.error).name
        return self.code or "OK"


async def _refuse(path: str, servicer_context: Context, error: Exception) -> None:
    """End the call with the error's status.

    Errors other than CoincastError are logged and become INTERNAL.
    """
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, TimeoutError):
        error = Timeout("The deadline passed before there was an answer.")
    if isinstance(error, CoincastError) and error.kind != "internal":
        log.info("call_refused", method=path, kind=error.kind, field=error.field, message=error.message)
        await servicer_context.abort(status_of(error), error.message[:1000], trailers_of(error))
    log.error("call_failed", method=path, exc_info=error)
    unknown = CoincastError(f"Internal error; the logs have it under request id {context.request_id()}.")
    await servicer_context.abort(grpc.StatusCode.INTERNAL, unknown.message, trailers_of(unknown))
