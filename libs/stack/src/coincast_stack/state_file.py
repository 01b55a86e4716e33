"""The state file of a running stack, from which other programs on this machine read its addresses."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

NAME = "running.json"


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Addresses of a running stack, without secrets.

    Attributes:
        pid: Process that runs the stack.
        gateway_url: Root URL of the REST API.
        market_target: gRPC address of the market-data service.
        forecast_target: gRPC address of the forecast service.
        training_target: gRPC address of the training service.
        upstream: `coingecko` or `sandbox`.
        state_dir: Folder of archive, artifacts, forecast log and logs.
    """

    pid: int
    gateway_url: str
    market_target: str
    forecast_target: str
    training_target: str
    upstream: str
    state_dir: str


def user_state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the user's folder for the state file of `make run`, found from any working folder."""
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "coincast"


@contextmanager
def published_for_user(running: RunningStack, folder: Path | None = None) -> Iterator[None]:
    """Write the state file into the user's folder for the block, where that can be written.

    Each stack has a file of its own there (`running-PID.json`), so that one that ends leaves the others to be
    found. Files of stacks that were killed are removed.

    Args:
        running: The running stack.
        folder: Replaces the user's folder in tests.
    """
    folder = folder or user_state_dir()
    with contextlib.ExitStack() as stack:
        # Without it programs still find the stack from its own folder.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_dead(folder)
            stack.enter_context(published(folder, running, name=f"running-{running.pid}.json"))
        yield


def _remove_dead(folder: Path) -> None:
    """Remove the state files of stacks whose process no longer exists."""
    for path in folder.glob("running*.json"):
        if read_state_file(folder, name=path.name) is None:
            path.unlink(missing_ok=True)


@contextmanager
def published(var_dir: Path, running: RunningStack, *, name: str = NAME) -> Iterator[Path]:
    """Write the state file for the block; remove it afterwards unless another stack has replaced it."""
    path = var_dir / name
    temporary = var_dir / f".{name}.{os.getpid()}"
    temporary.write_text(json.dumps(asdict(running), indent=2) + "\n")
    temporary.replace(path)
    try:
        yield path
    finally:
        current = read_state_file(var_dir, name=name, check_process=False)
        if current is not None and current.pid == running.pid:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def read_state_file(
    var_dir: Path = Path("var"), *, name: str = NAME, check_process: bool = True
) -> RunningStack | None:
    """Return the addresses of the stack that runs on a folder.

    Args:
        var_dir: VAR_DIR of `make run`.
        name: Name of the file.
        check_process: Whether to ignore the file of a stack whose process no longer exists.

    Returns:
        The addresses, or None if no stack runs there or the file cannot be read.
    """
    try:
        document: dict[str, Any] = json.loads((var_dir / name).read_text())
        running = RunningStack(**document)
        runs = not check_process or psutil.pid_exists(running.pid)
    except (OSError, ValueError, TypeError):
        return None
    return running if runs else None
