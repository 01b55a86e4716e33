"""Authorisation: FastAPI dependencies for scopes and for the caller's name."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from coincast_gateway.asgi_types import Scope
from coincast_gateway.auth.authenticator import OPEN, AuthResult
from coincast_gateway.errors.problems import FORBIDDEN, UNAUTHORIZED, UNAVAILABLE, UNSUPPORTED, Problem
from coincast_gateway.errors.validation import ProblemException

AccessScope = Literal["none", "read", "train", "admin"]
AUTH = "coincast.auth"
JSON = "application/json"
WITHOUT_CHECK = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


def auth_result(scope: Scope) -> AuthResult:
    """Return the caller; without an authenticator every caller has all scopes."""
    found: AuthResult = scope.get(AUTH, OPEN)
    return found


class requires:  # noqa: N801 - reads as a verb where it is declared
    """A dependency that lets only callers with a scope pass: `dependencies=[Depends(requires("admin"))]`.

    Args:
        scope: The scope that is needed; `admin` holds `train`, and `train` holds `read`.
    """

    def __init__(self, scope: AccessScope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> AuthResult:
        """Return the caller.

        Raises:
            ProblemException: 401 without a valid key, 403 where the key lacks the scope, 503 while keys
                cannot be checked.
        """
        result = auth_result(request.scope)
        if self.scope in result.scopes:
            return result
        if result.keys_unavailable:
            detail = "API keys cannot be checked at present; requests are refused until they can."
            raise ProblemException(Problem(UNAVAILABLE, detail, field="X-API-Key", retry_after_seconds=2.0))
        if result.caller != "anonymous":
            detail = f"The key {result.caller!r} lacks the scope {self.scope!r}."
            allowed = f"a key with the scope {self.scope}"
            raise ProblemException(Problem(FORBIDDEN, detail, field="X-API-Key", allowed=allowed))
        detail = "The API key is unknown or revoked." if result.invalid_key else "This needs an API key."
        allowed = "X-API-Key: KEY, or a Bearer token"
        raise ProblemException(Problem(UNAUTHORIZED, detail, field="X-API-Key", allowed=allowed))


READ = Depends(requires("read"))
TRAIN = Depends(requires("train"))
ADMIN = Depends(requires("admin"))


def required_scope(route: APIRoute) -> AccessScope:
    """Return the scope that a route needs, from its dependencies; the highest where it declares several."""
    order: list[AccessScope] = ["none", "read", "train", "admin"]
    scopes = [each.call.scope for each in route.dependant.dependencies if isinstance(each.call, requires)]
    return max(scopes, key=order.index, default="none")


async def require_json(request: Request) -> None:
    """Reject changes without an API key that are not JSON; a dependency of the whole application.

    A form of another site can send any other media type without a preflight. DELETE always needs one.

    Raises:
        ProblemException: 415 for another Content-Type, or none, also with an empty body.
    """
    caller = auth_result(request.scope)
    if request.method in WITHOUT_CHECK or caller.caller != "anonymous" or "train" not in caller.scopes:
        return
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        detail = f"Send Content-Type: {JSON}, also with an empty body."
        raise ProblemException(Problem(UNSUPPORTED, detail, field="Content-Type", allowed=JSON))


async def caller_name(request: Request) -> str:
    """Return the name of the caller's API key, or `anonymous`, for the audit."""
    return auth_result(request.scope).caller


Caller = Annotated[str, Depends(caller_name)]
