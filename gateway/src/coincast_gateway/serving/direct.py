"""Answers paths without parameters straight from a table; everything else is routed by FastAPI."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coincast_gateway.asgi_types import App, Receive, Scope, Send
from coincast_gateway.serving.dispatch import Serving
from coincast_gateway.serving.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """What the metrics know the request as."""

    path: str


class Direct:
    """Pure ASGI. Matching patterns costs more than validating and answering a hot path's request."""

    def __init__(self, app: App, serving: Serving, endpoints: Iterable[Endpoint]) -> None:
        self._app = app
        self._serving = serving
        to_dict = [each for each in endpoints if each.method == "GET" and "{" not in each.path]
        self._table = {each.path: (each, DirectRoute(each.path)) for each in to_dict}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        found = self._table.get(scope["path"]) if scope.get("method") == "GET" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        endpoint, scope["route"] = found
        await self._serving.answer(endpoint, {}, scope, receive, send)
