"""From a request to an endpoint's entry: validate, look up, make, or say what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.logs import get_logger
from coincast_gateway.asgi_types import Headers, Receive, Scope, Send, header
from coincast_gateway.auth.dependencies import permitted
from coincast_gateway.cache.cached_response import CachedResponse
from coincast_gateway.cache.response_cache import MAX_RAW_QUERY_BYTES, CacheRequest, ResponseCache
from coincast_gateway.errors.problems import INVALID, PROBLEM_JSON, Problem, internal, problem_from_error
from coincast_gateway.errors.validation import ProblemException, parameters, refuse, validated
from coincast_gateway.formats.csv import to_csv, wants_csv
from coincast_gateway.formats.sse import Streams
from coincast_gateway.rendering import JSON, RenderedResponse
from coincast_gateway.serving.body import BodyBounds, read_body
from coincast_gateway.serving.endpoint import Call, Endpoint

log = get_logger("coincast.gateway")
CallerKey = Callable[[Scope], str]


@dataclass(frozen=True, slots=True)
class Serving:
    """What all endpoints share."""

    hot: ResponseCache
    bodies: BodyBounds
    streams: Streams
    now: Callable[[], float]
    # Names the side of an A/B test that this caller is on; empty while there is none.
    caller_key: CallerKey

    async def answer(
        self, endpoint: Endpoint, path: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send the reply, or the problem. Never raises for anything that a request can hold."""
        try:
            if endpoint.events is not None:
                await self._stream(endpoint, path, scope, receive, send)
                return
            entry = await self._entry(endpoint, path, scope, receive)
        except ProblemException as refused:
            await send_problem(refused.problem, scope, send)
        except CoincastError as error:
            await send_problem(problem_from_error(error), scope, send)
        except Exception:
            log.exception("an endpoint failed", endpoint=endpoint.name)
            await send_problem(internal(), scope, send)
        else:
            await entry.send(scope, send, now=self.now())

    async def _stream(
        self, endpoint: Endpoint, path: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        admission = permitted(scope, endpoint.scope)
        query = validated(endpoint.query, {**parameters(scope["query_string"]), **path})
        if endpoint.events is not None:
            call = Call(requested_by=admission.caller)
            await self.streams.send(endpoint.events(query, call), scope, receive, send)

    async def _entry(
        self, endpoint: Endpoint, path: dict[str, str], scope: Scope, receive: Receive
    ) -> CachedResponse:
        admission = permitted(scope, endpoint.scope)
        raw = (scope["path"], scope["query_string"], header(scope, b"accept"))
        side = self.caller_key(scope) if endpoint.by_caller else ""
        plan = self.hot.plan(raw) if endpoint.kept and not side else None
        if plan is not None:
            return await self.hot.get(plan)
        as_csv = endpoint.media_type == JSON and wants_csv(raw[2], endpoint.table)
        query = validated(endpoint.query, {**parameters(scope["query_string"]), **path})
        body = await read_body(endpoint.body, scope, receive, self.bodies) if endpoint.body else None
        call = Call(side, requested_by=admission.caller, body=body, idempotency_key=_idempotency_key(scope))

        async def make() -> RenderedResponse:
            reply = await endpoint.answer(query, call)
            return (
                to_csv(reply, endpoint.table) if as_csv and endpoint.table and reply.status == 200 else reply
            )

        if not endpoint.kept:
            return self.hot.wrap(await make())
        shared_name = ""
        if endpoint.shared and self.hot.shares:
            shared_name = f"{endpoint.name}|{query.model_dump_json()}|{as_csv}|{side}"
        key, public = (endpoint.name, query, as_csv, side), endpoint.scope == "none"
        plan = CacheRequest(key, make, public=public, shared_name=shared_name)
        if not side and len(raw[1]) <= MAX_RAW_QUERY_BYTES:
            self.hot.remember(raw, plan)
        return await self.hot.get(plan)


def _idempotency_key(scope: Scope) -> str:
    key = header(scope, b"idempotency-key").decode("latin-1")
    if key and (len(key) > 128 or not key.isascii() or not key.isprintable()):
        raise refuse(INVALID, "At most 128 printable ASCII characters.", field="Idempotency-Key")
    return key


async def send_problem(problem: Problem, scope: Scope, send: Send, *, extra: Headers | None = None) -> None:
    """Send a problem as `application/problem+json`; it is never cached."""
    body = problem.body(scope["path"])
    headers: Headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *problem.headers(),
        *(extra or []),
    ]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
