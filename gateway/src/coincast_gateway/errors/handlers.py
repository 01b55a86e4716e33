"""Exception handlers: every error of a request becomes a problem document."""

from __future__ import annotations

import difflib
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.logs import get_logger
from coincast_gateway.asgi_types import Headers, Receive, Scope, Send
from coincast_gateway.errors.problems import (
    INVALID,
    METHOD,
    NOT_FOUND,
    PROBLEM_JSON,
    TOO_LARGE,
    UNSUPPORTED,
    Problem,
    ProblemException,
    internal,
    problem_from_error,
)
from coincast_gateway.schemas.parameters import explain_request

log = get_logger("coincast.gateway")
JSON = "application/json"
# The time to compare two paths grows with the product of their lengths.
MAX_COMPARED_PATH = 100
# Paths that pages and replies name; they are no near path of anything that is typed.
PAGE_FILES = ("/assets/", "/problems/")


class ProblemResponse(Response):
    """A problem as `application/problem+json`; it is never cached."""

    def __init__(self, problem: Problem, headers: Headers | None = None) -> None:
        self.problem = problem
        self.own_headers = headers or []
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the problem; its `instance` is the path of the request."""
        body = self.problem.body(scope["path"])
        headers: Headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *self.problem.headers(),
            *self.own_headers,
        ]
        status = self.problem.kind.status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def problem_of(error: Exception) -> Problem:
    """Return the problem of any error; an unexpected one is logged and becomes a generic 500."""
    if isinstance(error, ProblemException):
        return error.problem
    if isinstance(error, CoincastError):
        return problem_from_error(error)
    log.error("request_failed", exc_info=error)
    return internal()


async def handle_error(request: Request, error: Exception) -> Response:
    """Answer an error with its problem."""
    return ProblemResponse(problem_of(error))


async def handle_validation_error(request: Request, error: Exception) -> Response:
    """Answer a request that does not validate with a problem that names the field and the fix."""
    if not isinstance(error, RequestValidationError):
        return await handle_error(request, error)
    route = request.scope.get("route")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if isinstance(error.body, bytes) and media_type != JSON:
        detail = f"Send the body as {JSON}."
        return ProblemResponse(Problem(UNSUPPORTED, detail, field="Content-Type", allowed=JSON))
    return ProblemResponse(explain_request(route, error.errors()))


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Answer a request that routing or body parsing rejected: unknown path, wrong method, unreadable body."""
    if not isinstance(error, HTTPException):
        return await handle_error(request, error)
    if error.status_code == METHOD.status:
        allowed = ", ".join(sorted(allowed_methods(request)))
        problem = Problem(METHOD, f"{request.method[:20]} is not possible here.", allowed=allowed)
        return ProblemResponse(problem, [(b"allow", allowed.encode())])
    if error.status_code == TOO_LARGE.status:
        most = f"at most {request.app.state.settings.max_body_bytes} bytes"
        return ProblemResponse(Problem(TOO_LARGE, "The body is too large.", field="body", allowed=most))
    if error.status_code == 400:
        return ProblemResponse(Problem(INVALID, "The body is not JSON.", field="body"))
    near = near_paths(request)
    detail = f"There is nothing here; did you mean {near[0]}?" if near else "There is nothing here."
    return ProblemResponse(Problem(NOT_FOUND, f"{detail} /docs lists all paths.", suggestions=near))


def near_paths(request: Request) -> tuple[str, ...]:
    """Return the paths of the API that are nearest to the path of a request, best first."""
    path = request.scope["path"].lower()
    if len(path) > MAX_COMPARED_PATH:
        return ()
    templates = {
        route.path
        for route in request.app.state.routes
        if isinstance(route, APIRoute) and route.include_in_schema and not route.path.startswith(PAGE_FILES)
    }
    given = path.split("/")
    candidates = set()
    for template in templates:
        parts = template.split("/")
        if len(parts) == len(given):
            # A parameter of the template is replaced by the segment of the request.
            pairs = zip(parts, given, strict=True)
            candidates.add("/".join(word if part.startswith("{") else part for part, word in pairs))
        elif "{" not in template:
            candidates.add(template)
    close = difflib.get_close_matches(path, sorted(candidates), n=3, cutoff=0.75)
    if difflib.get_close_matches(path, close, n=1, cutoff=0.85):
        return tuple(close)
    return _paths_with_words(templates, [word for word in given if word]) or tuple(close)


def _paths_with_words(templates: set[str], words: list[str]) -> tuple[str, ...]:
    """Return the paths with the most words of a request: `/prices` for `/prices/bitcoin`."""
    scored = []
    for template in templates:
        parts = template.strip("/").split("/")
        literals = [part for part in parts if not part.startswith("{")]
        near = {word: difflib.get_close_matches(word, literals, n=1, cutoff=0.8) for word in words}
        others = [word for word, found in near.items() if not found]
        if len(others) == len(words) or len(parts) - len(literals) > len(others):
            continue
        filled = iter(others)
        example = "/".join(next(filled) if part.startswith("{") else part for part in parts)
        scored.append((len(others), len(parts), f"/{example}"))
    return tuple(path for _, _, path in sorted(scored)[:3])


def allowed_methods(request: Request) -> set[str]:
    """Return the methods that the path of a request supports."""
    routes: list[BaseRoute] = request.app.state.routes
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, APIRoute) and route.path_regex.match(request.scope["path"]):
            methods |= route.methods or set()
    return methods | {"HEAD"} if "GET" in methods else methods


def add_exception_handlers(app: FastAPI) -> None:
    """Register the handlers on an application."""
    handlers: dict[Any, Any] = {
        ProblemException: handle_error,
        CoincastError: handle_error,
        RequestValidationError: handle_validation_error,
        HTTPException: handle_http_exception,
        Exception: handle_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
