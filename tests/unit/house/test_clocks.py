"""Services read the wall clock through the steady clock, so that a clock that is set changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = ("gateway", "market-data-svc", "forecast-svc", "training-svc")
WALL = re.compile(r"\btime\.time\(|datetime\.now\(|datetime\.utcnow\(|date\.today\(|\bSystemClock\(\)")
# Where the wall clock itself is meant, and why.
ALLOWED = {
    "gateway/src/coincast_gateway/coingecko_compat/errors.py": "a stamp in an error body, for people",
    "gateway/src/coincast_gateway/cli/keys.py": "a command, which ends at once",
    "forecast-svc/src/coincast_forecast/prediction_log/writer.py": "ages of files, dated by the wall clock",
    "training-svc/src/coincast_training/starter/hourly.py": "a command that builds the starter versions",
    "training-svc/src/coincast_training/starter/build.py": "a command that builds the starter versions",
    "training-svc/src/coincast_training/evaluation/csv_loader.py": "a command that reads files",
    "training-svc/src/coincast_training/hourly/folder_loader.py": "as above",
    "market-data-svc/src/coincast_market_data/cli/main.py": "a command, which ends at once",
    "market-data-svc/src/coincast_market_data/history/service.py": "monotonic time alone",
    "market-data-svc/src/coincast_market_data/app.py": "wrapped in a steady clock by the infrastructure",
}


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_reads_the_wall_clock_by_itself(service: str) -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / service / "src").rglob("*.py")
        if WALL.search(path.read_text())
    }
    assert found - set(ALLOWED) == set()


def test_every_exception_is_needed() -> None:
    unneeded = [name for name in ALLOWED if not WALL.search((ROOT / name).read_text())]
    assert unneeded == []
