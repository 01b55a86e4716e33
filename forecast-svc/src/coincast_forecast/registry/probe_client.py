"""Client of the probe process: requests the trial load of a version, and maps crashes to refusals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from coincast_forecast.registry.verification import VersionRequest

COMMAND = (sys.executable, "-m", "coincast_forecast.registry.probe_process")


class RefusalCause(StrEnum):
    """Cause of a refusal; it is a label of a metric."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    REFUSED = "refused"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


class VersionRefused(Exception):  # noqa: N818 - the name says the state
    """A version failed its verification; `transient` means that a later attempt may succeed."""

    def __init__(self, cause: RefusalCause, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.transient = transient


CAUSES: Mapping[str, RefusalCause] = {
    "ArtifactMissing": RefusalCause.MISSING,
    "ArtifactCorrupt": RefusalCause.CORRUPT,
    "ArtifactRefused": RefusalCause.REFUSED,
}

# Causes that may disappear: files can be restored in place, but a crash or a wrong forecast is permanent.
TRANSIENT_CAUSES = frozenset({RefusalCause.MISSING, RefusalCause.CORRUPT})


class _Probe:
    """A running probe process and the pipe from which its answers are read."""

    def __init__(
        self, process: Process, answers: asyncio.StreamReader, transport: asyncio.BaseTransport
    ) -> None:
        self.process, self.answers, self._transport = process, answers, transport

    @classmethod
    async def start(cls, command: tuple[str, ...]) -> Self:
        """Start the process with a separate pipe for answers; its stdout goes to the log."""
        receiving, sending = os.pipe()
        pipe = os.fdopen(receiving, "rb", buffering=0)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, str(sending), stdin=PIPE, pass_fds=(sending,)
            )
        except BaseException:
            pipe.close()
            raise
        finally:
            os.close(sending)
        loop, answers = asyncio.get_running_loop(), asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(answers)
        transport, _ = await loop.connect_read_pipe(lambda: protocol, pipe)
        return cls(process, answers, transport)

    async def exchange(self, request: bytes) -> bytes:
        """Send a line and return the answer; empty if the process ended."""
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self.process.stdin.write(request + b"\n")
            await self.process.stdin.drain()
            return await self.answers.readline()
        except (BrokenPipeError, ConnectionResetError):
            return b""

    async def end(self) -> int:
        """Kill the process if it still runs; return its exit code."""
        if self.process.returncode is None:
            self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._transport.close()
        return await self.process.wait()


class ProbeClient:
    """Uses one probe process for a series of versions; starts another after a crash. A context manager."""

    def __init__(self, timeout_seconds: float, command: tuple[str, ...] = COMMAND) -> None:
        self._timeout_seconds = timeout_seconds
        self._command = command
        self._probe: _Probe | None = None

    async def __aenter__(self) -> Self:
        """Return the client; the process starts with the first version."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the process."""
        await self._end()

    async def load(self, wanted: VersionRequest) -> str:
        """Return the fingerprint of the version that the process loaded.

        Raises:
            VersionRefused: The process could not load the version, or crashed.
        """
        if self._probe is None:
            self._probe = await _Probe.start(self._command)
        probe = self._probe
        try:
            async with asyncio.timeout(self._timeout_seconds):
                line = await probe.exchange(json.dumps(_request(wanted)).encode())
                if not line:
                    died = await self._describe_exit(probe)
                    raise VersionRefused(RefusalCause.CRASHED, f"its trial load {died}")
        except TimeoutError:
            await self._end()
            reason = f"its trial load did not end within {self._timeout_seconds:g} s"
            raise VersionRefused(RefusalCause.TIMED_OUT, reason, transient=True) from None
        except asyncio.CancelledError:
            await self._end()
            raise
        return await self._read(line)

    async def _read(self, line: bytes) -> str:
        try:
            answer = json.loads(line)
            if answer["ok"]:
                return str(answer["fingerprint"])
            name, reason = str(answer["error"]), str(answer["reason"])
        except (ValueError, TypeError, KeyError):
            await self._end()
            reason = "its trial load gave an answer that cannot be read"
            raise VersionRefused(RefusalCause.FAILED, reason) from None
        cause = CAUSES.get(name, RefusalCause.FAILED)
        raise VersionRefused(cause, reason or name, transient=cause in TRANSIENT_CAUSES)

    async def _describe_exit(self, probe: _Probe) -> str:
        code = await probe.process.wait()
        await self._end()
        if code >= 0:
            return f"ended the process with code {code}"
        return f"killed the process with {signal.Signals(-code).name}"

    async def _end(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            await probe.end()


def _request(wanted: VersionRequest) -> dict[str, object]:
    return {
        "root": str(wanted.root),
        "model": wanted.model,
        "version": wanted.version,
        "key": wanted.key.hex() if wanted.key else "",
        "require_signature": wanted.require_signature,
    }
