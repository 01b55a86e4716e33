"""Check requests before routing: the Host header, and that no page of another site uses an open gateway.

An open gateway on loopback trusts everyone who can reach it. A web page in the same person's browser can: by
a form or a script of a foreign site, or by a name that is made to resolve to 127.0.0.1 (DNS rebinding). So
without an API key the Host must be a name of this machine, and requests that change something must not
come from another site; `require_json` of auth/authenticator.py wants them to be JSON.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from coincast_gateway.asgi_types import Scope, first_headers, header
from coincast_gateway.auth.authenticator import AuthResult
from coincast_gateway.errors.problems import FORBIDDEN, REFUSED, Problem

HTTP_VERSIONS = frozenset({"1.0", "1.1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class RequestChecks:
    """Checks of requests without an API key.

    Args:
        open_loopback: Whether the gateway lets everyone who reaches it change things: it listens on loopback
            and needs no keys.
        allowed_hosts: Further names in the Host header, beside those of loopback.
        allowed_origins: Origins whose pages may call; `*` for all.
    """

    open_loopback: bool
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()

    def check(self, scope: Scope, auth: AuthResult) -> Problem | None:
        """Return the problem of a request that must not go on, or None."""
        if scope["http_version"] not in HTTP_VERSIONS:
            detail = f"HTTP/{scope['http_version'][:10]} is not spoken here."
            return Problem(REFUSED, detail, field="HTTP version", allowed="HTTP/1.1")
        host_header = first_headers(scope).get(b"host")
        missing = host_header is None and scope["http_version"] == "1.1"
        if missing or (len(first_headers(scope)) < len(scope["headers"]) and has_two_hosts(scope)):
            # RFC 9112, 3.2: a server answers 400 to a missing or repeated Host.
            return Problem(REFUSED, "Send exactly one Host header.", field="Host", allowed="one Host header")
        if not self.open_loopback or auth.caller != "anonymous":
            return None
        host = "localhost" if host_header is None else host_name(host_header)
        if not (is_loopback_name(host) or host in self.allowed_hosts):
            detail = f"This gateway answers on this machine, not as {host[:100]!r}."
            allowed = "a loopback name, or a name in GATEWAY_ALLOWED_HOSTS"
            return Problem(FORBIDDEN, detail, field="Host", allowed=allowed)
        return None if scope["method"] in SAFE_METHODS else self._check_change(scope, host_header or b"")

    def _check_change(self, scope: Scope, host: bytes) -> Problem | None:
        """Return the problem of a request that would change something for a page of another site."""
        origin = header(scope, b"origin").decode("latin-1").lower()
        if origin and not self._is_own_origin(origin, host):
            detail = "Pages of other origins may not change anything here without an API key."
            return Problem(FORBIDDEN, detail, field="Origin", allowed="this origin, or GATEWAY_CORS_ORIGINS")
        if header(scope, b"sec-fetch-site") == b"cross-site" and not self.allowed_origins:
            detail = "Pages of other sites may not change anything here without an API key."
            return Problem(FORBIDDEN, detail, field="Sec-Fetch-Site", allowed="same-origin")
        return None

    def _is_own_origin(self, origin: str, host: bytes) -> bool:
        if "*" in self.allowed_origins or origin in self.allowed_origins:
            return True
        return origin.partition("://")[2] == host.decode("latin-1").lower()


def has_two_hosts(scope: Scope) -> bool:
    """Return whether a request has more than one Host header."""
    return len([name for name, _ in scope["headers"] if name == b"host"]) > 1


@lru_cache(maxsize=64)
def host_name(host: bytes) -> str:
    """Return the name in a Host header: in lower case, without its port and the brackets of IPv6."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


@lru_cache(maxsize=64)
def is_loopback_name(host: str) -> bool:
    """Return whether a name can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
