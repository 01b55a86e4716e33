"""Rules that no linter knows: documented modules, no pickles, locks without addresses."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.unit.house.sources import PACKAGES, REPOSITORY, module_nodes, sources, tracked


def has_docstring(source: str) -> bool:
    """Return whether a module begins with a docstring."""
    module = module_nodes(source)[0]
    return isinstance(module, ast.Module) and ast.get_docstring(module) is not None


@pytest.mark.slow
def test_every_module_has_a_docstring() -> None:
    assert [str(p) for p in sources() if not has_docstring(p.read_text())] == []


@pytest.mark.parametrize(
    ("source", "documented"), [('"""Text."""\nx = 1', True), ("x = 1", False), ("", False)]
)
def test_a_docstring_is_found(source: str, documented: bool) -> None:
    assert has_docstring(source) is documented


@pytest.mark.parametrize("lock", sorted(p.name for p in tracked("requirements/*.txt")))
def test_locks_hold_hashes_and_no_address(lock: str) -> None:
    text = (REPOSITORY / "requirements" / lock).read_text()
    assert not re.search(r"(https?|file)://", text)
    pinned = re.findall(r"^[A-Za-z0-9][^\s=]*==\S+", text, flags=re.MULTILINE)
    assert pinned
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pinned)


def test_nothing_is_pickled() -> None:
    found = [
        str(path.relative_to(REPOSITORY))
        for path in sources()
        if re.search(
            r"^\s*(import|from) (pickle|joblib\.dump|cloudpickle|dill)\b",
            path.read_text(),
            flags=re.MULTILINE,
        )
    ]
    assert found == []


@pytest.mark.slow
def test_no_path_of_a_machine_is_committed() -> None:
    pattern = re.compile(r"(?<![\w.])/(root|home|Users)/[a-z]")
    texts = tracked("*.py", "*.md", "*.toml", "*.yml", "*.yaml", "*.txt", "*.sh", "Makefile")
    assert [str(p) for p in texts if pattern.search(p.read_text()) and p.name != Path(__file__).name] == []


def waits_after_one_cancellation(source: str) -> list[int]:
    """Return the lines that wait, without a limit, for tasks which the same function has cancelled before."""
    lines: list[int] = []
    for function in module_nodes(source):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        cancelled = {
            ast.unparse(call.func).removesuffix(".cancel"): call.lineno
            for call in calls
            if ast.unparse(call.func).endswith(".cancel") and not call.args
        }
        lines += [
            call.lineno
            for call in calls
            if ast.unparse(call.func) in {"asyncio.gather", "asyncio.wait"}
            and not any(keyword.arg == "timeout" for keyword in call.keywords)
            and cancelled
            and call.lineno > min(cancelled.values())
        ]
        lines += [
            node.lineno
            for node in ast.walk(function)
            if isinstance(node, ast.Await)
            and node.lineno > cancelled.get(ast.unparse(node.value), node.lineno)
        ]
    return lines


def test_whoever_cancels_a_task_and_waits_for_it_does_so_for_certain() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for folder in (*PACKAGES.values(), "bench")
        for path in tracked(f"{folder}/*.py")
        if path.name != "cancellation.py" and ".cancel()" in (source := path.read_text())
        for line in waits_after_one_cancellation(source)
    ]
    assert not found, "use coincast_chassis.resilience.cancellation.cancel_and_wait: " + " ".join(found)
    example = "async def f():\n    task.cancel()\n    await asyncio.gather(task, return_exceptions=True)\n"
    assert waits_after_one_cancellation(example) == [3]
    assert waits_after_one_cancellation("async def f():\n    task.cancel()\n    await task\n") == [3]
    assert waits_after_one_cancellation("async def f():\n    task.cancel()\n    await other\n") == []
