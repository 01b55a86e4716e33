"""Every block of docs/client.md runs against a real system."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from coincast_client import Coincast
from coincast_stack.testing import StackHandle

PAGE = (Path(__file__).resolve().parents[2] / "docs/client.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)]
MOST_LINES = 3
# Missing days, and forecasts whose day has ended: a new system has neither.
MAY_BE_EMPTY = {8, 15}
# The first test of a session waits for the stack and its first model.
pytestmark = pytest.mark.timeout(600)


def test_there_are_twenty_tasks_of_at_most_three_lines() -> None:
    tasks = BLOCKS[1:]
    assert len(tasks) == 20
    assert [task for task in tasks if len(task.strip().splitlines()) > MOST_LINES] == []


@pytest.mark.parametrize("number", range(1, len(BLOCKS)))
def test_task_runs(stack: StackHandle, number: int) -> None:
    with Coincast(stack.gateway_url, timeout_seconds=60) as coincast:
        shown = last_value(BLOCKS[number], {"coincast": coincast}, f"docs/client.md task {number}")
    assert shown is not None
    if number not in MAY_BE_EMPTY and not isinstance(shown, float):
        assert len(shown) > 0


def last_value(code: str, names: dict[str, Any], source: str) -> Any:
    """Run code and return the value of its last line, which a notebook would show."""
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(before, []), source, "exec"), names)
    return eval(compile(ast.Expression(last.value), source, "eval"), names)
