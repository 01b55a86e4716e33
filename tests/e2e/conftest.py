"""One whole system for the end-to-end tests: real processes, free ports, real candles through the sandbox."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from coincast_stack.options import StackOptions
from coincast_stack.testing import StackHandle, stack_for_tests
from tests.e2e.e2e_collector import Collector, running_collector
from tests.e2e.e2e_scored import replay_forecasts
from tests.integration.training_rig import QUICK_RECIPES

FOLDER = Path(__file__).resolve().parent
WHOLE_SECONDS = 120.0
COINS = ("bitcoin", "ethereum", "solana")
# Candles of each coin that a system replays: it fetches and stores the whole history of every coin, and no
# test asks for more days than these.
REPLAYED_DAYS = 1000
# Few trees on two years of three coins train in seconds; the figures of a model are tested elsewhere.
QUICK_TRAINING = {
    "TRAINING_CONFIG_DIR": str(QUICK_RECIPES),
    "TRAINING_COINS": ",".join(COINS),
    "TRAINING_BOOTSTRAP_DAYS": "730",
    "TRAINING_STARTER": "false",
}
# A new system fetches all days of every coin and two years of its hours; the tests ask for a month of hours.
SHORT_HISTORIES = {
    "MARKET_HISTORY_REACH_DAYS": str(REPLAYED_DAYS),
    "MARKET_HOURLY_RETENTION_DAYS": "60",
}


# The systems that run. Session fixtures end with the whole run, after idle systems have slowed all others
# down; these end with the last end-to-end test of a worker.
_running = ExitStack()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the systems once no end-to-end test follows."""
    if nextitem is None or FOLDER not in nextitem.path.parents:
        _running.close()


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """The collector to which the services of `stack` send their traces."""
    with running_collector() as running:
        yield running


def copy_newest(folder: Path, into: Path, coins: Iterable[str]) -> None:
    """Copy the newest candles of some coins to another folder."""
    for coin in coins:
        head, *rows = (folder / f"{coin}.csv").read_text().splitlines(keepends=True)
        (into / f"{coin}.csv").write_text("".join([head, *rows[-REPLAYED_DAYS:]]))


@pytest.fixture(scope="session")
def stack(daily_candles: Path, tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> StackHandle:
    var, replayed = tmp_path_factory.mktemp("var"), tmp_path_factory.mktemp("replayed")
    copy_newest(daily_candles, replayed, [file.stem for file in daily_candles.glob("*.csv")])
    settings = QUICK_TRAINING | SHORT_HISTORIES | collector.settings()
    options = StackOptions(var, data=replayed, extra_environment=settings)
    running = _running.enter_context(stack_for_tests(options))
    wait_until_data_is_whole(running.gateway_url)
    return running


def wait_until_data_is_whole(url: str) -> None:
    """Wait until market data has fetched what a new system lacks: until then replies are stale, degraded or
    late, and say so.
    """
    until, lacking = time.monotonic() + WHOLE_SECONDS, "nothing was requested"
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
        while lacking:
            assert time.monotonic() < until, lacking
            lacking = _lacking(client)


def _lacking(client: httpx2.Client) -> str:
    """Return the first reply that is not whole yet; empty where all are."""
    for path, flag in (
        (f"/forecasts?ids={','.join(COINS)}&days=1&model=lightgbm", "degraded"),
        ("/markets?per_page=5", "stale"),
        (f"/prices?ids={','.join(COINS)}", "stale"),
    ):
        reply = client.get(path)
        (entries, *_) = reply.json().values() if reply.status_code == 200 else ([],)
        if reply.status_code != 200 or not entries or any(entry[flag] for entry in entries):
            time.sleep(0.5)
            return f"{path}: {reply.text[:2000]}"
    return ""


@pytest.fixture(scope="session")
def scored_stack(tmp_path_factory: pytest.TempPathFactory) -> StackHandle:
    """A system on a simulated market, which reaches to today, with forecasts that came true."""
    quick = {"TRAINING_SCORING_SECONDS": "3", "TRAINING_DRIFT_CHECK_SECONDS": "10"}
    no_training = {"TRAINING_DRIFT_BUDGET_PER_WEEK": "0"}
    settings = QUICK_TRAINING | SHORT_HISTORIES | quick | no_training
    options = StackOptions(tmp_path_factory.mktemp("scored"), extra_environment=settings)
    running = _running.enter_context(stack_for_tests(options))
    replay_forecasts(running)
    return running


Get = Callable[..., httpx2.Response]


@pytest.fixture(scope="session")
def get(stack: StackHandle) -> Iterator[Get]:
    with httpx2.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as client:
        yield client.get
