"""The response cache of a process: its store, the declaration of cacheable routes, and its middleware.

- `@cached()` below `@router.get(...)` declares a cacheable route.
- `ResponseCache` stores rendered responses, bounded by their bytes. The oldest are evicted first.
- `CacheMiddleware` serves stored responses. It also calls some handlers directly, since FastAPI matches
  routes one after another and resolves parameters generically, which costs more than rendering a price. The
  table of these handlers is derived from the routers. It has each `@cached()` route without path parameters
  that needs only a query model and dependencies on the request; the middleware calls the same handler with
  the same model. Every other request is passed to FastAPI.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeGuard, get_type_hints

from cachetools import FIFOCache
from fastapi import FastAPI, Request, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response
from starlette.routing import BaseRoute

from coincast_chassis.clock import Clock
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_gateway.asgi_types import Receive, Scope, Send, first_headers
from coincast_gateway.auth.authenticator import auth_result, required_scope
from coincast_gateway.cache.redis_tier import RedisTier
from coincast_gateway.errors.handlers import ProblemResponse, problem_of
from coincast_gateway.formats.negotiation import (
    ROWS,
    Format,
    answers_json,
    declared_rows,
    json_handler,
    requested_format,
    response_model_of,
    to_format,
    with_request,
)
from coincast_gateway.rendering import CachedResponse, RenderedResponse, render
from coincast_gateway.schemas.parameters import parse_query, validate

Handler = Callable[..., Awaitable[Any]]
Key = Hashable
POLICY = "__cache_policy__"
RawKey = tuple[str, bytes, bytes]
# Memory of one remembered request beside its own bytes, as measured.
RAW_KEY_BYTES = 3_200
# The share of the cache's memory that remembered requests may take.
RAW_KEY_SHARE = 0.25
# Longer requests are not remembered but parsed each time, since their keys would take too much memory.
MAX_RAW_KEY_BYTES = 2048


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """A parsed request for a cacheable response.

    Args:
        key: The key of the response in the cache.
        make: Renders the response on a cache miss.
        public: Whether it is served without an API key.
        shared_name: The name under which processes share the response in Redis; empty if they do not.
        route: The route that answers, whose path template labels the metrics.
    """

    key: Key
    make: Callable[[], Awaitable[RenderedResponse]]
    public: bool = False
    shared_name: str = ""
    route: Any = None


def raw_key(scope: Scope) -> RawKey:
    """Return the unparsed key of a request: path, query string and Accept header."""
    return scope["path"], scope["query_string"], first_headers(scope).get(b"accept", b"")


class ResponseCache:
    """Responses by the key of their request, and parsed requests by their raw key.

    With the latter, a request that is repeated byte by byte is not parsed again.

    Args:
        max_bytes: Memory of responses and requests together.
        clock: Its monotonic time decides whether a response is fresh.
        private: Whether shared HTTP caches must not store responses, since reading needs an API key.
        shared: The cache in Redis; None if processes do not share responses.
    """

    def __init__(
        self, *, max_bytes: int, clock: Clock, private: bool = False, shared: RedisTier | None = None
    ) -> None:
        responses_bytes = int(max_bytes * (1 - RAW_KEY_SHARE))
        # The compressed variants are added later, so a response counts twice its size from the start.
        self._responses: FIFOCache[Key, CachedResponse] = FIFOCache(
            responses_bytes, getsizeof=lambda response: 2 * response.size_bytes
        )
        self._requests: FIFOCache[RawKey, CacheRequest] = FIFOCache(
            max(1, max_bytes - responses_bytes), getsizeof=lambda request: RAW_KEY_BYTES
        )
        self._flights: SingleFlight[Key, CachedResponse] = SingleFlight()
        self._clock = clock
        self._private = private
        self._shared = shared
        self.hits = self.misses = self.made = 0

    def __len__(self) -> int:
        return len(self._responses)

    @property
    def size_bytes(self) -> int:
        """Return the memory of the cached responses."""
        return int(self._responses.currsize)

    @property
    def shares(self) -> bool:
        """Return whether responses are shared with other processes."""
        return self._shared is not None

    def lookup_raw(self, raw: RawKey) -> tuple[CacheRequest, CachedResponse] | None:
        """Return the fresh response of a remembered request, or None. It does not count a hit."""
        try:
            request: CacheRequest = self._requests[raw]
            response: CachedResponse = self._responses[request.key]
        except KeyError:
            return None
        if response.fresh_until <= self._clock.monotonic():
            return None
        return request, response

    def known(self, raw: RawKey) -> CacheRequest | None:
        """Return the parsed form of a remembered request, or None."""
        return self._requests.get(raw)

    def remember(self, raw: RawKey, request: CacheRequest) -> None:
        """Remember the parsed form of a request; the oldest one is evicted if necessary."""
        if sum(map(len, raw)) <= MAX_RAW_KEY_BYTES and self._requests.maxsize >= RAW_KEY_BYTES:
            self._requests[raw] = request

    async def get(self, request: CacheRequest) -> CachedResponse:
        """Return the fresh cached response, or render it; concurrent requests share one rendering."""
        response = self._responses.get(request.key)
        if response is not None and response.fresh_until > self._clock.monotonic():
            self.hits += 1
            return response
        self.misses += 1
        return await self._flights.do(request.key, lambda: self._render(request))

    async def _render(self, request: CacheRequest) -> CachedResponse:
        self.made += 1
        response = await self._load_or_render(request)
        if response.rendered.fresh_seconds > 0:
            self._store(request.key, response)
        return response

    async def _load_or_render(self, request: CacheRequest) -> CachedResponse:
        if self._shared is None or not request.shared_name:
            return self.wrap(await request.make(), public=request.public)
        found = await self._shared.get(request.shared_name)
        if found is not None:
            rendered, age_seconds = found
            return self.wrap(rendered, public=request.public, age_seconds=age_seconds)
        rendered = await request.make()
        await self._shared.put(request.shared_name, rendered)
        return self.wrap(rendered, public=request.public)

    def wrap(
        self, rendered: RenderedResponse, *, public: bool = False, age_seconds: float = 0.0
    ) -> CachedResponse:
        """Return a rendered response in the form that can be sent, without storing it.

        Args:
            rendered: The response.
            public: Whether it is served without an API key.
            age_seconds: How long ago it was rendered.
        """
        response = CachedResponse(
            rendered,
            now=self._clock.monotonic(),
            now_unix=self._clock.now() - age_seconds,
            private=self._private and not public,
            public=public,
        )
        response.made_at -= age_seconds
        return response

    def _store(self, key: Key, response: CachedResponse) -> None:
        self._responses.pop(key, None)
        if 2 * response.size_bytes <= self._responses.maxsize:
            self._responses[key] = response

    async def aclose(self) -> None:
        """Cancel the responses that are being rendered."""
        await self._flights.aclose()


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How the responses of a route are cached.

    Args:
        seconds: How long a response is fresh if the handler does not say so itself.
        shared: Whether processes share responses through Redis.
        vary_by: Parameters that come from dependencies and are part of the key. While one of them is not
            empty, a request is not remembered by its raw key, since its response depends on the caller.
    """

    seconds: float
    shared: bool
    vary_by: tuple[str, ...]


def cached(
    *, seconds: float = 0.0, shared: bool = False, vary_by: Iterable[str] = ()
) -> Callable[[Handler], Handler]:
    """Declare that a handler's responses are cached.

    The key consists of the handler's name and its path and query parameters. Parameters that come from
    `Depends` are left out unless `vary_by` names them.

    Args:
        seconds: How long the response of a model or dictionary is fresh. A `RenderedResponse` says so itself.
        shared: Whether processes share responses through Redis.
        vary_by: Names of parameters from `Depends` that are part of the key.
    """
    policy = CachePolicy(seconds, shared, tuple(vary_by))

    def decorate(declared: Handler) -> Handler:
        rows, handler = declared_rows(declared), json_handler(declared)
        wants_request = "request" in inspect.signature(handler).parameters
        name = f"{handler.__module__}.{handler.__qualname__}"
        key_names: list[str] | None = None

        @wraps(handler)
        async def answer(*, request: Request, **values: Any) -> CachedResponse:
            nonlocal key_names
            if key_names is None:
                key_names = _key_parameters(handler, policy)
            cache: ResponseCache = request.app.state.cache
            raw = raw_key(request.scope)
            route = request.scope.get("route")
            as_format = requested_format(raw[2], rows, values) if answers_json(route) else Format.JSON
            given = {**values, "request": request} if wants_request else values

            async def make() -> RenderedResponse:
                rendered = render(await handler(**given), fresh_seconds=policy.seconds)
                return to_format(rendered, rows, as_format, response_model_of(route))

            # The key is a text: hashing and comparing models would cost more than the rest of a cache hit.
            key = "|".join([name, as_format, *[_as_text(values[each]) for each in key_names]])
            entry = CacheRequest(
                key,
                make,
                public=route is not None and required_scope(route) == "none",
                shared_name=key if policy.shared and cache.shares else "",
                route=route,
            )
            if not any(values[each] for each in policy.vary_by):
                cache.remember(raw, entry)
            return await cache.get(entry)

        setattr(answer, POLICY, policy)
        setattr(answer, ROWS, rows)
        answer.__signature__ = with_request(handler)  # type: ignore[attr-defined]  # read by inspect
        return answer

    return decorate


def cache_policy(handler: Any) -> CachePolicy | None:
    """Return the cache policy that a handler was declared with, or None if it is not cached."""
    return getattr(handler, POLICY, None)


def _key_parameters(handler: Handler, policy: CachePolicy) -> list[str]:
    hints = get_type_hints(handler, include_extras=True)
    return [
        name
        for name in inspect.signature(handler).parameters
        if name in policy.vary_by or not (name == "request" or _is_dependency(hints.get(name)))
    ]


def _is_dependency(hint: Any) -> bool:
    return any(isinstance(each, params.Depends) for each in getattr(hint, "__metadata__", ()))


def _as_text(value: Any) -> str:
    return value.model_dump_json() if isinstance(value, BaseModel) else repr(value)


@dataclass(frozen=True, slots=True)
class ExactRoute:
    """A cacheable route without path parameters, whose handler the middleware calls directly.

    Args:
        route: The route.
        handler: Its handler.
        query_name: The handler's parameter that takes the query model.
        query_model: The query model; None if the handler has none.
        dependencies: For each dependency the handler's parameter that takes its result (or ""), the
            dependency's parameter that takes the request (or ""), and the dependency.
    """

    route: APIRoute
    handler: Callable[..., Awaitable[Response]]
    query_name: str
    query_model: type[BaseModel] | None
    dependencies: tuple[tuple[str, str, Callable[..., Awaitable[Any]]], ...]

    async def call(self, request: Request) -> Response:
        """Call the dependencies and the handler as FastAPI would, and return the response."""
        values: dict[str, Any] = {}
        for name, request_name, dependency in self.dependencies:
            value = await (dependency(**{request_name: request}) if request_name else dependency())
            if name:
                values[name] = value
        if self.query_model is not None:
            given = parse_query(request.scope["query_string"])
            values[self.query_name] = validate(self.route, self.query_model, given)
        return await self.handler(request=request, **values)


def exact_route(route: BaseRoute) -> ExactRoute | None:
    """Return how a route is called directly, or None if only FastAPI can call it."""
    if not isinstance(route, APIRoute) or cache_policy(route.endpoint) is None or "{" in route.path:
        return None
    dependant = route.dependant
    others = (dependant.header_params, dependant.cookie_params, dependant.body_params, dependant.path_params)
    if any(others) or len(dependant.query_params) > 1 or not all(map(_is_simple, dependant.dependencies)):
        return None
    name, model = "", None
    if dependant.query_params:
        name, model = dependant.query_params[0].name, dependant.query_params[0].field_info.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        if model.model_config.get("extra") != "forbid":
            return None
    dependencies = tuple(
        (each.name or "", each.request_param_name or "", each.call) for each in dependant.dependencies
    )
    return ExactRoute(route, route.endpoint, name, model, dependencies)  # type: ignore[arg-type]  # checked above


def _is_simple(dependant: Dependant) -> bool:
    """Return whether a dependency takes at most the request, and is a coroutine function."""
    parameters = (
        dependant.path_params,
        dependant.query_params,
        dependant.header_params,
        dependant.cookie_params,
        dependant.body_params,
        dependant.dependencies,
    )
    return not any(parameters) and any(
        map(inspect.iscoroutinefunction, (dependant.call, type(dependant.call).__call__))
    )


def _is_allowed(known: CacheRequest | None, scope: Scope) -> TypeGuard[CacheRequest]:
    """Return whether a request is a remembered one of an API route that its caller may read."""
    if known is None or not isinstance(known.route, APIRoute):
        return False
    return known.public or "read" in auth_result(scope).scopes


class CacheMiddleware:
    """ASGI middleware around the FastAPI application that serves cached responses.

    Args:
        app: The FastAPI application.
        cache: The response cache.
        routes: All routes of the application, from which the directly called handlers are taken.
    """

    def __init__(self, app: FastAPI, cache: ResponseCache, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._cache = cache
        found = [each for each in map(exact_route, routes) if each is not None]
        self._exact = {each.route.path: each for each in found}

    @property
    def exact_paths(self) -> frozenset[str]:
        """Return the paths whose handlers are called directly."""
        return frozenset(self._exact)

    def find_ready(self, scope: Scope) -> tuple[CacheRequest, CachedResponse] | None:
        """Return the fresh response of a remembered request, without checking the caller's scopes."""
        return self._cache.lookup_raw(raw_key(scope))

    def ready(self, scope: Scope, found: tuple[CacheRequest, CachedResponse] | None) -> CachedResponse | None:
        """Return the response of `find_ready` if the caller may read it, and count a hit; otherwise None."""
        if found is None:
            return None
        request, response = found
        if not (request.public or "read" in auth_result(scope).scopes):
            return None
        scope["route"] = request.route
        self._cache.hits += 1
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a cacheable request, or pass the request to FastAPI."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        known = self._cache.known(raw_key(scope))
        exact = self._exact.get(scope["path"])
        response: Response
        try:
            if _is_allowed(known, scope):
                scope["route"] = known.route
                response = await self._cache.get(known)
            elif exact is not None:
                scope["route"], scope["app"] = exact.route, self._app
                response = await exact.call(Request(scope, receive))
            else:
                await self._app(scope, receive, send)
                return
        except Exception as error:
            response = ProblemResponse(problem_of(error))
        await response(scope, receive, send)
