"""Run the sandbox inside a test or benchmark process, in a thread and on a free port."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from coincast_sandbox.api import PREFIX
from coincast_sandbox.app import SandboxOptions, create_app
from coincast_sandbox.server import server_config


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """A client for the admin paths of a running sandbox; its calls block."""

    root_url: str

    @property
    def base_url(self) -> str:
        """Return the base URL for a CoinGecko client; it ends with /api/v3."""
        return self.root_url + PREFIX

    def calls(self) -> dict[str, Any]:
        """Return the counts by path and status since the start or the last `forget_calls`."""
        return dict(self._request("GET", "/sandbox/calls"))

    def forget_calls(self) -> None:
        """Set the counters to zero."""
        self._request("DELETE", "/sandbox/calls")

    def add_fault(self, kind: str, path: str = "*", **fields: Any) -> int:
        """Add a fault and return its id; libs/sandbox/README.md lists the kinds and fields."""
        return int(self._request("POST", "/sandbox/faults", {"kind": kind, "path": path, **fields})["id"])

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._request("DELETE", "/sandbox/faults")

    def health(self) -> dict[str, Any]:
        """Return mode, number of coins, and the sandbox's current time and day."""
        return dict(self._request("GET", "/sandbox/health"))

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root_url + path, data=data, method=method)  # noqa: S310 - own http address
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as reply:
            return json.load(reply)


@contextmanager
def running_sandbox(options: SandboxOptions | None = None, *, port: int = 0) -> Iterator[RunningSandbox]:
    """Run a sandbox on 127.0.0.1 (a free port by default) until the block ends."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        server = uvicorn.Server(server_config(create_app(options), "127.0.0.1", 0))
        listener.listen(4096)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield RunningSandbox(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(timeout=5)
