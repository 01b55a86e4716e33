"""The FastAPI application: routes, OpenAPI and its pages; the handlers only hand over to `Serving`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from coincast_gateway.asgi_types import Receive, Scope, Send
from coincast_gateway.coingecko_compat.app import CompatApp
from coincast_gateway.coingecko_compat.openapi import COMPONENTS, mirror_paths
from coincast_gateway.coingecko_compat.routes import PREFIX
from coincast_gateway.errors.problems import METHOD, NOT_FOUND, Problem
from coincast_gateway.openapi import extra_of, responses_of, with_components
from coincast_gateway.serving.dispatch import Serving, send_problem
from coincast_gateway.serving.endpoint import Endpoint

TITLE = "Coincast"
DESCRIPTION = (
    "Cryptocurrency market data and honest probabilistic price forecasts. Every reply says where it stands: "
    "as_of, age, source, degraded and why. Forecasts are not advice."
)

# Where keys are wanted; each scope holds those before it.
NEEDS: dict[str, str] = {
    "none": "Needs no key.",
    "read": "Needs a key with the scope `read`.",
    "train": "Needs a key with the scope `train`.",
    "admin": "Needs a key with the scope `admin`.",
}


class _Answer(Response):
    """Hands the connection to `Serving`, which sends ready bytes."""

    def __init__(self, serving: Serving, endpoint: Endpoint) -> None:
        self._serving, self._endpoint = serving, endpoint
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serving.answer(self._endpoint, scope["path_params"], scope, receive, send)


class _Refusal(Response):
    """A problem that routing met."""

    def __init__(self, problem: Problem, headers: list[tuple[bytes, bytes]]) -> None:
        self._problem, self._extra = problem, headers
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_problem(self._problem, scope, send, extra=self._extra)


def rest_app(serving: Serving, endpoints: Iterable[Endpoint], mirror: CompatApp, *, version: str) -> FastAPI:
    """The application. FastAPI's own telemetry and documentation pages are off: the gateway has its own."""
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    for endpoint in endpoints:
        _add(app, serving, endpoint)
    app.mount(PREFIX, mirror)
    app.add_exception_handler(HTTPException, _routing_problem)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _add(app: FastAPI, serving: Serving, endpoint: Endpoint) -> None:
    ready = _Answer(serving, endpoint)

    async def handle(request: Request) -> Response:
        return ready

    methods = ["GET", "HEAD"] if endpoint.method == "GET" else [endpoint.method]
    for method in methods:
        app.add_api_route(
            endpoint.path,
            handle,
            methods=[method],
            name=endpoint.name,
            operation_id=endpoint.name if method != "HEAD" else f"{endpoint.name}_head",
            include_in_schema=method != "HEAD",
            summary=endpoint.summary,
            description=f"{(endpoint.description or endpoint.summary).rstrip('.')}. {NEEDS[endpoint.scope]}",
            tags=[endpoint.tag],
            status_code=endpoint.status,
            response_class=Response,
            responses=responses_of(endpoint),
            openapi_extra=extra_of(endpoint),
        )


async def _routing_problem(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status != METHOD.status:
        return _Refusal(Problem(NOT_FOUND, "There is nothing here; /docs lists what there is."), [])
    allowed = ", ".join(sorted(_methods(request)))
    problem = Problem(METHOD, f"{request.method[:20]} is not possible here.", allowed=allowed)
    return _Refusal(problem, [(b"allow", allowed.encode())])


def _methods(request: Request) -> set[str]:
    routes = [route for route in request.app.routes if isinstance(route, APIRoute)]
    matching = [route for route in routes if route.path_regex.match(request.scope["path"])]
    return {method for route in matching for method in route.methods or ()}


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = with_components(
            get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        )
        document["paths"] |= mirror_paths()
        document["components"]["schemas"] |= COMPONENTS
        app.openapi_schema = document
    return app.openapi_schema
