"""What is printed when a process of the stack has ended."""

from __future__ import annotations

import pytest

from coincast_stack.errors import ChildDeathError


@pytest.mark.parametrize(
    ("code", "lines", "says", "exit_code"),
    [
        (
            -9,
            ["[info     ] Started [bold]", "no closing [/tag] here"],
            "market ended with exit code -9; its last log lines:"
            "\n    [info     ] Started [bold]\n    no closing [/tag] here",
            1,
        ),
        (1, [], "market ended with exit code 1; its last log lines: (none)", 1),
        (2, ["started", "Setting MARKET_PORT: wrong."], "Setting MARKET_PORT: wrong.", 2),
        (2, [], "market ended with exit code 2; its last log lines: (none)", 2),
    ],
)
def test_a_death_is_reported_with_the_lines_of_the_log(
    code: int, lines: list[str], says: str, exit_code: int
) -> None:
    death = ChildDeathError("market", code, lines)
    assert (str(death), death.exit_code) == (says, exit_code)
