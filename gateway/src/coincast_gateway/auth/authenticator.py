"""Authenticate every request: the caller, its scopes and its rate limit.

Routes declare the scope that they need with the FastAPI dependencies `READ`, `TRAIN` and `ADMIN`.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from redis.exceptions import RedisError

from coincast_chassis.clock import Clock
from coincast_chassis.errors import Unavailable
from coincast_chassis.observability.logs import get_logger
from coincast_gateway.asgi_types import Headers, Scope
from coincast_gateway.auth.api_keys import SCOPE_GRANTS, ApiKeyCache, KeyRecord, KeyStore, digest_of
from coincast_gateway.auth.credentials import Network, client_address, extract_api_key
from coincast_gateway.auth.rate_limit import Limiter, limit_headers
from coincast_gateway.auth.usage import UNMETERED_PATH, UsageRecorder
from coincast_gateway.errors.problems import (
    FORBIDDEN,
    UNAUTHORIZED,
    UNAVAILABLE,
    UNSUPPORTED,
    Problem,
    ProblemException,
)

log = get_logger("coincast.gateway")
REFRESH_SECONDS = 2.0
AccessScope = Literal["none", "read", "train", "admin"]
# In the scope of a request: the result of its authentication.
AUTH = "coincast.auth"
JSON = "application/json"
# Methods whose requests need no Content-Type.
WITHOUT_CHECK = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


@dataclass(frozen=True, slots=True)
class Policy:
    """The access settings. A limit of 0 means no limit."""

    # The scopes of a caller without a key.
    anonymous: frozenset[str]
    # Whether reading needs a key.
    keys_required: bool
    key_per_minute: int
    address_per_minute: int
    trusted_proxies: tuple[Network, ...] = ()
    # How long the cached keys are valid while Redis does not answer. After it all keys are refused.
    keys_good_seconds: float = 60.0
    # The token of GATEWAY_ADMIN_TOKEN; empty if there is none.
    admin_token: str = ""


@dataclass(frozen=True, slots=True)
class AuthResult:
    """The result of authentication and rate limiting."""

    # The name of the caller's key, or `anonymous`.
    caller: str
    scopes: frozenset[str]
    # The rate limit headers of the response.
    headers: Headers
    # Above 0, the request is answered with 429 and this Retry-After.
    wait_seconds: float = 0.0
    # Whether the request has an unknown key, which the error message then says.
    invalid_key: bool = False
    # Whether keys cannot be checked at present.
    keys_unavailable: bool = False
    # Why the caller must wait; empty for the limit of requests a minute.
    wait_reason: str = ""
    # Calls that the key may make in a calendar month; 0 means no limit.
    month_limit: int = 0


OPEN = AuthResult("anonymous", SCOPE_GRANTS["admin"], [])


class Authenticator:
    """Authenticates requests and applies the rate limits; one per process.

    Args:
        policy: The access settings.
        limiter: The rate limiter of keys and addresses.
        ring: The cached keys.
        clock: Its monotonic time dates the cached keys and the rate limit headers.
        usage: The calls of each key, for monthly limits.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        limiter: Limiter,
        ring: ApiKeyCache,
        clock: Clock,
        usage: UsageRecorder | None = None,
    ) -> None:
        self._policy = policy
        self._limiter = limiter
        self._ring = ring
        self._clock = clock
        self._usage = usage or UsageRecorder(None, clock)
        self._admin_digest = digest_of(policy.admin_token) if policy.admin_token else ""
        self._wide_open = policy.anonymous == SCOPE_GRANTS["admin"] and not policy.address_per_minute

    def try_local(self, scope: Scope) -> AuthResult | None:
        """Authenticate without a call to Redis.

        Returns:
            None if the rate limit needs a call to Redis; then use `authenticate`.
        """
        if self._wide_open and not self._ring.records:
            return OPEN
        record, invalid_key, keys_unavailable = self._identify(scope)
        subject, limit = self._subject(scope, record)
        if limit:
            lease = self._limiter.try_acquire(subject)
            if lease is None:
                return None
            headers = limit_headers(lease, limit, self._clock.monotonic())
            return self._result(
                scope, record, headers, invalid_key=invalid_key, keys_unavailable=keys_unavailable
            )
        return self._result(scope, record, [], invalid_key=invalid_key, keys_unavailable=keys_unavailable)

    async def authenticate(self, scope: Scope) -> AuthResult:
        """Authenticate a request, with a call to Redis for its rate limit."""
        record, invalid_key, keys_unavailable = self._identify(scope)
        subject, limit = self._subject(scope, record)
        lease, wait = await self._limiter.acquire(subject, limit)
        headers = limit_headers(lease, limit, self._clock.monotonic())
        return self._result(
            scope, record, headers, wait=wait, invalid_key=invalid_key, keys_unavailable=keys_unavailable
        )

    def _result(
        self,
        scope: Scope,
        record: KeyRecord | None,
        headers: Headers,
        *,
        invalid_key: bool,
        keys_unavailable: bool,
        wait: float = 0.0,
    ) -> AuthResult:
        if record is not None:
            reason = ""
            limited = record.per_month and scope["path"] != UNMETERED_PATH
            if limited and self._usage.month_calls(record.name) >= record.per_month:
                wait = self._usage.seconds_to_next_month()
                reason = (
                    f"The key {record.name!r} has used up its {record.per_month} calls of this calendar "
                    "month; the next one begins at midnight UTC on the first. GET /usage shows its calls."
                )
            return AuthResult(
                record.name,
                record.scopes,
                headers,
                wait_seconds=wait,
                wait_reason=reason,
                month_limit=record.per_month,
            )
        return AuthResult(
            caller="anonymous",
            scopes=self._policy.anonymous,
            headers=headers,
            wait_seconds=wait,
            invalid_key=invalid_key,
            keys_unavailable=keys_unavailable,
        )

    def _identify(self, scope: Scope) -> tuple[KeyRecord | None, bool, bool]:
        """Return (the key's record, whether the key is invalid, whether keys cannot be checked)."""
        key = extract_api_key(scope)
        if not key:
            return None, False, False
        if self._admin_digest and hmac.compare_digest(digest_of(key), self._admin_digest):
            return KeyRecord("admin-token", self._admin_digest, SCOPE_GRANTS["admin"], 0.0), False, False
        fresh = self._ring.refreshed_at
        if fresh is None or self._clock.monotonic() - fresh > self._policy.keys_good_seconds:
            return None, False, True
        record = self._ring.find(key)
        return record, record is None, False

    def _subject(self, scope: Scope, record: KeyRecord | None) -> tuple[str, int]:
        """Return the subject of the rate limit, and its requests a minute (0: no limit)."""
        if record is not None:
            return f"key:{record.digest[:32]}", record.per_minute or self._policy.key_per_minute
        limit = self._policy.address_per_minute
        return (f"address:{client_address(scope, self._policy.trusted_proxies)}" if limit else ""), limit


async def refresh_keys(ring: ApiKeyCache, store: KeyStore, clock: Clock) -> None:
    """Load the keys of the store into the cache.

    Raises:
        Unavailable: The keys cannot be read.
    """
    try:
        ring.replace(await store.all(), clock.monotonic())
    except (RedisError, OSError) as error:
        raise Unavailable("The API keys cannot be read: Redis does not answer.") from error


async def refresh_forever(ring: ApiKeyCache, store: KeyStore, clock: Clock) -> None:
    """Load the keys every two seconds, so that a revoked key is soon refused; run until cancelled."""
    failing = False
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        try:
            await refresh_keys(ring, store, clock)
        except Unavailable as error:
            if not failing:
                log.warning("keys_not_refreshed", reason=error.message)
            failing = True
        else:
            failing = False


def auth_result(scope: Scope) -> AuthResult:
    """Return the authentication result of a request; without an authenticator, one with all scopes."""
    found: AuthResult = scope.get(AUTH, OPEN)
    return found


class requires:  # noqa: N801 - reads as a verb where it is declared
    """A dependency that only admits callers with a scope: `dependencies=[Depends(requires("admin"))]`.

    Args:
        scope: The required scope; `admin` includes `train`, and `train` includes `read`.
    """

    def __init__(self, scope: AccessScope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> AuthResult:
        """Return the authentication result of the caller.

        Raises:
            ProblemException: 401 without a valid key, 403 if the key lacks the scope, 503 while keys
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
    """Return the scope that the dependencies of a route require: the highest if there are several."""
    order: list[AccessScope] = ["none", "read", "train", "admin"]
    scopes = [each.call.scope for each in route.dependant.dependencies if isinstance(each.call, requires)]
    return max(scopes, key=order.index, default="none")


async def require_json(request: Request) -> None:
    """Reject requests that change something, have no API key and are not JSON.

    It is a dependency of the whole application, against cross-site request forgery: a browser sends a form of
    another site without a CORS preflight, but never as JSON. DELETE always needs a preflight.

    Raises:
        ProblemException: 415 if the Content-Type is not JSON or is missing, also with an empty body.
    """
    caller = auth_result(request.scope)
    if request.method in WITHOUT_CHECK or caller.caller != "anonymous" or "train" not in caller.scopes:
        return
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        detail = f"Send Content-Type: {JSON}, also with an empty body."
        raise ProblemException(Problem(UNSUPPORTED, detail, field="Content-Type", allowed=JSON))


async def caller_name(request: Request) -> str:
    """Return the name of the caller's API key, or `anonymous`, for the audit log."""
    return auth_result(request.scope).caller


Caller = Annotated[str, Depends(caller_name)]
