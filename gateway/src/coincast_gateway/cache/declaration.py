"""The declaration of a cacheable route: `@cached()` below `@router.get(...)`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, get_type_hints

from fastapi import Request, params
from pydantic import BaseModel

from coincast_gateway.auth.dependencies import required_scope
from coincast_gateway.cache.response_cache import CacheRequest, ResponseCache, raw_key
from coincast_gateway.formats.negotiation import (
    ROWS,
    Format,
    answers_json,
    declared_rows,
    json_handler,
    requested_format,
    to_format,
    with_request,
)
from coincast_gateway.rendering import CachedResponse, RenderedResponse, render

Handler = Callable[..., Awaitable[Any]]
POLICY = "__cache_policy__"


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How the responses of a route are cached.

    Args:
        seconds: How long a response may be served again, where the handler does not say so itself.
        shared: Whether processes share responses through Redis.
        vary_by: Parameters that come from dependencies and are part of the key; while one of them is not
            empty, requests are not remembered by their raw bytes, since callers differ.
    """

    seconds: float
    shared: bool
    vary_by: tuple[str, ...]


def cached(
    *, seconds: float = 0.0, shared: bool = False, vary_by: Iterable[str] = ()
) -> Callable[[Handler], Handler]:
    """Declare that a handler's responses are cached.

    The key is the handler and its path and query parameters; parameters that come from `Depends` are left out
    unless `vary_by` names them. The handler returns a `RenderedResponse` that says how long it is fresh, or a
    model or a dictionary, which then is fresh for `seconds`.
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
                return to_format(rendered, rows, as_format)

            # A text, since hashing and comparing models costs more than all else on a hit.
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
    """Return the policy that a handler was declared with; None where it is not cached."""
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
