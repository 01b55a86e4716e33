"""House rule: the text of an error leaves a service without the paths of this machine."""

from __future__ import annotations

import ast

import pytest

from tests.unit.house.sources import REPOSITORY, module_nodes, tracked

SERVICES = (
    "gateway/src",
    "market-data-svc/src",
    "forecast-svc/src",
    "training-svc/src",
    "libs/chassis/src",
)
# What a person reads in the terminal of the same machine may name its files; a StopIteration has no path.
EXEMPT = ("/cli/", "/inference/thread.py")
# Errors whose text may have a path: those of the operating system, and those that are not known closer.
BROAD = {"OSError", "FileNotFoundError", "PermissionError", "ArrowException", "ArtifactError", "Exception"}


def quoting(source: str) -> list[int]:
    """Return the lines that put a caught error of BROAD into a text, other than by `without_path`."""
    lines: list[int] = []
    for handler in module_nodes(source):
        if not isinstance(handler, ast.ExceptHandler) or not handler.name or handler.type is None:
            continue
        caught = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(handler.type)}
        if not caught & BROAD:
            continue
        for node in ast.walk(handler):
            match node:
                case ast.FormattedValue(value=ast.Name(id=name)) if name == handler.name:
                    lines.append(node.lineno)
                case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]) if (
                    name == handler.name
                ):
                    lines.append(node.lineno)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("folder", SERVICES)
def test_no_service_quotes_an_error_with_its_path(folder: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in tracked(f"{folder}/*.py")
        if not any(part in str(path) for part in EXEMPT)
        for line in quoting(path.read_text())
    ]
    assert not found, "use coincast_chassis.observability.error_text.without_path"


@pytest.mark.parametrize(
    ("handler", "body", "faults"),
    [
        ("OSError", "log.warning('x', reason=str(error))", 1),
        ("(ValueError, OSError)", "raise Unavailable(f'no: {error}')", 1),
        ("pa.ArrowException", "return repr(error)", 1),
        ("Exception", "return f'{error!r}'", 1),
        ("Exception", "return f'{type(error).__name__}'", 0),
        ("OSError", "return without_path(error)", 0),
        ("ValueError", "return str(error)", 0),
    ],
)
def test_the_rule_finds_each_form(handler: str, body: str, faults: int) -> None:
    source = f"def f():\n    try:\n        g()\n    except {handler} as error:\n        {body}\n"
    assert len(quoting(source)) == faults


def test_each_exempt_file_exists() -> None:
    files = [str(path) for folder in SERVICES for path in tracked(f"{folder}/*.py")]
    assert all(any(part in file for file in files) for part in EXEMPT)
