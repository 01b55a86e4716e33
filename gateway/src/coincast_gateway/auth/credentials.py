"""Extract the API key and client address from an ASGI scope."""

from __future__ import annotations

import ipaddress
from urllib.parse import parse_qs

from coincast_gateway.asgi_types import Scope
from coincast_gateway.coingecko_compat.routes import KEY_PARAMETERS

MAX_KEY_CHARACTERS = 200
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HEADERS = frozenset({b"x-api-key", b"authorization", b"x-cg-demo-api-key", b"x-cg-pro-api-key"})


def extract_api_key(scope: Scope) -> str:
    """Return the API key of a request, or an empty string.

    CoinGecko's header and parameter names are accepted too. A key is cut to one character more than the
    longest valid one, so that a longer one stays invalid.
    """
    for name, value in scope["headers"]:
        if name in _HEADERS:
            text = bytes(value).decode("latin-1")
            if name == b"authorization":
                kind, _, text = text.partition(" ")
                if kind.lower() != "bearer":
                    continue
            return text.strip()[: MAX_KEY_CHARACTERS + 1]
    query = bytes(scope["query_string"])
    if b"api_key" in query:
        found = parse_qs(query.decode("latin-1"), max_num_fields=100)
        for parameter in KEY_PARAMETERS:
            if parameter in found:
                return found[parameter][-1][: MAX_KEY_CHARACTERS + 1]
    return ""


def client_address(scope: Scope, trusted: tuple[Network, ...]) -> str:
    """Return the client's IPv4 address, or the /64 network of its IPv6 address.

    Args:
        scope: The request.
        trusted: Networks of proxies whose X-Forwarded-For header is trusted.
    """
    client = scope.get("client")
    peer = client[0] if client else ""
    if trusted and _trusted(peer, trusted):
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            if hop.strip() and not _trusted(hop.strip(), trusted):
                peer = hop.strip()
                break
    return client_network(peer)


def client_network(address: str) -> str:
    """Return an IPv4 address as it is, and the /64 network of an IPv6 address, which one client often owns.

    Anything else is `unknown`.
    """
    parsed = parse_address(address)
    if parsed is None:
        return "unknown"
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an IP address as forwarding headers write it, with a port or in brackets; None if it is not one.

    An IPv4-mapped IPv6 address is returned as the IPv4 address, since both mean the same client.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in trusted)
