"""The state file of a running stack: where other programs on this machine find its services."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

NAME = "running.json"


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Addresses of a running stack. It holds no secret.

    Attributes:
        pid: Process that runs the stack.
        gateway_url: Root of the REST interface.
        market_target: gRPC address of the market-data service.
        forecast_target: gRPC address of the forecast service.
        training_target: gRPC address of the training service.
        upstream: `coingecko` or `sandbox`.
        state_dir: Folder of archive, artifacts, ledger and logs.
    """

    pid: int
    gateway_url: str
    market_target: str
    forecast_target: str
    training_target: str
    upstream: str
    state_dir: str


@contextmanager
def published(var_dir: Path, running: RunningStack) -> Iterator[Path]:
    """Write the state file for the block; remove it afterwards unless another stack has replaced it."""
    path = var_dir / NAME
    temporary = var_dir / f".{NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(asdict(running), indent=2) + "\n")
    temporary.replace(path)
    try:
        yield path
    finally:
        current = read_state_file(var_dir, check_process=False)
        if current is not None and current.pid == running.pid:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def read_state_file(var_dir: Path = Path("var"), *, check_process: bool = True) -> RunningStack | None:
    """Return the stack that runs on a folder.

    Args:
        var_dir: The folder that `make run` was given as VAR_DIR.
        check_process: Whether to treat the file of a stack that was killed as absent.

    Returns:
        The addresses, or None if no stack runs there or the file cannot be read.
    """
    try:
        document: dict[str, Any] = json.loads((var_dir / NAME).read_text())
        running = RunningStack(**document)
    except (OSError, ValueError, TypeError):
        return None
    if check_process and not psutil.pid_exists(running.pid):
        return None
    return running
