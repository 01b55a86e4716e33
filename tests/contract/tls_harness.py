"""The sandbox behind TLS and HTTP/2 on a free port, with a certificate of the test's own authority."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

from coincast_sandbox.app import SandboxOptions, create_app
from coincast_sandbox.http.plans import ApiPlan


class TlsSandbox:
    """The requests to the server, and its switches."""

    def __init__(self, app: Any, port: int, ca_file: Path) -> None:
        self._app = app
        self.base_url = f"https://localhost:{port}/api/v3"
        self.ca_file = ca_file
        self.versions: Counter[str] = Counter()
        self.schemes: Counter[str] = Counter()
        self.peers: set[tuple[str, int]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The sandbox, seen from outside."""
        if scope["type"] == "http":
            self.versions[scope["http_version"]] += 1
            self.schemes[scope["scheme"]] += 1
            self.peers.add(tuple(scope["client"]))
        await self._app(scope, receive, send)

    async def add_fault(self, **fields: Any) -> None:
        """Switch a fault on, past the network."""
        transport = httpx2.ASGITransport(app=self._app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            (await client.post("/sandbox/faults", json=fields)).raise_for_status()

    async def clear_faults(self) -> None:
        """Switch all off."""
        transport = httpx2.ASGITransport(app=self._app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            (await client.delete("/sandbox/faults")).raise_for_status()


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Create (authority, key, chain) as PEM files."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    ca_file, key_file, chain_file = folder / "ca.pem", folder / "key.pem", folder / "chain.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    certificate.private_key_pem.write_to_path(str(key_file))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(chain_file), append=True)
    return ca_file, key_file, chain_file


@asynccontextmanager
async def tls_sandbox(
    folder: Path, *, alpn: tuple[str, ...] = ("h2", "http/1.1")
) -> AsyncIterator[TlsSandbox]:
    """A pro sandbox at https://localhost, speaking the protocols of `alpn`."""
    ca_file, key_file, chain_file = certificates(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    # The server closes what it is given.
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile, config.keyfile = str(chain_file), str(key_file)
    config.alpn_protocols = list(alpn)
    config.graceful_timeout = 0.2
    sandbox = TlsSandbox(create_app(SandboxOptions(plan=ApiPlan("pro", reach_days=0))), port, ca_file)
    stop = asyncio.Event()
    app: Any = sandbox
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    try:
        yield sandbox
    finally:
        stop.set()
        await server
