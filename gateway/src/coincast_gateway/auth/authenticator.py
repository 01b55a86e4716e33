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
from coincast_gateway.auth.usage import UsageRecorder
from coincast_gateway.errors.problems import FORBIDDEN, UNAUTHORIZED, UNAVAILABLE, UNSUPPORTED, Problem
from coincast_gateway.errors.validation import ProblemException

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

    anonymous: frozenset[str]
    keys_wanted: bool
    key_per_minute: int
    address_per_minute: int
    trusted_proxies: tuple[Network, ...] = ()
    # How long the last known keys are valid while Redis does not answer; then all keys are refused.
    keys_good_seconds: float = 60.0
    # The administrator's token of a gateway without keys; empty where there is none.
    admin_token: str = ""


@dataclass(frozen=True, slots=True)
class AuthResult:
    """The result of authentication; `wait_seconds` above 0 where the caller must wait first."""

    caller: str
    scopes: frozenset[str]
    headers: Headers
    wait_seconds: float = 0.0
    # The request has an unknown key; the error message says so.
    invalid_key: bool = False
    # Keys cannot be checked at present.
    keys_unavailable: bool = False
    # Why they must wait, where it is not the limit of requests a minute.
    wait_reason: str = ""
    # Calls that the key may make in a month; 0 is no limit.
    month_limit: int = 0


OPEN = AuthResult("anonymous", SCOPE_GRANTS["admin"], [])


class Authenticator:
    """Authenticates requests and applies the rate limits; one per process."""

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
        """Authenticate without a call to Redis; return None where one is needed: then use `authenticate`."""
        if self._wide_open and not self._ring.records:
            return OPEN
        record, invalid_key, keys_unavailable = self._identify(scope)
        subject, limit = self._subject(scope, record)
        if limit:
            lease = self._limiter.try_acquire(subject)
            if lease is None:
                return None
            headers = limit_headers(lease, limit, self._clock.monotonic())
            return self._admission(
                record, headers, invalid_key=invalid_key, keys_unavailable=keys_unavailable
            )
        return self._admission(record, [], invalid_key=invalid_key, keys_unavailable=keys_unavailable)

    async def authenticate(self, scope: Scope) -> AuthResult:
        """Authenticate like `try_local`, with a call to Redis."""
        record, invalid_key, keys_unavailable = self._identify(scope)
        subject, limit = self._subject(scope, record)
        lease, wait = await self._limiter.acquire(subject, limit)
        headers = limit_headers(lease, limit, self._clock.monotonic())
        return self._admission(
            record, headers, wait=wait, invalid_key=invalid_key, keys_unavailable=keys_unavailable
        )

    def _admission(
        self,
        record: KeyRecord | None,
        headers: Headers,
        *,
        invalid_key: bool,
        keys_unavailable: bool,
        wait: float = 0.0,
    ) -> AuthResult:
        if record is not None:
            reason = ""
            if record.per_month and self._usage.month_calls(record.name) >= record.per_month:
                wait = self._usage.seconds_to_next_month()
                reason = (
                    f"The key {record.name!r} has used up its {record.per_month} calls of this calendar "
                    "month; the next one begins at midnight UTC on the first."
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
        if record is not None:
            return f"key:{record.digest[:32]}", record.per_minute or self._policy.key_per_minute
        limit = self._policy.address_per_minute
        return (f"address:{client_address(scope, self._policy.trusted_proxies)}" if limit else ""), limit


async def refreshed(ring: ApiKeyCache, store: KeyStore, clock: Clock) -> None:
    """Load the keys once. Raises Unavailable where they cannot be read."""
    try:
        ring.replace(await store.all(), clock.monotonic())
    except (RedisError, OSError) as error:
        raise Unavailable("The API keys cannot be read: Redis does not answer.") from error


async def refresh_forever(ring: ApiKeyCache, store: KeyStore, clock: Clock) -> None:
    """Keep the ring as the store is; a revoked key is refused within a few seconds."""
    failing = False
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        try:
            await refreshed(ring, store, clock)
        except Unavailable as error:
            if not failing:
                log.warning("keys_not_refreshed", reason=error.message)
            failing = True
        else:
            failing = False


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
