"""Map errors to gRPC statuses and back, with field, suggestions and retry-after."""

from __future__ import annotations

import json
import math

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from coincast_chassis.errors import (
    KINDS,
    CoincastError,
    Conflict,
    Exhausted,
    InvalidInput,
    NotFound,
    NotReady,
    Timeout,
    Unavailable,
)

DOMAIN = "coincast"
# Trailers share the 8 KiB of HTTP/2 headers that peers accept by default; longer ones would fail the call.
MAX_MESSAGE = 1000
MAX_SUGGESTIONS = 8

STATUS: dict[type[CoincastError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.ABORTED,
    NotReady: grpc.StatusCode.FAILED_PRECONDITION,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Timeout: grpc.StatusCode.DEADLINE_EXCEEDED,
}
ERROR = {status: error for error, status in STATUS.items()}


def status_of(error: BaseException) -> grpc.StatusCode:
    """Return the status of an error; INTERNAL for errors other than CoincastError."""
    for cls in type(error).__mro__:
        if cls in STATUS:
            return STATUS[cls]
    return grpc.StatusCode.INTERNAL


def to_status(error: CoincastError) -> status_pb2.Status:
    """Return the rich status (google.rpc) that carries the whole error."""
    info = error_details_pb2.ErrorInfo(reason=error.kind.upper(), domain=DOMAIN)
    if error.suggestions:
        info.metadata["suggestions"] = json.dumps([s[:100] for s in error.suggestions[:MAX_SUGGESTIONS]])
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo]
    details = [info]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field[:200], description=error.message[:200]
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None and math.isfinite(error.retry_after_seconds):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(max(error.retry_after_seconds, 0) * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        item = any_pb2.Any()
        item.Pack(detail)
        packed.append(item)
    code, _ = status_of(error).value
    return status_pb2.Status(code=code, message=error.message[:MAX_MESSAGE], details=packed)


def trailers_of(error: CoincastError) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata of a failed call: the details, and a pushback that forbids a retry.

    Without the pushback a client's retry policy would repeat a call that the service deliberately failed with
    UNAVAILABLE, and so multiply the load on an upstream that is already down.
    """
    metadata = rpc_status.to_status(to_status(error)).trailing_metadata
    return (*metadata, ("grpc-retry-pushback-ms", "-1"))


def from_rpc_error(error: grpc.aio.AioRpcError, *, service: str) -> CoincastError:
    """Return the error that the server raised, or the nearest kind for a lost connection or a deadline."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that contradict the status: use only the status
        status = None
    if status is None:
        return _from_bare(error, service)
    info, field, retry_after, suggestions = None, "", None, ()
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            suggestions = (
                tuple(json.loads(info.metadata["suggestions"])) if "suggestions" in info.metadata else ()
            )
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            field = bad.field_violations[0].field if bad.field_violations else ""
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    if info is None or info.domain != DOMAIN:
        return _from_bare(error, service)
    cls = KINDS.get(info.reason.lower(), CoincastError)
    found = cls(status.message, field=field, retry_after_seconds=retry_after, suggestions=suggestions)
    found.answered = True
    return found


def without_addresses(error: Unavailable, message: str) -> Unavailable:
    """Replace the message of a lost connection, since gRPC's own message contains addresses.

    An error that the service itself returned is not changed.
    """
    return error if error.answered else Unavailable(message, retry_after_seconds=error.retry_after_seconds)


def _from_bare(error: grpc.aio.AioRpcError, service: str) -> CoincastError:
    code, details = error.code(), error.details() or ""
    name = service.rsplit(".", 1)[-1]
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"{name} does not answer ({details}).", retry_after_seconds=1.0)
    if code is grpc.StatusCode.CANCELLED:
        # Not by this caller, which would get a CancelledError: a gRPC server drops calls while more than a
        # thousand wait for it.
        return Unavailable(f"{name} dropped the call; it has too many.", retry_after_seconds=1.0)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Timeout(f"{name} did not answer within the deadline.")
    if code in ERROR:
        return ERROR[code](f"{name}: {details}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CoincastError(f"{name} does not know this call; the services are of different versions.")
    return CoincastError(f"{name} failed ({code.name}).")
