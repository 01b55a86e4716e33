"""The parent's side of the trial: asks the child process to load a version, and judges how that ended."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from enum import StrEnum

from coincast_forecast.registry.verification import VersionRequest

COMMAND = (sys.executable, "-m", "coincast_forecast.registry.probe_process")


class RefusalCause(StrEnum):
    """Why a version was refused: the metric's label."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    REFUSED = "refused"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


class VersionRefused(Exception):  # noqa: N818 - the name says the state
    """A version failed its trial. `transient` where a later try may go better."""

    def __init__(self, cause: RefusalCause, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.transient = transient


CAUSES: Mapping[str, RefusalCause] = {
    "ArtifactMissing": RefusalCause.MISSING,
    "ArtifactCorrupt": RefusalCause.CORRUPT,
    "ArtifactRefused": RefusalCause.REFUSED,
}

# Files can be restored in place; a crash or a wrong forecast stays one.
TRANSIENT_CAUSES = frozenset({RefusalCause.MISSING, RefusalCause.CORRUPT})


class ProbeClient:
    """One child process for a row of versions; a new one takes over where it died. Use as a context
    manager.
    """

    def __init__(self, timeout_seconds: float, command: tuple[str, ...] = COMMAND) -> None:
        self._timeout_seconds = timeout_seconds
        self._command = command
        self._process: Process | None = None

    async def __aenter__(self) -> "ProbeClient":
        """The child starts with the first version."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """The child ends with the last."""
        await self._end()

    async def load(self, wanted: VersionRequest) -> str:
        """The fingerprint of what the child could load. Raises VersionRefused."""
        process = await self._running()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                line = await self._ask(process, wanted)
        except TimeoutError:
            await self._end()
            reason = f"its trial load did not end within {self._timeout_seconds:g} s"
            raise VersionRefused(RefusalCause.TIMED_OUT, reason, transient=True) from None
        except asyncio.CancelledError:
            await self._end()
            raise
        if not line:
            raise VersionRefused(RefusalCause.CRASHED, f"its trial load {await self._how_it_died(process)}")
        answer = json.loads(line)
        if not answer["ok"]:
            cause = CAUSES.get(answer["error"], RefusalCause.FAILED)
            raise VersionRefused(
                cause, answer["reason"] or answer["error"], transient=cause in TRANSIENT_CAUSES
            )
        return str(answer["fingerprint"])

    async def _ask(self, process: Process, wanted: VersionRequest) -> bytes:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
        asked = {
            "root": str(wanted.root),
            "model": wanted.model,
            "version": wanted.version,
            "key": wanted.key.hex() if wanted.key else "",
            "require_signature": wanted.require_signature,
        }
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            await process.stdin.drain()
            return await process.stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            return b""

    async def _running(self) -> Process:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        return self._process

    async def _how_it_died(self, process: Process) -> str:
        code = await process.wait()
        self._process = None
        if code >= 0:
            return f"ended the process with code {code}"
        return f"killed the process with {signal.Signals(-code).name}"

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
