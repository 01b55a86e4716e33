"""Log events are snake_case names with fields, in every package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.unit.house.sources import PACKAGES, REPOSITORY, module_nodes, package_sources

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
LOGGER = re.compile(r"(^|[._])log(ger)?$")
EVENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def bad_events(source: str) -> list[str]:
    """Return the log calls whose event is a sentence, or whose values stand beside the event without a name.

    An event that is passed as a variable is checked where it is written, if that is a log call.
    """
    found = []
    for node in module_nodes(source):
        match node:
            case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[event, *values]) if (
                level in LEVELS and LOGGER.search(ast.unparse(logger))
            ):
                named = not isinstance(event, ast.Constant) or EVENT.fullmatch(str(event.value))
                if not named or isinstance(event, ast.JoinedStr) or values:
                    found.append(f"{node.lineno} {ast.unparse(event)}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_log_events_are_names(package: str) -> None:
    assert [
        f"{Path(path).relative_to(REPOSITORY)}:{finding}"
        for path in package_sources(package)
        for finding in bad_events(path.read_text())
    ] == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("log.info('worker_died', pid=1)", 0),
        ("self._log.info(event)", 0),
        ("log.info('a worker died')", 1),
        ("log.warning(f'worker {pid} died')", 1),
        ("logger.error('worker_died', 7)", 1),
        ("math.log(x)", 0),
    ],
)
def test_a_sentence_is_found(source: str, count: int) -> None:
    assert len(bad_events(source)) == count
