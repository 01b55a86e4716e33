"""A reply held back, so that it can be counted, packed and spoilt before it is sent."""

import gzip
from dataclasses import dataclass, field

from starlette.types import Message, Send

PACK_FROM_BYTES = 2000


@dataclass(slots=True)
class Reply:
    """Status, header lines and whole body."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def take(self, message: Message) -> None:
        """An ASGI `send` that keeps the message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(k, v) for k, v in message["headers"] if k.lower() != b"content-length"]
        else:
            self.body += message.get("body", b"")

    def pack(self, accepted_encodings: str) -> None:
        """Gzips a body worth it, where the client understands gzip."""
        encoded = any(k == b"content-encoding" for k, _ in self.headers)
        if len(self.body) >= PACK_FROM_BYTES and "gzip" in accepted_encodings and not encoded:
            self.body = gzip.compress(self.body, compresslevel=1)
            self.headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]

    def start(self) -> Message:
        """The first message; it gives the length."""
        length = [(b"content-length", str(len(self.body)).encode())]
        return {"type": "http.response.start", "status": self.status, "headers": self.headers + length}

    async def send(self, send: Send) -> None:
        """The whole reply."""
        await send(self.start())
        await send({"type": "http.response.body", "body": self.body, "more_body": False})
