"""What tests of every kind share: where the real candles are, and how faults are kept out of a plain run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

import coincast_chassis  # noqa: F401 - before gRPC: see there

# Wall time says nothing on a busy machine: an example may take as long as it takes.
settings.register_profile("coincast", deadline=None)
settings.load_profile("coincast")

REPOSITORY = Path(__file__).resolve().parent.parent


# What a caller's shell or make hands down to `make run`; a test that means one of them sets it itself.
for name in (
    "UPSTREAM",
    "PORT",
    "COIN",
    "DAYS",
    "MODEL",
    "DATA",
    "REDIS_URL",
    "VAR_DIR",
    "MAKEFLAGS",
    "MAKELEVEL",
):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def daily_candles() -> Path:
    """Return the folder of real daily candles; skips the test where this machine has none."""
    folder = Path(os.environ.get("COINCAST_DATA") or REPOSITORY.parent / "shared" / "data" / "daily")
    if not any(folder.glob("*.csv")):
        pytest.skip(f"no daily candles in {folder}: set COINCAST_DATA to a folder of <coin id>.csv files")
    return folder


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that sets up its logs does so for the test that calls it alone."""
    known = structlog.get_config()
    yield
    structlog.configure(**known)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the fault injections to `make faults`, which asks for them by their marker."""
    if "faults" in (config.option.markexpr or ""):
        return
    faults = [item for item in items if item.get_closest_marker("faults")]
    if faults:
        config.hook.pytest_deselected(items=faults)
        items[:] = [item for item in items if not item.get_closest_marker("faults")]
