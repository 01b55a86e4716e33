"""Rendered responses: encoded bytes in every content coding, with headers ready to send.

A handler returns a `RenderedResponse`; the cache stores it as a `CachedResponse` with its variants. The
`age_seconds` in a cached body is that of its rendering. Sent again after 20 s, it would be 20 s too low, so
the ages in a body are recomputed when it is sent (`BodyAges`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from functools import cached_property, lru_cache
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel
from starlette.responses import Response

from coincast_chassis.clock import steady_clock
from coincast_chassis.json_numbers import round_numbers
from coincast_gateway.asgi_types import (
    OWN_HEADERS,
    READY,
    RESPONSE,
    SENT,
    SENT_BYTES,
    Headers,
    Receive,
    Scope,
    Send,
    first_headers,
)
from coincast_gateway.cache.content_encoding import COMPRESS, IDENTITY, MIN_BYTES, choose_encoding

AGE_FIELD = "age_seconds"
JSON, CSV = "application/json", "text/csv"
# Quotes inside JSON strings are escaped, so the pattern matches fields only.
_JSON_AGE = re.compile(rb'"age_seconds":(-?[0-9][0-9.eE+-]*)')
# Placeholder for an age while CSV is written. A body that contains it is left as it is.
_MARK = "\x00"
# The bytes around the ages of a body, and the ages in seconds.
SplitBody = tuple[list[bytes], list[float]]


class BodyAges:
    """A body split at its ages, so that it can be rewritten with later ones.

    Args:
        parts: The bytes around the ages, one part more than there are ages.
        ages: The ages in seconds, as of the rendering of the body.
    """

    def __init__(self, parts: list[bytes], ages: list[float]) -> None:
        self._parts = parts
        self._ages = ages

    @classmethod
    def find(cls, body: bytes, media_type: str | None) -> BodyAges | None:
        """Return the ages of a JSON or CSV body, or None if it has none."""
        if AGE_FIELD.encode() not in body:
            return None
        kind = (media_type or "").partition(";")[0]
        found = _split_json(body) if kind == JSON else _split_csv(body) if kind == CSV else None
        return cls(*found) if found is not None and found[1] else None

    def at(self, seconds: float) -> bytes:
        """Return the body with `seconds` added to every age, rounded to a tenth of a second."""
        pieces = [self._parts[0]]
        for age, part in zip(self._ages, self._parts[1:], strict=True):
            pieces += (b"%.1f" % (age + seconds), part)
        return b"".join(pieces)


def _split_json(body: bytes) -> SplitBody:
    parts, ages, start = [], [], 0
    for match in _JSON_AGE.finditer(body):
        parts.append(body[start : match.start(1)])
        ages.append(float(match[1]))
        start = match.end(1)
    return [*parts, body[start:]], ages


def _split_csv(body: bytes) -> SplitBody | None:
    comment, text = b"", body.decode()
    if body.startswith(b"# "):
        line, _, text = text.partition("\n")
        comment = f"{line}\n".encode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if _MARK in text or AGE_FIELD not in rows[0]:
        return None
    column, ages = rows[0].index(AGE_FIELD), []
    for row in rows[1:]:
        if row[column]:
            ages.append(float(row[column]))
            row[column] = _MARK
    marked = io.StringIO()
    csv.writer(marked).writerows(rows)
    first, *others = (part.encode() for part in marked.getvalue().split(_MARK))
    return [comment + first, *others], ages


# Ages have a precision of 0.1 s, so a cached body is rewritten at most once in each tenth of a second. A
# large body is rewritten and compressed at most once a second, which bounds the work. It is sent in pieces of
# this size.
TICKS_PER_SECOND = 10
LARGE_BYTES = 64 * 1024


class RenderedResponse(Response):
    """A response that a handler has rendered: its bytes, and how long they may be cached.

    Args:
        body: The body, not compressed.
        media_type: Its media type.
        status: The HTTP status.
        as_of: UNIX seconds of the moment that the data describes; None where there is no such moment.
        fresh_seconds: How long the bytes may be cached; 0 keeps them out of every cache.
        headers: Headers of this response, beside those that every response has.
        has_ages: Whether `age_seconds` in the body is the age of data, to be recomputed when the body is
            sent; False for a document that only shows examples.
        row_count: The number of rows of a table; None for JSON, whose lists are counted when needed.
    """

    def __init__(
        self,
        body: bytes,
        media_type: str = JSON,
        *,
        status: int = 200,
        as_of: float | None = None,
        fresh_seconds: float = 0.0,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        has_ages: bool = True,
        row_count: int | None = None,
    ) -> None:
        self.body: bytes = body
        self.has_ages = has_ages
        self.row_count = row_count
        self.media_type = media_type
        self.status_code = status
        self.as_of = as_of
        self.fresh_seconds = fresh_seconds
        self.own_headers = headers
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response with an entity tag, compressed where the client accepts it."""
        clock = steady_clock()
        await CachedResponse(self, now=clock.monotonic(), now_unix=clock.now()).send(scope, send)


@dataclass(frozen=True, slots=True)
class EncodedVariant:
    """A response in one content coding.

    Args:
        tick: The moment that the ages in the body refer to, in ticks since the response was made.
        body: The encoded body.
        whole: The headers of the response with its body.
        not_modified: The headers of a 304.
        whole_lines: `whole`, encoded as HTTP header lines.
        not_modified_lines: `not_modified`, encoded as HTTP header lines.
    """

    tick: int
    body: bytes
    whole: Headers
    not_modified: Headers
    whole_lines: bytes
    not_modified_lines: bytes


class CachedResponse(Response):
    """A rendered response and its variants by content coding.

    A variant is encoded when it is first requested, and again when the ages in its body have changed.

    Args:
        rendered: The response.
        now: Monotonic seconds at which it was made.
        now_unix: UNIX seconds at which it was made.
        private: Whether shared HTTP caches must not store it, since it needs an API key.
        public: Whether it is served without an API key, as pages and health probes are.
    """

    def __init__(
        self,
        rendered: RenderedResponse,
        *,
        now: float,
        now_unix: float,
        private: bool = False,
        public: bool = False,
    ) -> None:
        self.rendered = rendered
        self.background = None
        self.made_at = now
        self.made_at_unix = now_unix
        self.fresh_until = now + rendered.fresh_seconds
        self.private = private
        self.public = public
        cacheable = rendered.has_ages and rendered.fresh_seconds > 0
        self._ages = BodyAges.find(rendered.body, rendered.media_type) if cacheable else None
        # The tag covers the body with the ages of its rendering. Without them, a client with a copy of an
        # earlier rendering would get a 304 and show the lower ages of that copy.
        self._tag = hashlib.blake2b(rendered.body, digest_size=8).hexdigest().encode()
        self._variants: dict[str, EncodedVariant] = {}

    @property
    def size_bytes(self) -> int:
        """Return the approximate memory of the response and its variants."""
        return 600 + len(self.rendered.body) + sum(len(each.body) for each in self._variants.values())

    def variant(self, encoding: str, age_seconds: float = 0.0) -> EncodedVariant:
        """Return the response in one content coding.

        Args:
            encoding: The content coding.
            age_seconds: The age of the response, which is added to the ages in its body.
        """
        tick = 0 if self._ages is None else int(age_seconds * TICKS_PER_SECOND)
        if tick and encoding != IDENTITY and len(self.rendered.body) > LARGE_BYTES:
            tick -= tick % TICKS_PER_SECOND
        ready = self._variants.get(encoding)
        if ready is None or ready.tick != tick:
            ready = self._variants[encoding] = self._encode(encoding, tick)
        return ready

    def _encode(self, encoding: str, tick: int) -> EncodedVariant:
        rendered = self.rendered
        body = rendered.body
        if tick and self._ages is not None:
            body = self._ages.at(tick / TICKS_PER_SECOND)
        if encoding != IDENTITY:
            body = COMPRESS[encoding](body)
        tag = self._tag if encoding == IDENTITY else self._tag + b"-" + encoding.encode()
        # A body with ages changes with time in its ages alone, so its tag is weak (RFC 9110, 8.8.1).
        mark = b'"' if self._ages is None else b'W/"'
        shared: Headers = [
            (b"etag", mark + tag + b'"'),
            (b"last-modified", format_http_date(int(self.made_at_unix))),
            (b"cache-control", self._cache_control()),
            (b"vary", b"accept, accept-encoding"),
        ]
        whole: Headers = [
            (b"content-type", (rendered.media_type or JSON).encode()),
            (b"content-length", b"%d" % len(body)),
            *shared,
            *rendered.own_headers,
        ]
        if encoding != IDENTITY:
            whole.append((b"content-encoding", encoding.encode()))
        return EncodedVariant(
            tick=tick,
            body=body,
            whole=whole,
            not_modified=shared,
            whole_lines=encode_header_lines(whole),
            not_modified_lines=encode_header_lines(shared),
        )

    def _cache_control(self) -> bytes:
        if self.rendered.fresh_seconds <= 0:
            return b"no-store"
        return b"%s, max-age=%d" % (b"private" if self.private else b"public", self.rendered.fresh_seconds)

    def matches(self, if_none_match: bytes) -> bool:
        """Return whether the entity tags in If-None-Match name this response, in any content coding."""
        return self._tag in if_none_match or if_none_match.strip() == b"*"

    def older_than(self, if_modified_since: bytes) -> bool:
        """Return whether the response was made no later than the date in If-Modified-Since.

        For a response that is not cached this is False: two of them may differ within one second, which is
        the precision of the date.
        """
        return self.rendered.fresh_seconds > 0 and int(self.made_at_unix) <= parse_http_date(
            if_modified_since
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as an ASGI application."""
        await self.send(scope, send)

    async def send(self, scope: Scope, send: Send) -> int:
        """Send the response, or 304 if the client has it already, and return the status that was sent."""
        if status := self.send_ready(scope):
            return status
        variant, age_seconds, unchanged = self._choose(scope)
        age = (b"age", b"%d" % age_seconds)
        status = 304 if unchanged else self.rendered.status_code
        headers = variant.not_modified if unchanged else variant.whole
        await send({"type": "http.response.start", "status": status, "headers": [*headers, age]})
        body = b"" if unchanged else variant.body
        # The server waits before each piece until a slow reader has taken enough of the earlier ones, so a
        # connection never buffers the whole of a large body.
        for start in range(0, max(1, len(body)), LARGE_BYTES):
            end = start + LARGE_BYTES
            piece = {"type": "http.response.body", "body": body[start:end], "more_body": end < len(body)}
            await send(piece)
        return status

    def send_ready(self, scope: Scope, own_lines: bytes | None = None) -> int:
        """Send the response by one direct write of the server.

        Args:
            scope: The request.
            own_lines: Encoded header lines beside those of the response; by default those in the scope.

        Returns:
            The status that was sent. It is 0 if nothing was sent, since the server cannot write directly now
            or the body is so large that it is sent in pieces.
        """
        ready = (scope.get("extensions") or {}).get(READY)
        if own_lines is None and OWN_HEADERS in scope:
            own_lines = encode_header_lines(scope[OWN_HEADERS])
        if ready is None or own_lines is None:
            return 0
        variant, age_seconds, unchanged = self._choose(scope)
        if unchanged:
            status, head, body = 304, variant.not_modified_lines, b""
        else:
            status, head, body = self.rendered.status_code, variant.whole_lines, variant.body
        if len(body) > LARGE_BYTES:
            return 0
        if not ready(status, b"%bage: %d\r\n%b" % (head, age_seconds, own_lines), body):
            return 0
        scope[SENT], scope[SENT_BYTES] = status, len(body)
        return status

    @cached_property
    def rows(self) -> int:
        """Return the number of rows of a table, or the length of the longest list in JSON, except `errors`.

        It is 0 for other bodies.
        """
        if self.rendered.row_count is not None:
            return self.rendered.row_count
        if not (self.rendered.media_type or "").startswith(JSON) or self.rendered.body[:1] not in b"{[":
            return 0
        document = orjson.loads(self.rendered.body)
        if isinstance(document, list):
            return len(document)
        lists = [each for name, each in document.items() if isinstance(each, list) and name != "errors"]
        return max((len(each) for each in lists if each and isinstance(each[0], dict)), default=0)

    def _choose(self, scope: Scope) -> tuple[EncodedVariant, float, bool]:
        """Return the variant for a request, the age in seconds, and whether the client has the response."""
        scope[RESPONSE] = self
        given = first_headers(scope)
        accept = given.get(b"accept-encoding")
        small = len(self.rendered.body) < MIN_BYTES
        age_seconds = max(0.0, steady_clock().monotonic() - self.made_at)
        variant = self.variant(IDENTITY if small or not accept else choose_encoding(accept), age_seconds)
        if self.rendered.status_code != 200:
            return variant, age_seconds, False
        # If-None-Match takes precedence over If-Modified-Since (RFC 9110, 13.1.3).
        if none_match := given.get(b"if-none-match"):
            return variant, age_seconds, self.matches(none_match)
        since = given.get(b"if-modified-since")
        return variant, age_seconds, bool(since) and self.older_than(since or b"")


def unix_seconds(stamp: Timestamp) -> float:
    """Return a timestamp of a contract as UNIX seconds, as the `as_of` of a response."""
    return stamp.seconds + stamp.nanos / 1e9


@lru_cache(maxsize=64)
def format_http_date(seconds: int) -> bytes:
    """Return UNIX seconds as an HTTP date. It is memoised, since many requests fall into one second."""
    return formatdate(seconds, usegmt=True).encode()


@lru_cache(maxsize=64)
def parse_http_date(text: bytes) -> float:
    """Return the UNIX seconds of an HTTP date; -inf if it is not one, since RFC 9110 wants it ignored."""
    try:
        return parsedate_to_datetime(text[:64].decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return -math.inf


def encode_header_lines(headers: Headers) -> bytes:
    """Return headers as HTTP/1.1 header lines. The values are not validated again."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


def encode_json(document: Any) -> bytes:
    """Encode a document as JSON with rounded numbers; NaN and infinities become null."""
    return orjson.dumps(round_numbers(document))


def render_json(
    document: Any,
    *,
    status: int = 200,
    as_of: float | None = None,
    fresh_seconds: float = 0.0,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> RenderedResponse:
    """Return a document as a JSON response; the arguments are those of `RenderedResponse`."""
    return RenderedResponse(
        encode_json(document), status=status, as_of=as_of, fresh_seconds=fresh_seconds, headers=headers
    )


def render(result: Any, *, fresh_seconds: float) -> RenderedResponse:
    """Return the result of a handler as a rendered response.

    Args:
        result: A rendered response, which is returned as it is, or a model or dictionary, which becomes JSON.
        fresh_seconds: How long the response of a model or dictionary may be cached.
    """
    if isinstance(result, RenderedResponse):
        return result
    if isinstance(result, BaseModel):
        return render_json(result.model_dump(mode="json", by_alias=True), fresh_seconds=fresh_seconds)
    return render_json(result, fresh_seconds=fresh_seconds)
