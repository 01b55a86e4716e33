"""The gate that every request passes: who asks, what they may, and whether they asked too often."""

import asyncio
from dataclasses import dataclass

from redis.exceptions import RedisError

from coincast_chassis.clock import Clock
from coincast_chassis.errors import Unavailable
from coincast_chassis.observability.logs import get_logger
from coincast_gateway.access.callers import Network, address_of, shown_key
from coincast_gateway.access.keys import GRANTS, KeyRecord, KeyRing, KeyStore
from coincast_gateway.access.limits import Limiter, limit_headers
from coincast_gateway.serving.asgi import Headers, Scope

log = get_logger("coincast.gateway")
REFRESH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about access. A limit of 0 is none."""

    anonymous: frozenset[str]
    keys_wanted: bool
    key_per_minute: int
    address_per_minute: int
    trusted_proxies: tuple[Network, ...] = ()
    # For how long the last known keys still count while Redis does not answer; then nobody gets in.
    keys_good_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Admission:
    """Who asks and what they may; `wait_seconds` above 0 where they must wait first."""

    caller: str
    scopes: frozenset[str]
    headers: Headers
    wait_seconds: float = 0.0
    # A key was shown that is not known: for the answer's words.
    bad_key: bool = False
    # Keys cannot be checked at present.
    blind: bool = False


OPEN = Admission("anonymous", GRANTS["admin"], [])


class Gate:
    """One per process."""

    def __init__(self, policy: Policy, *, limiter: Limiter, ring: KeyRing, clock: Clock) -> None:
        self._policy = policy
        self._limiter = limiter
        self._ring = ring
        self._clock = clock
        self._wide_open = policy.anonymous == GRANTS["admin"] and not policy.address_per_minute

    def quick(self, scope: Scope) -> Admission | None:
        """The admission, where it takes no question to Redis; else None: then `admit`."""
        if self._wide_open and not len(self._ring):
            return OPEN
        record, bad_key, blind = self._identify(scope)
        subject, limit = self._subject(scope, record)
        if limit:
            purse = self._limiter.spend(subject)
            if purse is None:
                return None
            headers = limit_headers(purse, limit, self._clock.monotonic())
            return self._admission(record, headers, bad_key=bad_key, blind=blind)
        return self._admission(record, [], bad_key=bad_key, blind=blind)

    async def admit(self, scope: Scope) -> Admission:
        """As `quick`, with a question to Redis."""
        record, bad_key, blind = self._identify(scope)
        subject, limit = self._subject(scope, record)
        purse, wait = await self._limiter.ask(subject, limit)
        headers = limit_headers(purse, limit, self._clock.monotonic())
        return self._admission(record, headers, wait=wait, bad_key=bad_key, blind=blind)

    def _admission(
        self, record: KeyRecord | None, headers: Headers, *, bad_key: bool, blind: bool, wait: float = 0.0
    ) -> Admission:
        if record is not None:
            return Admission(record.name, record.scopes, headers, wait)
        return Admission("anonymous", self._policy.anonymous, headers, wait, bad_key, blind)

    def _identify(self, scope: Scope) -> tuple[KeyRecord | None, bool, bool]:
        """(the key's record, whether a key was shown that is not known, whether keys cannot be checked)."""
        key = shown_key(scope)
        if not key:
            return None, False, False
        fresh = self._ring.refreshed_at
        if fresh is None or self._clock.monotonic() - fresh > self._policy.keys_good_seconds:
            return None, False, True
        record = self._ring.find(key)
        return record, record is None, False

    def _subject(self, scope: Scope, record: KeyRecord | None) -> tuple[str, int]:
        if record is not None:
            return f"key:{record.digest[:32]}", record.per_minute or self._policy.key_per_minute
        limit = self._policy.address_per_minute
        return (f"address:{address_of(scope, self._policy.trusted_proxies)}" if limit else ""), limit


async def refreshed(ring: KeyRing, store: KeyStore, clock: Clock) -> None:
    """Load the keys once. Raises Unavailable where they cannot be read."""
    try:
        ring.replace(await store.all(), clock.monotonic())
    except (RedisError, OSError) as error:
        raise Unavailable("The API keys cannot be read: Redis does not answer.") from error


async def refresh_forever(ring: KeyRing, store: KeyStore, clock: Clock) -> None:
    """Keep the ring as the store is; a revoked key is refused within a few seconds."""
    failing = False
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        try:
            await refreshed(ring, store, clock)
        except Unavailable as error:
            if not failing:
                log.warning("keys are not refreshed for now", reason=error.message)
            failing = True
        else:
            failing = False
