"""A response held in memory, so that it can be counted, compressed and corrupted before it is sent."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field

from starlette.types import Message, Send

GZIP_MIN_BYTES = 2000


@dataclass(slots=True)
class BufferedResponse:
    """The status, headers and complete body of a response."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def receive(self, message: Message) -> None:
        """Store an ASGI message; pass this method as the `send` of an application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(k, v) for k, v in message["headers"] if k.lower() != b"content-length"]
        else:
            self.body += message.get("body", b"")

    def compress(self, accepted_encodings: str) -> None:
        """Gzip a body of at least 2 kB if the client accepts gzip."""
        encoded = any(k == b"content-encoding" for k, _ in self.headers)
        if len(self.body) >= GZIP_MIN_BYTES and "gzip" in accepted_encodings and not encoded:
            self.body = gzip.compress(self.body, compresslevel=1)
            self.headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]

    def start_message(self) -> Message:
        """Return the first ASGI message, with the content length."""
        length = [(b"content-length", str(len(self.body)).encode())]
        return {"type": "http.response.start", "status": self.status, "headers": self.headers + length}

    async def send(self, send: Send) -> None:
        """Send the whole response."""
        await send(self.start_message())
        await send({"type": "http.response.body", "body": self.body, "more_body": False})
