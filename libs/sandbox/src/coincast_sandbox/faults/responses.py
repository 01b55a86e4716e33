"""Transport faults: delays, replaced replies, slow bodies, resets, hangs."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterable
from functools import lru_cache

from starlette.types import Receive, Scope, Send

from coincast_sandbox.faults.registry import Fault
from coincast_sandbox.http.buffered_response import BufferedResponse
from coincast_sandbox.http.errors import error_body

_MEGABYTE = 1024 * 1024


async def apply_latency(faults: Iterable[Fault]) -> None:
    """Wait for the delay of each latency fault, in order."""
    for fault in faults:
        if fault.kind == "latency":
            await asyncio.sleep(fault.seconds)


def replacement(fault: Fault, now: float) -> BufferedResponse | None:
    """Return the response that replaces the true one; None for kinds of faults that replace nothing."""
    if fault.kind == "status":
        body, media = error_body(fault.body, fault.status, f"fault {fault.id} of the sandbox", now)
        headers = [(b"content-type", media.encode())]
        if fault.retry_after is not None:
            headers.append((b"retry-after", fault.retry_after.encode()))
        return BufferedResponse(fault.status, headers, body)
    if fault.kind == "redirect":
        return BufferedResponse(302, [(b"location", fault.location.encode())], b"")
    if fault.kind == "huge":
        headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
        return BufferedResponse(200, headers, bomb(fault.megabytes))
    return None


@lru_cache(maxsize=4)
def bomb(megabytes: int) -> bytes:
    """Return a gzipped JSON object that unpacks to about this many megabytes of blanks.

    A full flush resets the compressor's state, so one compressed megabyte can be repeated.
    """
    head, blanks, tail = b'{"bitcoin":{"usd":1.0', b" " * _MEGABYTE, b"}}"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed_head = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    packed_blanks = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    packed_tail = packer.compress(tail) + packer.flush(zlib.Z_FINISH)
    checksum = zlib.crc32(head)
    for _ in range(megabytes):
        checksum = zlib.crc32(blanks, checksum)
    checksum = zlib.crc32(tail, checksum)
    size = len(head) + megabytes * _MEGABYTE + len(tail)
    ending = struct.pack("<II", checksum, size & 0xFFFFFFFF)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return header + packed_head + packed_blanks * megabytes + packed_tail + ending


async def drip(response: BufferedResponse, fault: Fault, send: Send) -> None:
    """Send the body in small pieces with a wait before each."""
    await send(response.start_message())
    for at in range(0, len(response.body), fault.chunk_bytes):
        await asyncio.sleep(fault.seconds_per_chunk)
        piece = response.body[at : at + fault.chunk_bytes]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def reset(response: BufferedResponse, fault: Fault, scope: Scope, send: Send) -> None:
    """Send a part of the body, then reset the connection."""
    if fault.after_bytes > 0:
        await send(response.start_message())
        await send(
            {"type": "http.response.body", "body": response.body[: fault.after_bytes], "more_body": True}
        )
        await asyncio.sleep(0.02)
    transport: asyncio.Transport = scope["state"]["transport"]
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def hang(receive: Receive) -> None:
    """Send nothing until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
