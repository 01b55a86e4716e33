"""A kept reply: its bytes in every form that was asked for, with headers ready to send."""

import hashlib
from collections.abc import Iterable
from email.utils import formatdate

from coincast_gateway.replies import Reply
from coincast_gateway.serving.asgi import Headers, Scope, Send
from coincast_gateway.serving.encodings import COMPRESS, IDENTITY, MIN_BYTES, chosen


class Entry:
    """One reply and its forms. Compressing happens once a form, when it is first asked for."""

    __slots__ = ("_forms", "_tag", "fresh_until", "made_at", "made_at_unix", "private", "public", "reply")

    def __init__(
        self, reply: Reply, *, now: float, now_unix: float, private: bool = False, public: bool = False
    ) -> None:
        self.reply = reply
        self.made_at = now
        self.made_at_unix = now_unix
        self.fresh_until = now + reply.fresh_seconds
        self.private = private
        # Served to those who may not read, too: pages and probes.
        self.public = public
        self._tag = hashlib.blake2b(reply.body, digest_size=8).hexdigest().encode()
        self._forms: dict[str, tuple[bytes, Headers, Headers]] = {}

    @property
    def size_bytes(self) -> int:
        """What the entry holds in memory, roughly."""
        return 600 + len(self.reply.body) + sum(len(form[0]) for form in self._forms.values())

    def form(self, encoding: str) -> tuple[bytes, Headers, Headers]:
        """Body, headers of a whole reply, and headers of a 304, in one encoding."""
        ready = self._forms.get(encoding)
        if ready is None:
            ready = self._forms[encoding] = self._make(encoding)
        return ready

    def _make(self, encoding: str) -> tuple[bytes, Headers, Headers]:
        body = self.reply.body
        if encoding != IDENTITY:
            body = COMPRESS[encoding](body)
        cached = f"{'private' if self.private else 'public'}, max-age={int(self.reply.fresh_seconds)}"
        if self.reply.fresh_seconds <= 0:
            cached = "no-store"
        tag = self._tag if encoding == IDENTITY else self._tag + b"-" + encoding.encode()
        shared: Headers = [
            (b"etag", b'"' + tag + b'"'),
            (b"last-modified", formatdate(self.made_at_unix, usegmt=True).encode()),
            (b"cache-control", cached.encode()),
            (b"vary", b"accept, accept-encoding"),
        ]
        whole: Headers = [
            (b"content-type", self.reply.media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            *shared,
            *self.reply.headers,
        ]
        if encoding != IDENTITY:
            whole.append((b"content-encoding", encoding.encode()))
        return body, whole, shared

    def matches(self, if_none_match: bytes) -> bool:
        """Whether a client's copy is this very reply, in whatever form."""
        return self._tag in if_none_match or if_none_match.strip() == b"*"

    async def send(
        self, scope: Scope, send: Send, *, now: float, extra: Iterable[tuple[bytes, bytes]] = ()
    ) -> int:
        """Answer with the whole reply, or with 304 where the client has it. Gives the status sent."""
        accept, none_match = b"", b""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accept = value
            elif name == b"if-none-match":
                none_match = value
        small = len(self.reply.body) < MIN_BYTES
        body, whole, shared = self.form(IDENTITY if small or not accept else chosen(accept))
        age = (b"age", b"%d" % (now - self.made_at))
        if none_match and self.reply.status == 200 and self.matches(none_match):
            await send({"type": "http.response.start", "status": 304, "headers": [*shared, age, *extra]})
            await send({"type": "http.response.body", "body": b""})
            return 304
        await send(
            {"type": "http.response.start", "status": self.reply.status, "headers": [*whole, age, *extra]}
        )
        await send({"type": "http.response.body", "body": body})
        return self.reply.status
