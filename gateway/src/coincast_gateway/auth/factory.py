"""Build the authenticator; fail startup if the API would be exposed unintentionally."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import AsyncExitStack

import redis.asyncio

from coincast_chassis.clock import Clock
from coincast_chassis.errors import InvalidInput, Unavailable
from coincast_gateway.auth.api_keys import SCOPE_GRANTS, ApiKeyCache, KeyStore
from coincast_gateway.auth.authenticator import Authenticator, Policy, refresh_forever, refreshed
from coincast_gateway.auth.rate_limit import Limiter
from coincast_gateway.auth.usage import UsageRecorder
from coincast_gateway.edge.middleware import RequestChecks
from coincast_gateway.settings import Settings

# Redis may be starting too: the number of attempts and the pause between them before the start fails.
FIRST_TRIES = 10
FIRST_PAUSE_SECONDS = 0.5
HOW = "make one with: python -m coincast_gateway.cli.keys create NAME --scope read"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def access_policy(settings: Settings) -> Policy:
    """Open on loopback; elsewhere keys are wanted, or at the least for anything but reading."""
    local = is_loopback(settings.host) and not settings.require_keys
    anonymous: frozenset[str] = frozenset()
    if local:
        # With an administrator's token, reaching the port makes no caller an administrator.
        anonymous = SCOPE_GRANTS["train" if settings.admin_token.get_secret_value() else "admin"]
    elif settings.allow_open and not settings.require_keys:
        anonymous = SCOPE_GRANTS["read"]
    per_address = settings.address_per_minute
    if per_address is None:
        per_address = 0 if local else 300
    return Policy(
        anonymous=anonymous,
        keys_wanted="read" not in anonymous,
        key_per_minute=settings.key_per_minute,
        address_per_minute=per_address,
        trusted_proxies=networks(settings.trusted_proxies),
        admin_token=settings.admin_token.get_secret_value(),
    )


def request_checks(settings: Settings) -> RequestChecks:
    """Return the checks of requests without a key, as the settings want them."""
    return RequestChecks(
        open_loopback=is_loopback(settings.host) and not settings.require_keys,
        allowed_hosts=frozenset(names(settings.allowed_hosts)),
        allowed_origins=frozenset(names(settings.cors_origins)),
    )


def names(text: str) -> list[str]:
    """Return the names of a list with commas, in lower case."""
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
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
    """Return the authenticator, with its keys refreshed in the background until the stack closes.

    Raises:
        Unavailable: Keys are needed and there are none.
    """
    policy = access_policy(settings)
    if client is not None:
        await _load(ring, KeyStore(client), policy, clock=clock, stack=stack)
    if policy.keys_wanted and not len(ring):
        raise Unavailable(
            f"Listening on {settings.host} needs API keys, and there are none: {HOW}, "
            "or set GATEWAY_ALLOW_OPEN=true to let everyone read."
        )
    limiter = Limiter(client, clock, workers=settings.workers)
    if client is not None:
        task = asyncio.create_task(limiter.watch())
        stack.callback(task.cancel)
    return Authenticator(policy, limiter=limiter, ring=ring, clock=clock, usage=usage)


async def _load(
    ring: ApiKeyCache, store: KeyStore, policy: Policy, *, clock: Clock, stack: AsyncExitStack
) -> None:
    for left in reversed(range(FIRST_TRIES)):
        try:
            await refreshed(ring, store, clock)
            break
        except Unavailable:
            if not policy.keys_wanted:
                break
            if not left:
                raise
            await asyncio.sleep(FIRST_PAUSE_SECONDS)
    refreshing = asyncio.create_task(refresh_forever(ring, store, clock))

    async def stop() -> None:
        refreshing.cancel()
        await asyncio.wait({refreshing})

    stack.push_async_callback(stop)
