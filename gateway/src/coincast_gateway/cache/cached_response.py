"""A kept reply: its bytes in every form that was asked for, with headers ready to send."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

from coincast_gateway.asgi_types import OWN_HEADERS, READY, SENT, Headers, Scope, Send
from coincast_gateway.cache.content_encoding import COMPRESS, IDENTITY, MIN_BYTES, chosen
from coincast_gateway.rendering import RenderedResponse


@dataclass(frozen=True, slots=True)
class EncodedVariant:
    """The reply in one encoding: body, headers of the whole reply and of a 304, both also as lines."""

    body: bytes
    whole: Headers
    not_modified: Headers
    whole_lines: bytes
    not_modified_lines: bytes


class CachedResponse:
    """One reply and its forms. Compressing happens once a form, when it is first asked for."""

    __slots__ = ("_forms", "_tag", "fresh_until", "made_at", "made_at_unix", "private", "public", "reply")

    def __init__(
        self,
        reply: RenderedResponse,
        *,
        now: float,
        now_unix: float,
        private: bool = False,
        public: bool = False,
    ) -> None:
        self.reply = reply
        self.made_at = now
        self.made_at_unix = now_unix
        self.fresh_until = now + reply.fresh_seconds
        self.private = private
        # Served to those who may not read, too: pages and probes.
        self.public = public
        # Over every byte, age_seconds too: a 304 to a copy made earlier would pass its old age off as new.
        self._tag = hashlib.blake2b(reply.body, digest_size=8).hexdigest().encode()
        self._forms: dict[str, EncodedVariant] = {}

    @property
    def size_bytes(self) -> int:
        """What the entry holds in memory, roughly."""
        return 600 + len(self.reply.body) + sum(len(form.body) for form in self._forms.values())

    def form(self, encoding: str) -> EncodedVariant:
        """The reply in one encoding."""
        ready = self._forms.get(encoding)
        if ready is None:
            ready = self._forms[encoding] = self._make(encoding)
        return ready

    def _make(self, encoding: str) -> EncodedVariant:
        body = self.reply.body if encoding == IDENTITY else COMPRESS[encoding](self.reply.body)
        tag = self._tag if encoding == IDENTITY else self._tag + b"-" + encoding.encode()
        shared: Headers = [
            (b"etag", b'"' + tag + b'"'),
            (b"last-modified", http_date(int(self.made_at_unix))),
            (b"cache-control", self._cache_control()),
            (b"vary", b"accept, accept-encoding"),
        ]
        whole: Headers = [
            (b"content-type", self.reply.media_type.encode()),
            (b"content-length", b"%d" % len(body)),
            *shared,
            *self.reply.headers,
        ]
        if encoding != IDENTITY:
            whole.append((b"content-encoding", encoding.encode()))
        return EncodedVariant(body, whole, shared, lines(whole), lines(shared))

    def _cache_control(self) -> bytes:
        if self.reply.fresh_seconds <= 0:
            return b"no-store"
        return b"%s, max-age=%d" % (b"private" if self.private else b"public", self.reply.fresh_seconds)

    def matches(self, if_none_match: bytes) -> bool:
        """Whether a client's copy is this very reply, in whatever form."""
        return self._tag in if_none_match or if_none_match.strip() == b"*"

    def older_than(self, if_modified_since: bytes) -> bool:
        """Whether nothing is newer than a client's copy. A reply that is not kept has no such date: two of
        one second may differ.
        """
        return self.reply.fresh_seconds > 0 and int(self.made_at_unix) <= unix_date(if_modified_since)

    async def send(self, scope: Scope, send: Send, *, now: float) -> int:
        """Answer with the whole reply, or with 304 where the client has it. Gives the status sent."""
        accept = none_match = since = b""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accept = value
            elif name == b"if-none-match":
                none_match = value
            elif name == b"if-modified-since":
                since = value
        small = len(self.reply.body) < MIN_BYTES
        form = self.form(IDENTITY if small or not accept else chosen(accept))
        age = (b"age", b"%d" % (now - self.made_at))
        status, body = self.reply.status, form.body
        # If-None-Match is the surer word: where it stands, the date does not count (RFC 9110, 13.1.3).
        if none_match:
            unchanged = status == 200 and self.matches(none_match)
        else:
            unchanged = bool(since) and status == 200 and self.older_than(since)
        if unchanged:
            status, body = 304, b""
        if scope["method"] == "GET" and OWN_HEADERS in scope:
            ready = (scope.get("extensions") or {}).get(READY)
            head = form.not_modified_lines if unchanged else form.whole_lines
            if ready is not None and ready(status, head + lines([age, *scope[OWN_HEADERS]]), body):
                scope[SENT] = status
                return status
        headers = form.not_modified if unchanged else form.whole
        await send({"type": "http.response.start", "status": status, "headers": [*headers, age]})
        await send({"type": "http.response.body", "body": body})
        return status


@lru_cache(maxsize=64)
def http_date(unix_seconds: int) -> bytes:
    """A moment as HTTP says it; the same second is asked for again and again."""
    return formatdate(unix_seconds, usegmt=True).encode()


@lru_cache(maxsize=64)
def unix_date(text: bytes) -> float:
    """The moment that a client's HTTP date names; before all others where it is none (RFC 9110: ignored)."""
    try:
        return parsedate_to_datetime(text[:64].decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return -math.inf


def lines(headers: Headers) -> bytes:
    """Headers as they stand on the wire; their makers vouch for what is in them."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])
