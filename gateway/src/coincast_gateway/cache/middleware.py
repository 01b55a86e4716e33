"""Cache middleware: serves cached responses, and calls the handlers of cacheable paths directly.

FastAPI matches routes one after another and resolves parameters generically, which costs more than rendering
a price. The table of exact paths here is derived from the routers: of a route that is declared as `@cached()`
and needs no more than a query model and dependencies on the request, the middleware calls the same handler
with the same model. Every other request is passed to FastAPI.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response
from starlette.routing import BaseRoute

from coincast_gateway.asgi_types import Receive, Scope, Send
from coincast_gateway.auth.dependencies import auth_result
from coincast_gateway.cache.declaration import cache_policy
from coincast_gateway.cache.response_cache import CacheRequest, ResponseCache, raw_key
from coincast_gateway.errors.handlers import ProblemResponse, problem_of
from coincast_gateway.errors.validation import parse_query, validate
from coincast_gateway.rendering import CachedResponse


@dataclass(frozen=True, slots=True)
class ExactRoute:
    """A cacheable route without path parameters, ready to be called."""

    route: APIRoute
    handler: Callable[..., Awaitable[Response]]
    query_name: str
    query_model: type[BaseModel] | None
    # (parameter of the handler or "", parameter that takes the request or "", dependency)
    dependencies: tuple[tuple[str, str, Callable[..., Awaitable[Any]]], ...]

    async def call(self, request: Request) -> Response:
        """Return the response of the handler, as FastAPI would call it."""
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
    """Return the direct call of a route, or None where only FastAPI can call it."""
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
    """Return whether a dependency takes the request alone, and is awaited."""
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


def _may_have(known: CacheRequest | None, scope: Scope) -> TypeGuard[CacheRequest]:
    """Return whether a remembered request of an API route may be answered to this caller."""
    if known is None or not isinstance(known.route, APIRoute):
        return False
    return known.public or "read" in auth_result(scope).scopes


class CacheMiddleware:
    """Pure ASGI around the FastAPI application."""

    def __init__(self, app: FastAPI, cache: ResponseCache, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._cache = cache
        found = [each for each in map(exact_route, routes) if each is not None]
        self._exact = {each.route.path: each for each in found}

    @property
    def exact_paths(self) -> frozenset[str]:
        """Return the paths whose handlers are called directly."""
        return frozenset(self._exact)

    def ready(self, scope: Scope) -> CachedResponse | None:
        """Return the fresh response of a request that was seen before, if this caller may have it."""
        found = self._cache.lookup_raw(raw_key(scope))
        if found is None:
            return None
        request, response = found
        if not (request.public or "read" in auth_result(scope).scopes):
            return None
        scope["route"] = request.route
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a cacheable request, or hand it to FastAPI."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        known = self._cache.known(raw_key(scope))
        exact = self._exact.get(scope["path"])
        response: Response
        try:
            if _may_have(known, scope):
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
