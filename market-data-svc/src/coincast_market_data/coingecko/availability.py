"""Availability of CoinGecko: whether it answers, why not, and the fix.

Every call reports its outcome here. A refusal that asking again cannot heal (a wrong key, used-up credits) is
held: until an hour has passed, or the service starts with other settings, callers get the same error without
another call.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Timeout, Unavailable

HOLD_SECONDS = 3600.0


class Cause(StrEnum):
    """Why CoinGecko cannot be had; the values are those of the contract."""

    NO_ROUTE = "no_route"
    DNS = "dns"
    TLS = "tls"
    TIMEOUT = "timeout"
    NOT_COINGECKO = "not_coingecko"
    FORBIDDEN = "forbidden"
    MISSING_KEY = "missing_key"
    INVALID_KEY = "invalid_key"
    WRONG_HOST = "wrong_host"
    PLAN_TOO_LOW = "plan_too_low"
    CREDITS_USED_UP = "credits_used_up"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"


# What asking again cannot heal. A certificate or a login page can change without a change of settings here.
PERMANENT = frozenset(
    {
        Cause.FORBIDDEN,
        Cause.MISSING_KEY,
        Cause.INVALID_KEY,
        Cause.WRONG_HOST,
        Cause.PLAN_TOO_LOW,
        Cause.CREDITS_USED_UP,
    }
)
# Worth another attempt within the same request.
TRANSIENT = frozenset({Cause.NO_ROUTE, Cause.TIMEOUT, Cause.SERVER_ERROR})
REMEDIES = {
    Cause.NO_ROUTE: "Check the network, the firewall and MARKET_UPSTREAM_URL.",
    Cause.DNS: "Check the name server, and the host in MARKET_UPSTREAM_URL.",
    Cause.TLS: "Check the machine's clock, and MARKET_UPSTREAM_CA_FILE if a proxy opens TLS connections.",
    Cause.TIMEOUT: "Check the network; raise MARKET_CALL_DEADLINE_SECONDS on a slow line.",
    Cause.NOT_COINGECKO: "Check MARKET_UPSTREAM_URL, and whether the network asks for a login.",
    Cause.FORBIDDEN: "CoinGecko's protection blocks this address: use a free demo key, or another network.",
    Cause.MISSING_KEY: "Set MARKET_API_KEY to the key and MARKET_PLAN to the plan it belongs to.",
    Cause.INVALID_KEY: "Check MARKET_API_KEY: it may be mistyped, revoked or expired.",
    Cause.WRONG_HOST: "Set MARKET_PLAN to the plan of the key, or to auto to find it.",
    Cause.PLAN_TOO_LOW: "Choose a plan that includes this at CoinGecko, and set MARKET_PLAN.",
    Cause.CREDITS_USED_UP: "Wait for the next month, or raise the plan at CoinGecko.",
    Cause.RATE_LIMITED: "Wait; a key or a higher plan allows more calls a minute.",
    Cause.SERVER_ERROR: "Wait; status.coingecko.com shows whether CoinGecko has a fault.",
}


class UpstreamFailure(Unavailable):
    """CoinGecko cannot be had, with the cause and its remedy."""

    def __init__(self, cause: Cause, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{message} {REMEDIES[cause]}", retry_after_seconds=retry_after_seconds)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """The state for the status report; `since` in UNIX seconds."""

    available: bool
    tried: bool
    cause: Cause | None = None
    sentence: str = ""
    since: float = 0.0
    permanent: bool = False
    retry_after_seconds: float | None = None


class UpstreamAvailability:
    """Remembers the last outcome of calls, and holds refusals that cannot heal."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tried = False
        self._cause: Cause | None = None
        self._error: CoincastError | None = None
        self._since = clock.now()
        self._retry_at = 0.0

    def check(self) -> None:
        """Raise the held refusal, if there is one."""
        error, cause = self._error, self._cause
        if error is None or cause not in PERMANENT:
            return
        left = self._retry_at - self._clock.monotonic()
        if left > 0:
            raise _copy(error, cause, left)

    def failure(self) -> CoincastError | None:
        """Return the error that explains why CoinGecko cannot be had now; None where it can."""
        if self._error is None or self._cause in (None, Cause.RATE_LIMITED):
            return None
        return _copy(self._error, self._cause, max(1.0, self._retry_at - self._clock.monotonic()))

    def record_success(self) -> None:
        """Note that CoinGecko answered."""
        if not self._tried or self._cause is not None:
            self._since = self._clock.now()
        self._tried, self._cause, self._error = True, None, None

    def record_failure(self, error: CoincastError) -> None:
        """Note a failed call; an answer such as 'no such coin' shows that CoinGecko can be had."""
        cause = cause_of(error)
        if cause is None:
            if isinstance(error, NotFound | InvalidInput):
                self.record_success()
            return
        if not self._tried or self._cause is not cause:
            self._since = self._clock.now()
        hold = HOLD_SECONDS if cause in PERMANENT else error.retry_after_seconds or 5.0
        self._tried, self._cause, self._error = True, cause, error
        self._retry_at = self._clock.monotonic() + hold

    def state(self) -> UpstreamState:
        """Return the state for the status report."""
        if self._error is None or self._cause is None:
            return UpstreamState(available=self._tried, tried=self._tried, since=self._since)
        left = max(0.0, self._retry_at - self._clock.monotonic())
        return UpstreamState(
            available=self._cause is Cause.RATE_LIMITED,
            tried=True,
            cause=self._cause,
            sentence=self._error.message,
            since=self._since,
            permanent=self._cause in PERMANENT,
            retry_after_seconds=left,
        )


def cause_of(error: CoincastError) -> Cause | None:
    """Return why CoinGecko cannot be had; None for an error that says nothing about that."""
    if isinstance(error, UpstreamFailure):
        return error.cause
    if isinstance(error, Timeout):
        return Cause.TIMEOUT
    return Cause.RATE_LIMITED if isinstance(error, Exhausted) else None


def cause_of_exception(error: BaseException) -> Cause:
    """Return the cause of a failed connection from the chain of exceptions below it."""
    for inner in _chain(error):
        if isinstance(inner, socket.gaierror):
            return Cause.DNS
        if isinstance(inner, ssl.SSLError | ssl.CertificateError):
            return Cause.TLS
    text = str(error).lower()
    if any(words in text for words in ("name or service", "name resolution", "getaddrinfo", "nodename")):
        return Cause.DNS
    return Cause.TLS if any(words in text for words in ("certificate", "ssl", "tls")) else Cause.NO_ROUTE


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _copy(error: CoincastError, cause: Cause, retry_after_seconds: float) -> CoincastError:
    """Return the error with the time that is left; the original is raised for many callers."""
    again = UpstreamFailure(cause, "")
    again.args, again.message = (error.message,), error.message
    again.retry_after_seconds = retry_after_seconds
    # CoinGecko's own reply, which the mirror passes on.
    again.__cause__ = error.__cause__
    return again
