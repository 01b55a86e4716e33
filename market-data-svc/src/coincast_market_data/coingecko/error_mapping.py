"""Why CoinGecko cannot be had: its error replies, in all six forms of body, as errors of the chassis' tree.

Every call reports its outcome to `UpstreamAvailability`. A refusal that asking again cannot heal (a wrong
key, used-up credits) is held: until an hour has passed, or the service starts with other settings, callers
get the same error without another call.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import orjson
from cachetools import TTLCache

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Timeout, Unavailable
from coincast_market_data.ports import UpstreamRequest

HOLD_SECONDS = 3600.0
MOST_HELD_REQUESTS = 1000


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
# Paths of every plan. A refusal of another path, while calls are answered, says something of that path alone.
EVERY_PLAN_PATHS = frozenset({"ping", "simple/price", "simple/supported_vs_currencies"})
OF_THE_PATH = PERMANENT - {Cause.CREDITS_USED_UP}
# Worth another attempt within the same request.
TRANSIENT = frozenset({Cause.NO_ROUTE, Cause.TIMEOUT, Cause.SERVER_ERROR})
REMEDIES = {
    Cause.NO_ROUTE: "Check the network, the firewall, MARKET_PROXY_URL and MARKET_UPSTREAM_URL.",
    Cause.DNS: "Check the name server, and the host in MARKET_UPSTREAM_URL.",
    Cause.TLS: "Check the machine's clock, and MARKET_UPSTREAM_CA_FILE if a proxy opens TLS connections.",
    Cause.TIMEOUT: "Check the network; raise MARKET_CALL_DEADLINE_SECONDS on a slow line.",
    Cause.NOT_COINGECKO: "Check MARKET_UPSTREAM_URL, and whether the network asks for a login.",
    Cause.FORBIDDEN: "CoinGecko's protection blocks this address: use a free demo key, or another network.",
    Cause.MISSING_KEY: "Set COINGECKO_API_KEY for make run, or MARKET_API_KEY with MARKET_PLAN=auto.",
    Cause.INVALID_KEY: "Check COINGECKO_API_KEY (MARKET_API_KEY): it may be mistyped, revoked or expired.",
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
        self._answered_at: float | None = None
        self._held_requests: TTLCache[UpstreamRequest, CoincastError] = TTLCache(
            MOST_HELD_REQUESTS, HOLD_SECONDS, timer=clock.monotonic
        )

    def check(self, request: UpstreamRequest | None = None) -> None:
        """Raise the held refusal, if there is one: of everything, or of this request alone."""
        held = None if request is None else self._held_requests.get(request)
        if held is not None:
            raise _again(held) from held.__cause__
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
        self._answered_at = self._clock.monotonic()

    def hold_known(self, document: str) -> bool:
        """Hold a refusal that was met before the start; return whether it is one that still counts.

        Args:
            document: JSON with `cause`, `sentence` and `at`, UNIX seconds.
        """
        try:
            known = orjson.loads(document)
            cause, left = Cause(known["cause"]), float(known["at"]) + HOLD_SECONDS - self._clock.now()
            sentence = str(known["sentence"])
        except (ValueError, KeyError, TypeError):
            return False
        if cause not in PERMANENT or not 0 < left <= HOLD_SECONDS + 60:
            return False
        error = UpstreamFailure(cause, "", retry_after_seconds=left)
        error.args, error.message = (sentence,), sentence
        self._tried, self._cause, self._error = True, cause, error
        self._since = self._clock.now()
        self._retry_at = self._clock.monotonic() + left
        return True

    def record_failure(self, error: CoincastError, request: UpstreamRequest | None = None) -> None:
        """Note a failed call; an answer such as 'no such coin' shows that CoinGecko can be had.

        Args:
            error: What the call failed with.
            request: The request; None for one that is about the key as such.
        """
        cause = cause_of(error)
        if request is not None and cause in OF_THE_PATH and self._refuses_one_path(request):
            self.hold_request(request, error)
            return
        if cause is None:
            if isinstance(error, NotFound | InvalidInput):
                self.record_success()
            return
        if not self._tried or self._cause is not cause:
            self._since = self._clock.now()
        hold = HOLD_SECONDS if cause in PERMANENT else error.retry_after_seconds or 5.0
        self._tried, self._cause, self._error = True, cause, error
        self._retry_at = self._clock.monotonic() + hold

    def hold_request(self, request: UpstreamRequest, error: CoincastError) -> None:
        """Hold the refusal of one request, which the plan does not include at all or not so far back."""
        self._held_requests[request] = error

    def forget_requests(self) -> None:
        """Forget the refusals of single requests: with another plan they may be answered."""
        self._held_requests.clear()

    def _refuses_one_path(self, request: UpstreamRequest) -> bool:
        """Return whether a refusal says something of its path alone, as other calls are answered."""
        if request.path in EVERY_PLAN_PATHS or self._answered_at is None or self._cause in PERMANENT:
            return False
        return self._clock.monotonic() - self._answered_at < HOLD_SECONDS

    def state(self) -> UpstreamState:
        """Return the state for the status report."""
        if self._error is None or self._cause is None:
            return UpstreamState(available=self._tried, tried=self._tried, since=self._since)
        left = max(0.0, self._retry_at - self._clock.monotonic())
        return UpstreamState(
            available=self._cause is Cause.RATE_LIMITED,
            tried=True,
            cause=self._cause,
            sentence=_sentence(self._error, self._cause),
            since=self._since,
            permanent=self._cause in PERMANENT,
            retry_after_seconds=left,
        )


def _sentence(error: CoincastError, cause: Cause) -> str:
    """Return the message with the remedy, which only an UpstreamFailure has in its message."""
    if isinstance(error, UpstreamFailure):
        return error.message
    return f"{error.message.rstrip('.')}. {REMEDIES[cause]}"


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


def _again(error: CoincastError) -> CoincastError:
    """Return an equal error: one that is raised for many callers would collect their tracebacks."""
    again = type(error).__new__(type(error))
    again.args = error.args
    again.__dict__.update(error.__dict__)
    return again


def _copy(error: CoincastError, cause: Cause, retry_after_seconds: float) -> CoincastError:
    """Return the error with the time that is left; the original is raised for many callers."""
    again = UpstreamFailure(cause, "")
    again.args, again.message = (error.message,), error.message
    again.retry_after_seconds = retry_after_seconds
    # CoinGecko's own reply, which the mirror passes on.
    again.__cause__ = error.__cause__
    return again


DEFAULT_RETRY_AFTER_SECONDS = 60.0
# Any value up to a month is obeyed; a larger one is a mistake, and the next reply will repeat it if not.
MAX_RETRY_AFTER_SECONDS = 31 * 86_400.0


def parse_retry_after(value: str | None, now: float) -> float:
    """Return seconds to wait from `now` (UNIX seconds, the upstream's clock). Absent or unreadable: 60."""
    if value is None or not value.strip():
        return DEFAULT_RETRY_AFTER_SECONDS
    seconds = _as_number(value)
    if seconds is None:
        seconds = _as_date(value, now)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return DEFAULT_RETRY_AFTER_SECONDS
    return min(seconds, MAX_RETRY_AFTER_SECONDS)


def _as_number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _as_date(value: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


PLAN_CODES = {10005, 10012}
KEY_CAUSES: dict[int | None, Cause] = {
    10002: Cause.MISSING_KEY,
    10010: Cause.WRONG_HOST,
    10011: Cause.WRONG_HOST,
}
# A refusal for the month, which no pause of a minute heals.
CREDITS = re.compile(r"month|credit", re.IGNORECASE)
CREDIT_STATUSES = (401, 402, 403, 429)
# CoinGecko says 10002 of a missing key, and also of one that it does not accept.
REFUSED_KEY = re.compile(r"invalid|incorrect|wrong|expired|revoked|disabled", re.IGNORECASE)
LONGEST_MESSAGE = 300


class BeyondPlanReach(InvalidInput):
    """The plan does not include the request: too far back, or an endpoint of a higher plan."""


class UnconfirmedData(Unavailable):
    """A figure was rejected as implausible, or is missing although one was known."""


class BadData(Unavailable):
    """The upstream answered with something that cannot be used."""


class ErrorReply(Exception):  # noqa: N818 - a carrier, not an error of the tree
    """CoinGecko's own error reply, attached as the cause of the error that it is mapped to.

    Args:
        status: HTTP status.
        body: The body where it is a JSON object; empty otherwise.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body if isinstance(_parse(body), dict) else b""


def error_reply_of(error: BaseException) -> ErrorReply | None:
    """Return CoinGecko's own reply behind an error, where there is one."""
    cause = error.__cause__
    return cause if isinstance(cause, ErrorReply) else None


def status_of_error_document(document: Any) -> int:
    """Return the HTTP status that an error object of a reply with status 200 stands for."""
    code = _code_of(document)
    if code is not None and 400 <= code < 600:
        return code
    return 401 if code in KEY_CAUSES or code in PLAN_CODES else 400


def error_from_reply(
    status: int, body: bytes, headers: Mapping[str, str], now: float, *, path: str = ""
) -> CoincastError:
    """Return the error for a reply that is an error, whatever its HTTP status.

    Args:
        status: The HTTP status; 200 where the error stands in the body alone.
        body: The decoded body.
        headers: The reply's headers.
        now: UNIX seconds on the upstream's clock, for a Retry-After that is a date.
        path: The path below /api/v3 that was refused.
    """
    code, message = read_body(body)
    quoted = message or f"HTTP {status}"
    limited = status == 429 or code == 429 or is_throttled(quoted)
    plan_or_key = code in PLAN_CODES or code in KEY_CAUSES
    of_credits = limited or (status in CREDIT_STATUSES and not plan_or_key)
    if of_credits and CREDITS.search(quoted):
        return UpstreamFailure(
            Cause.CREDITS_USED_UP, f"CoinGecko's credits of this month are used up: {_clause(quoted)}."
        )
    if limited:
        wait = parse_retry_after(headers.get("retry-after"), now)
        return Exhausted(f"CoinGecko's rate limit is reached: {quoted}", retry_after_seconds=wait)
    if code in KEY_CAUSES:
        cause = KEY_CAUSES[code]
        if cause is Cause.MISSING_KEY and REFUSED_KEY.search(quoted):
            cause = Cause.INVALID_KEY
        return UpstreamFailure(cause, f"CoinGecko refuses the key: {_clause(quoted)}.")
    if code in PLAN_CODES or status == 402:
        if path in EVERY_PLAN_PATHS:
            return UpstreamFailure(
                Cause.PLAN_TOO_LOW, f"CoinGecko's plan does not give {path}: {_clause(quoted)}."
            )
        return BeyondPlanReach(f"CoinGecko's plan does not give this: {quoted}")
    return _by_status(code if status == 200 and code else status, quoted)


def _by_status(status: int, quoted: str) -> CoincastError:
    if status == 404:
        return NotFound(f"CoinGecko knows no such thing: {quoted}")
    if status in (400, 414, 422):
        return InvalidInput(f"CoinGecko refuses the request: {quoted}")
    if status in (401, 403):
        cause = Cause.INVALID_KEY if status == 401 else Cause.FORBIDDEN
        return UpstreamFailure(cause, f"CoinGecko refuses access (HTTP {status}){_reason(quoted)}.")
    if 300 <= status < 400:
        return UpstreamFailure(
            Cause.NOT_COINGECKO,
            f"A redirect (HTTP {status}) came instead of an answer of CoinGecko's.",
            retry_after_seconds=30,
        )
    if status < 300:
        return BadData(f"CoinGecko answered with an error in place of data: {quoted}")
    return UpstreamFailure(
        Cause.SERVER_ERROR, f"CoinGecko fails with HTTP {status}{_reason(quoted)}.", retry_after_seconds=5
    )


def is_throttled(text: str) -> bool:
    """Return whether a text is CoinGecko's plain-text refusal of too many calls."""
    return text.strip().lower() == "throttled"


def _clause(quoted: str) -> str:
    """Return CoinGecko's words without their full stop, since the sentence around them has its own."""
    return quoted.strip().rstrip(".")


def _reason(quoted: str) -> str:
    """Return CoinGecko's words after a colon; nothing where it gave none beside the status."""
    return "" if re.fullmatch(r"HTTP \d+", quoted) else f": {_clause(quoted)}"


def error_in_document(document: Any) -> bool:
    """Return whether a document that came with HTTP 200 is an error: CoinGecko sends some that way."""
    if not isinstance(document, dict):
        return False
    if isinstance(document.get("error"), str):
        return True
    status = document.get("status")
    return any(
        isinstance(place, dict) and "error_code" in place
        for place in (document, status, document.get("error"))
    ) or (isinstance(document.get("error"), dict) and isinstance(document["error"].get("status"), dict))


def read_body(body: bytes) -> tuple[int | None, str]:
    """Return (error code, message) of an error body; (None, "") where it has neither."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip()
        return None, "" if text.startswith("<") else text[:LONGEST_MESSAGE]
    return _code_of(document), str(_message_of(document) or "")[:LONGEST_MESSAGE]


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _code_of(document: Any) -> int | None:
    for place in _places(document):
        code = place.get("error_code")
        if isinstance(code, int):
            return code
    return None


def _message_of(document: Any) -> str | None:
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        return str(document["error"])
    for place in _places(document):
        if isinstance(place.get("error_message"), str):
            return str(place["error_message"])
    return None


def _places(document: Any) -> list[dict[str, Any]]:
    """Return the objects in which code and message have been seen: top, status, error, error.status."""
    found: list[dict[str, Any]] = []
    if isinstance(document, dict):
        found.append(document)
        for key in ("status", "error"):
            inner = document.get(key)
            if isinstance(inner, dict):
                found.append(inner)
                if isinstance(inner.get("status"), dict):
                    found.append(inner["status"])
    return found
