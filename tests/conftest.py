"""Shared by all tests: the real candles, the order and grouping of a run, the list of skipped tests."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import ssl
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Never

import httpcore2
import pytest
import structlog
from hypothesis import settings

import coincast_chassis  # noqa: F401 - before gRPC: see there

# A run starts hundreds of Python processes, and each worker imports every file of tests. Without byte code on
# disk each of them compiles the same sources again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The workers of a run share the cores: threads of NumPy's libraries would only wait for each other.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# jsonschema checks internationalised addresses with this package wherever it is installed. No test has such
# an address, and to read the package's grammar takes seconds.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as documented by importlib

# An example has no time limit, since a busy machine would break it.
settings.register_profile("coincast", deadline=None)
settings.load_profile("coincast")

# Every HTTP client loads the machine's certificate authorities when it is made, which takes longer than most
# tests. Tests connect to this machine alone, without TLS or with authorities of their own.
httpcore2.default_ssl_context = lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# By default structlog draws a traceback with all local variables, which takes seconds for one exception.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.dev.set_exc_info,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

REPOSITORY = Path(__file__).resolve().parent.parent

# Variables of `make run` in the caller's shell must not change a test.
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
# Neither must a `make run` of this user, nor may a test's be found by other programs.
os.environ["XDG_STATE_HOME"] = str(Path(tempfile.gettempdir()) / f"coincast-tests-{os.getpid()}")


@pytest.fixture(scope="session")
def daily_candles() -> Path:
    """Return the folder of real daily candles; skips the test where this machine has none."""
    folder = Path(os.environ.get("COINCAST_DATA") or REPOSITORY.parent / "shared" / "data" / "daily")
    if not any(folder.glob("*.csv")):
        pytest.skip(f"no daily candles in {folder}: set COINCAST_DATA to a folder of <coin id>.csv files")
    return folder


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Restore the logging configuration that a command under test has changed."""
    known = structlog.get_config()
    yield
    structlog.configure(**known)


# Tests of one group share fixtures that are expensive to start, so one worker runs them all. Long groups
# start first, so that all workers end at about the same time.
# `make faults`, `make dist-test` and `make test LONG=1` select these; no other run has them.
ON_REQUEST = ("faults", "release", "long")
ORDER = ("e2e", "integration", "contract", "faults", "unit")
SESSION_FIXTURES = ("stack", "scored_stack")
# Folders whose files read the same sources: one worker reads them once for all.
SHARED_FOLDERS = ("tests/unit/house",)


def kind_of(item: pytest.Item) -> str:
    """Return the folder below tests/ that holds the test."""
    parts = item.path.relative_to(REPOSITORY / "tests").parts
    return parts[0] if parts[0] in ORDER else ORDER[-1]


def group_of(item: pytest.Item) -> str:
    """Return the group of a test: what it shares with other files if anything, else its file.

    A test names the group that it shares by `pytest.mark.xdist_group`.
    """
    if (marker := item.get_closest_marker("xdist_group")) is not None:
        return str(marker.args[0])
    used = getattr(item, "fixturenames", ())
    shared = [name for name in SESSION_FIXTURES if name in used]
    if kind_of(item) == "e2e" and shared:
        return f"e2e-{shared[0]}"
    path = str(item.path.relative_to(REPOSITORY))
    return next((folder for folder in SHARED_FOLDERS if path.startswith(f"{folder}/")), path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group and order the tests; leave those of some markers to the verbs that select the markers."""
    left = [marker for marker in ON_REQUEST if marker not in (config.option.markexpr or "")]
    others = [item for item in items if any(map(item.get_closest_marker, left))]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if not any(map(item.get_closest_marker, left))]
    items.sort(key=lambda item: ORDER.index(kind_of(item)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))


# A test that has passed its limit is interrupted by a signal, which does not reach code that waits outside
# Python or that catches every exception. After this much more its process prints where each thread is and
# ends, so that the run names the test and goes on.
SECONDS_BEYOND_THE_LIMIT = 60
terminal: list[int] = []
unfinished: dict[str, None] = {}


def seconds_of(item: pytest.Item) -> float:
    """Return the limit of a test: its marker's, else the default of the configuration."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker is not None else item.config.getini("timeout"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process of a test that its limit could not interrupt."""
    faulthandler.dump_traceback_later(
        seconds_of(item) + SECONDS_BEYOND_THE_LIMIT, file=terminal[0], exit=True
    )
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Watch the end of a failed test as well: pytest takes a failure for the start of a debugger."""
    faulthandler.dump_traceback_later(
        seconds_of(item) + SECONDS_BEYOND_THE_LIMIT, file=terminal[0], exit=True
    )


def pytest_configure() -> None:
    """Keep the standard error stream of this process, which a test's output does not replace."""
    terminal.append(os.dup(2))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let a run that is terminated from outside end as one that is interrupted by hand."""

    def interrupt(*_: object) -> Never:
        raise KeyboardInterrupt

    if not hasattr(session.config, "workerinput"):
        signal.signal(signal.SIGTERM, interrupt)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note a test that starts, in whichever worker."""
    unfinished[nodeid] = None


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Note a test that ended."""
    unfinished.pop(nodeid, None)


def pytest_collection_finish() -> None:
    """Exempt the loaded modules from garbage collection, which would visit a million objects each time."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say that tests are left out, and how to run them."""
    if "long" in (config.option.markexpr or ""):
        return None
    return "tests of several minutes are left out: make test LONG=1"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that an interrupted run leaves, and the skipped ones by what would make each run."""
    if unfinished:
        terminalreporter.section("started and not ended")
        for name in unfinished:
            terminalreporter.write_line(f"    {name.split('@')[0]}")
    skipped: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped[reason.removeprefix("Skipped: ")].append(report.nodeid.split("@")[0])
    if not skipped:
        return
    terminalreporter.section("skipped, and what would make each run")
    for reason, names in sorted(skipped.items()):
        terminalreporter.write_line(f"{reason} ({len(names)})")
        for name in sorted(names):
            terminalreporter.write_line(f"    {name}")
