"""Build the authenticator; fail startup if the API would be exposed unintentionally."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import AsyncExitStack

import redis.asyncio

from coincast_chassis.clock import Clock
from coincast_chassis.errors import InvalidInput, Unavailable
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_gateway.auth.api_keys import SCOPE_GRANTS, ApiKeyCache, KeyStore
from coincast_gateway.auth.authenticator import Authenticator, Policy, refresh_forever, refresh_keys
from coincast_gateway.auth.rate_limit import Limiter
from coincast_gateway.auth.usage import UsageRecorder
from coincast_gateway.edge.middleware import RequestChecks
from coincast_gateway.settings import Settings

# Redis may still be starting: the attempts to read the keys before the start fails, and the pause between
# them.
LOAD_ATTEMPTS = 10
LOAD_PAUSE_SECONDS = 0.5
CREATE_KEY_COMMAND = "python -m coincast_gateway.cli.keys create NAME --scope read"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def access_policy(settings: Settings) -> Policy:
    """Return the access policy of the settings.

    On loopback a caller without a key has all scopes (without `admin` if there is an admin token). Elsewhere
    it has none, or only `read` if the settings allow it.
    """
    local = is_loopback(settings.host) and not settings.require_keys
    anonymous: frozenset[str] = frozenset()
    if local:
        # With an admin token, a caller who can reach the port is not an administrator without it.
        anonymous = SCOPE_GRANTS["train" if settings.admin_token.get_secret_value() else "admin"]
    elif settings.allow_open and not settings.require_keys:
        anonymous = SCOPE_GRANTS["read"]
    per_address = settings.address_per_minute
    if per_address is None:
        per_address = 0 if local else 300
    return Policy(
        anonymous=anonymous,
        keys_required="read" not in anonymous,
        key_per_minute=settings.key_per_minute,
        address_per_minute=per_address,
        trusted_proxies=parse_networks(settings.trusted_proxies),
        admin_token=settings.admin_token.get_secret_value(),
    )


def request_checks(settings: Settings) -> RequestChecks:
    """Return the checks of requests without a key that the settings require."""
    return RequestChecks(
        open_loopback=is_loopback(settings.host) and not settings.require_keys,
        allowed_hosts=frozenset(split_names(settings.allowed_hosts)),
        allowed_origins=frozenset(split_names(settings.cors_origins)),
    )


def split_names(text: str) -> list[str]:
    """Return the names in a text that separates them by commas, in lower case."""
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def parse_networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Parse a list of networks separated by commas.

    Raises:
        InvalidInput: An entry is not a network.
    """
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InvalidInput(f"Setting GATEWAY_TRUSTED_PROXIES: {error}.") from error


async def build_authenticator(
    settings: Settings,
    client: redis.asyncio.Redis | None,
    clock: Clock,
    *,
    stack: AsyncExitStack,
    usage: UsageRecorder,
    ring: ApiKeyCache,
) -> Authenticator:
    """Build the authenticator, and refresh its keys in the background until the stack closes.

    Args:
        settings: The settings of the gateway.
        client: Redis with the keys and the rate limits; None means no keys and limits per process.
        clock: The clock of keys and limits.
        stack: Receives the clean-up of the background tasks.
        usage: The calls of each key, for monthly limits.
        ring: Receives the keys of the store.

    Raises:
        Unavailable: Keys are required, and there are none or they cannot be read.
        InvalidInput: GATEWAY_TRUSTED_PROXIES has an entry that is not a network.
    """
    policy = access_policy(settings)
    if client is not None:
        await _load(ring, KeyStore(client), policy, clock=clock, stack=stack)
    if policy.keys_required and not len(ring):
        raise Unavailable(
            f"Listening on {settings.host} needs API keys, and there are none: make one with: "
            f"{CREATE_KEY_COMMAND}, or set GATEWAY_ALLOW_OPEN=true to let everyone read."
        )
    limiter = Limiter(client, clock, workers=settings.workers)
    if client is not None:
        task = asyncio.create_task(limiter.watch())
        stack.callback(task.cancel)
    return Authenticator(policy, limiter=limiter, ring=ring, clock=clock, usage=usage)


async def _load(
    ring: ApiKeyCache, store: KeyStore, policy: Policy, *, clock: Clock, stack: AsyncExitStack
) -> None:
    for left in reversed(range(LOAD_ATTEMPTS)):
        try:
            await refresh_keys(ring, store, clock)
            break
        except Unavailable:
            if not policy.keys_required:
                break
            if not left:
                raise
            await asyncio.sleep(LOAD_PAUSE_SECONDS)
    refreshing = asyncio.create_task(refresh_forever(ring, store, clock))

    async def stop() -> None:
        await cancel_and_wait({refreshing})

    stack.push_async_callback(stop)
