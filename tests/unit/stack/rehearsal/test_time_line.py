"""The time line shows each event as it was said."""

from __future__ import annotations

import io

from rich.console import Console

from coincast_stack.rehearsal.time_line import TimeLine


def test_an_event_is_a_line_with_its_time() -> None:
    out = io.StringIO()
    long = "forecast of bitcoin [starter] " + "x" * 100
    TimeLine(Console(file=out, width=40)).say(3.14159, long)
    assert out.getvalue() == f"    3.1 s  {long}\n"
