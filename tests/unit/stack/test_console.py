"""What the terminal shows: progress as a bar or as lines, the warning about the sandbox, a forecast."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from coincast.market.v1 import market_pb2 as pb
from coincast_stack.console import (
    ProgressBar,
    ProgressLines,
    UpstreamProblems,
    console,
    forecast_table,
    sandbox_warning,
    start_progress,
)
from coincast_stack.status.market import upstream_view
from tests.unit.stack.fake_system import planned_system


def printed(shown: object, width: int = 110) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(shown)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_is_wide_enough_for_the_table(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "73")
    assert console().width == (73 if terminal else 110)


def test_a_terminal_gets_a_bar_and_a_log_gets_lines() -> None:
    assert isinstance(start_progress(Console(file=io.StringIO(), force_terminal=True)), ProgressBar)
    assert isinstance(start_progress(Console(file=io.StringIO())), ProgressLines)


def test_a_line_is_printed_when_the_stage_changes_or_a_tenth_is_done() -> None:
    out = io.StringIO()
    with ProgressLines(Console(file=out, width=80)) as progress:
        for text, share in [
            ("waiting", None), ("waiting", None), ("lightgbm: [fit]", 0.0), ("lightgbm: [fit]", 0.05),
            ("lightgbm: [fit]", 0.31), ("lightgbm: [fit]", 0.39), ("loading ([/oops])", None),
        ]:  # fmt: skip
            progress(text, share)
    lines = [line.partition(" s  ")[2] for line in out.getvalue().splitlines()]
    assert lines == ["waiting", "lightgbm: [fit]", "lightgbm: [fit]  31%", "loading ([/oops])"]


def test_the_bar_shows_the_stage_and_the_work_of_the_upstream() -> None:
    out = io.StringIO()
    queue = pb.QueueStatus(current="history of bitcoin", in_words="history of bitcoin [7 left]")
    with ProgressBar(Console(file=out, width=160, force_terminal=True)) as progress:
        progress("lightgbm: [fit]", 0.5)
        progress.show_upstream(upstream_view(pb.GetStatusResponse(queue=queue)))
    assert "lightgbm: [fit]" in out.getvalue()
    assert "history of bitcoin [7 left]" in out.getvalue()


def test_a_problem_that_was_printed_before_is_not_repeated() -> None:
    out = io.StringIO()
    problems = UpstreamProblems(Console(file=out))
    problems.note_shown("dns")
    failing = pb.UpstreamStatus(tried=True, sentence="No such name.", cause="dns")
    problems.show(upstream_view(pb.GetStatusResponse(upstream_status=failing)))
    assert out.getvalue() == ""
    answering = pb.UpstreamStatus(tried=True, available=True)
    problems.show(upstream_view(pb.GetStatusResponse(upstream_status=answering)))
    assert out.getvalue() == "The upstream answers again.\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "It simulates 300 coins"),
        ("/candles/[/old]", "It replays the candles of /candles/[/old], shifted"),
    ],
)
def test_the_warning_names_what_the_sandbox_shows(tmp_path: Path, data: str, says: str) -> None:
    text = printed(sandbox_warning(planned_system(tmp_path).idle_stack(), data))
    assert "NOT REAL MARKET DATA" in text
    assert says in text


def forecast(price: float) -> dict[str, object]:
    spans = {"80": {"lower": price * 0.9, "upper": price * 1.1}, "95": {"lower": 0.0, "upper": price * 2}}
    return {
        "id": "bitcoin", "vs_currency": "usd", "served_by": "lightgbm", "version": "v000007",
        "source": "sandbox", "last_price": price, "as_of": "2026-07-25T00:00:00Z",
        "points": [{"date": "2026-07-26", "price": price, "intervals": spans}],
    }  # fmt: skip


def test_a_forecast_is_a_row_for_each_day_with_its_intervals() -> None:
    text = printed(forecast_table(forecast(64_250.5)))
    title = "bitcoin in usd: 64,250.50 at 2026-07-25 00:00 UTC (lightgbm v000007, source sandbox)"
    assert " ".join(text.split()).startswith(title)
    assert "80 % interval" in text
    assert "57,825.45 .. 70,675.55" in text
    assert "2026-07-26" in text


def test_a_price_below_one_keeps_its_digits() -> None:
    text = printed(forecast_table(forecast(0.0000123456)))
    assert "1.23456e-05" in text
    assert "0 .. 2.46912e-05" in text


def test_a_model_without_a_version_has_its_name_alone() -> None:
    document = forecast(2.0) | {"served_by": "technical", "version": ""}
    assert "(technical, source sandbox)" in printed(forecast_table(document))
