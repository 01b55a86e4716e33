"""Every block of docs/client.md runs against a real system."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from coincast_client import Coincast
from coincast_stack.testing import StackHandle

PAGE = (Path(__file__).resolve().parents[2] / "docs/client.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)]
MOST_LINES = 3
# The first test of a session waits for the stack and its first model.
pytestmark = pytest.mark.timeout(600)


def test_there_are_twenty_tasks_of_at_most_three_lines() -> None:
    tasks = BLOCKS[1:]
    assert len(tasks) == 20
    assert [task for task in tasks if len(task.strip().splitlines()) > MOST_LINES] == []


@pytest.mark.parametrize("number", range(1, len(BLOCKS)))
def test_task_runs(stack: StackHandle, number: int) -> None:
    with Coincast(stack.gateway_url, timeout_seconds=60) as coincast:
        exec(compile(BLOCKS[number], f"docs/client.md task {number}", "exec"), {"coincast": coincast})
