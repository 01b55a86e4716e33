"""Map failures of CoinGecko, in all six forms of its error bodies, to errors of the chassis.

Every call reports its outcome to `UpstreamAvailability`. A permanent refusal, which a retry cannot fix (a
wrong key, used-up credits), is held: for an hour, callers get the same error without another call.
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
# When a call may be repeated after a failure that can end by itself.
RETRY_SECONDS = 5.0
# A failure that can end by itself counts for this long after it was met before the start.
KNOWN_FAILURE_SECONDS = 120.0
MAX_CLOCK_DIFFERENCE_SECONDS = 60.0
MOST_HELD_REQUESTS = 1000


class Cause(StrEnum):
    """Why CoinGecko is unavailable; the values are those of the contract."""

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


# Causes that a retry cannot fix. TLS and NOT_COINGECKO are not among them, since a certificate or a login
# page of the network may change without a change of settings here.
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
# Paths that every plan includes. If another path is refused while other calls succeed, the plan lacks that
# path.
EVERY_PLAN_PATHS = frozenset({"ping", "simple/price", "simple/supported_vs_currencies"})
PATH_CAUSES = PERMANENT - {Cause.CREDITS_USED_UP}
# Causes that are worth another attempt within the same request.
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
    """CoinGecko is unavailable; the message ends with the remedy for the cause."""

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
    """Remembers the outcome of the last call, and holds permanent refusals."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tried = False
        self._cause: Cause | None = None
        self._error: CoincastError | None = None
        self._since = clock.now()
        self._retry_at = 0.0
        self._assumed_until = 0.0
        self._answered_at: float | None = None
        self._held_requests: TTLCache[UpstreamRequest, CoincastError] = TTLCache(
            MOST_HELD_REQUESTS, HOLD_SECONDS, timer=clock.monotonic
        )

    def check(self, request: UpstreamRequest | None = None) -> None:
        """Raise the held refusal of this request or of all requests, if there is one.

        Raises:
            CoincastError: The refusal.
        """
        held = None if request is None else self._held_requests.get(request)
        if held is not None:
            raise _clone(held) from held.__cause__
        error, cause, now = self._error, self._cause, self._clock.monotonic()
        if error is None or cause is None:
            return
        left = (self._retry_at if cause in PERMANENT else self._assumed_until) - now
        if left > 0:
            raise _clone_with_wait(error, cause, left)

    def failure(self) -> CoincastError | None:
        """Return the error that explains why CoinGecko is unavailable now; None if it is available."""
        if self._error is None or self._cause in (None, Cause.RATE_LIMITED):
            return None
        return _clone_with_wait(self._error, self._cause, max(1.0, self._retry_at - self._clock.monotonic()))

    def record_success(self) -> None:
        """Record that CoinGecko answered."""
        if not self._tried or self._cause is not None:
            self._since = self._clock.now()
        self._tried, self._cause, self._error = True, None, None
        self._answered_at = self._clock.monotonic()

    def note_known(self, document: str) -> bool:
        """Record a failure that was met before the start, so that replies and health name it at once.

        A refusal is held for the rest of its hour. Any other failure is assumed for RETRY_SECONDS, since the
        first callers would else wait for a silent host once more, and forgotten when a call succeeds.

        Args:
            document: JSON with `cause`, `sentence` and `at`, UNIX seconds.

        Returns:
            Whether it still counts.
        """
        try:
            known = orjson.loads(document)
            cause, age = Cause(known["cause"]), self._clock.now() - float(known["at"])
            sentence = str(known["sentence"])
        except (ValueError, KeyError, TypeError):
            return False
        counts_for = HOLD_SECONDS if cause in PERMANENT else KNOWN_FAILURE_SECONDS
        if not -MAX_CLOCK_DIFFERENCE_SECONDS < age < counts_for:
            return False
        wait = counts_for - age if cause in PERMANENT else RETRY_SECONDS
        error = UpstreamFailure(cause, "", retry_after_seconds=wait)
        error.args, error.message = (sentence,), sentence
        self._tried, self._cause, self._error = True, cause, error
        self._since = self._clock.now()
        self._retry_at = self._clock.monotonic() + wait
        self._assumed_until = self._clock.monotonic() + RETRY_SECONDS
        return True

    def record_failure(self, error: CoincastError, request: UpstreamRequest | None = None) -> None:
        """Record a failed call. An answer such as 'no such coin' counts as a success of the upstream.

        Args:
            error: The error of the call.
            request: The request; None if it checked the key itself.
        """
        cause = cause_of(error)
        if request is not None and cause in PATH_CAUSES and self._refuses_one_path(request):
            self.hold_request(request, error)
            return
        if cause is None:
            if isinstance(error, NotFound | InvalidInput):
                self.record_success()
            return
        if not self._tried or self._cause is not cause:
            self._since = self._clock.now()
        hold = HOLD_SECONDS if cause in PERMANENT else error.retry_after_seconds or RETRY_SECONDS
        self._tried, self._cause, self._error = True, cause, error
        self._retry_at = self._clock.monotonic() + hold

    def hold_request(self, request: UpstreamRequest, error: CoincastError) -> None:
        """Hold the refusal of one request, whose path or days the plan does not include."""
        self._held_requests[request] = error

    def forget_requests(self) -> None:
        """Forget the refusals of single requests, since another plan may include them."""
        self._held_requests.clear()

    def _refuses_one_path(self, request: UpstreamRequest) -> bool:
        """Return whether a refusal is about its path only, as another call succeeded within the last hour."""
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
    """Return the message with the remedy. The message of an UpstreamFailure includes it already."""
    if isinstance(error, UpstreamFailure):
        return error.message
    return f"{error.message.rstrip('.')}. {REMEDIES[cause]}"


def cause_of(error: CoincastError) -> Cause | None:
    """Return the cause that an error states; None for an error that is not about availability."""
    if isinstance(error, UpstreamFailure):
        return error.cause
    if isinstance(error, Timeout):
        return Cause.TIMEOUT
    return Cause.RATE_LIMITED if isinstance(error, Exhausted) else None


def cause_of_exception(error: BaseException) -> Cause:
    """Return the cause of a failed connection, by the exceptions in its chain of causes."""
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


def _clone(error: CoincastError) -> CoincastError:
    """Return an equal error; a single one that is raised for many callers would collect their tracebacks."""
    clone = type(error).__new__(type(error))
    clone.args = error.args
    clone.__dict__.update(error.__dict__)
    return clone


def _clone_with_wait(error: CoincastError, cause: Cause, retry_after_seconds: float) -> CoincastError:
    """Return an UpstreamFailure with the message of an error and the remaining wait."""
    clone = UpstreamFailure(cause, "")
    clone.args, clone.message = (error.message,), error.message
    clone.retry_after_seconds = retry_after_seconds
    # It may be CoinGecko's own reply, which the mirror forwards.
    clone.__cause__ = error.__cause__
    return clone


DEFAULT_RETRY_AFTER_SECONDS = 60.0
# A Retry-After of up to a month is obeyed. A longer one is assumed to be a mistake; if it is not, the next
# call is refused again.
MAX_RETRY_AFTER_SECONDS = 31 * 86_400.0


def parse_retry_after(value: str | None, now: float) -> float:
    """Return the seconds to wait.

    Args:
        value: The Retry-After header: seconds or a date; None if it is absent.
        now: UNIX seconds on the upstream's clock.

    Returns:
        At most 31 days; 60 s if the header is absent or unreadable.
    """
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
# Words of a refusal for the rest of the month, which a pause of a minute does not fix.
CREDITS = re.compile(r"month|credit", re.IGNORECASE)
CREDIT_STATUSES = (401, 402, 403, 429)
# CoinGecko uses the code 10002 for a missing key, and also for one that it does not accept.
REFUSED_KEY = re.compile(r"invalid|incorrect|wrong|expired|revoked|disabled", re.IGNORECASE)
LONGEST_MESSAGE = 300


class BeyondPlanReach(InvalidInput):
    """The plan does not include the request: too far back, or an endpoint of a higher plan."""


class UnconfirmedData(Unavailable):
    """A figure was rejected as implausible, or is missing although it was known before."""


class BadData(Unavailable):
    """The upstream's reply is not in the expected form."""


class ErrorReply(Exception):  # noqa: N818 - a carrier, not an error of the tree
    """CoinGecko's own error reply, attached as the cause of the error that it is mapped to.

    Args:
        status: The HTTP status.
        body: The body; only stored if it is a JSON object.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body if isinstance(_parse(body), dict) else b""


def error_reply_of(error: BaseException) -> ErrorReply | None:
    """Return CoinGecko's own reply that caused an error; None if there is none."""
    cause = error.__cause__
    return cause if isinstance(cause, ErrorReply) else None


def status_of_error_document(document: Any) -> int:
    """Return the HTTP status that fits the error in the body of a reply with status 200."""
    code = _code_of(document)
    if code is not None and 400 <= code < 600:
        return code
    return 401 if code in KEY_CAUSES or code in PLAN_CODES else 400


def error_from_reply(
    status: int, body: bytes, headers: Mapping[str, str], now: float, *, path: str = ""
) -> CoincastError:
    """Map an error reply to an error of the chassis.

    Args:
        status: The HTTP status; 200 if only the body is an error.
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


# Of the refusals, those that another attempt may heal: request timeout, too early.
PASSING_STATUSES = (408, 425)


def _by_status(status: int, quoted: str) -> CoincastError:
    if status == 404:
        return NotFound(f"CoinGecko knows no such thing: {quoted}")
    if status in (401, 403, 451):
        cause = Cause.INVALID_KEY if status == 401 else Cause.FORBIDDEN
        return UpstreamFailure(cause, f"CoinGecko refuses access (HTTP {status}){_reason(quoted)}.")
    if 400 <= status < 500 and status not in PASSING_STATUSES:
        return InvalidInput(f"CoinGecko refuses the request: {quoted}")
    if 300 <= status < 400:
        return UpstreamFailure(
            Cause.NOT_COINGECKO,
            f"A redirect (HTTP {status}) came instead of CoinGecko's data.",
            retry_after_seconds=30,
        )
    if status < 300:
        return BadData(f"CoinGecko answered with an error in place of data: {quoted}")
    return UpstreamFailure(
        Cause.SERVER_ERROR, f"CoinGecko fails with HTTP {status}{_reason(quoted)}.", retry_after_seconds=5
    )


def is_throttled(text: str) -> bool:
    """Return whether a text is CoinGecko's plain-text refusal after too many calls."""
    return text.strip().lower() == "throttled"


def _clause(quoted: str) -> str:
    """Return CoinGecko's message without its full stop, to be quoted inside a sentence."""
    return quoted.strip().rstrip(".")


def _reason(quoted: str) -> str:
    """Return CoinGecko's message after a colon; empty if there is none beside the status."""
    return "" if re.fullmatch(r"HTTP \d+", quoted) else f": {_clause(quoted)}"


def error_in_document(document: Any) -> bool:
    """Return whether a document with status 200 is an error, since CoinGecko sends some errors so."""
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
    """Return (error code, message) of an error body; None and "" for those that are absent."""
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
    """Return the objects that may have code and message: the document, its status and error, error.status."""
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
