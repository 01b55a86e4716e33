"""The view of the market-data service's status: a problem once it is known, the queue in words."""

from __future__ import annotations

import io

from rich.console import Console

from coincast.market.v1 import market_pb2 as pb
from coincast_stack.console import ProgressBar, ProgressLines, UpstreamProblems
from coincast_stack.status.market import MarketWatch, UpstreamView, upstream_view
from tests.unit.stack.fake_system import FakeMarket, grpc_server

WORK = "history of bitcoin, 7 calls left this minute, about 24 s left"
REMEDY = "CoinGecko refused the key: correct COINGECKO_API_KEY."


def status(**fields: object) -> pb.GetStatusResponse:
    return pb.GetStatusResponse(
        plan="demo",
        queue=pb.QueueStatus(current="history of bitcoin", in_words=WORK),
        upstream_status=pb.UpstreamStatus(**fields),  # type: ignore[arg-type]
    )


def test_a_problem_is_shown_once_a_call_has_failed() -> None:
    assert upstream_view(status(tried=True, available=False, sentence=REMEDY)).problem == REMEDY
    assert upstream_view(status(tried=False, available=False, sentence=REMEDY)).problem == ""
    assert upstream_view(status(tried=True, available=True)).problem == ""


def test_a_problem_is_printed_once_for_each_cause_and_its_end_is_printed_too() -> None:
    text = io.StringIO()
    problems = UpstreamProblems(Console(file=text, width=60))
    problems.show(upstream_view(status(tried=True, available=True)))
    for sentence, cause in [("No [x].", "dns"), ("No.", "dns"), (REMEDY, "invalid_key"), ("", "")]:
        failing = {"tried": True, "available": not cause, "sentence": sentence, "cause": cause}
        problems.show(upstream_view(status(**failing)))
        problems.show(None)
    assert text.getvalue().splitlines() == ["No [x].", REMEDY, "The upstream answers again."]


def test_a_log_gets_a_line_for_each_coin_and_a_terminal_one_bar() -> None:
    view = upstream_view(status(tried=True, available=True))
    for make in (ProgressLines, ProgressBar):
        text = io.StringIO()
        with make(Console(file=text, width=200, force_terminal=make is ProgressBar)) as progress:
            progress("fetching", 0.5)
            progress.show_upstream(view)
            progress.show_upstream(view)
            progress.show_upstream(None)
        if make is ProgressLines:
            assert text.getvalue().count("history of bitcoin, 7 calls left this minute") == 1


async def test_the_view_is_requested_from_the_service() -> None:
    market = FakeMarket()
    market.status = status(tried=True, available=False, sentence=REMEDY, cause="invalid_key")
    async with grpc_server(market=market) as target, MarketWatch(target) as watch:
        view = await watch.view()
    assert view == UpstreamView(REMEDY, "invalid_key", "history of bitcoin", WORK, tried=True)


async def test_a_service_that_does_not_answer_has_no_view() -> None:
    async with MarketWatch("127.0.0.1:1") as watch:
        assert await watch.view() is None
