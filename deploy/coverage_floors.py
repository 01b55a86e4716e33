"""Check each package's measured coverage against its floor: run by `make coverage` after the tests."""

from __future__ import annotations

import io
import sys

from coverage import Coverage
from coverage.exceptions import NoDataError

DEFAULT_FLOOR_PERCENT = 90.0
FLOORS_PERCENT = {
    "libs/chassis": DEFAULT_FLOOR_PERCENT,
    "libs/client": DEFAULT_FLOOR_PERCENT,
    "libs/modelkit": DEFAULT_FLOOR_PERCENT,
    "libs/sandbox": DEFAULT_FLOOR_PERCENT,
    "libs/stack": DEFAULT_FLOOR_PERCENT,
    "gateway": DEFAULT_FLOOR_PERCENT,
    "market-data-svc": DEFAULT_FLOOR_PERCENT,
    "forecast-svc": DEFAULT_FLOOR_PERCENT,
    # Training runs in worker processes, of which the tests start few.
    "training-svc": 85.0,
}


def main() -> int:
    """Print each package's coverage; return 1 if one is below its floor or was not measured."""
    coverage = Coverage()
    coverage.load()
    below = []
    for package, floor in FLOORS_PERCENT.items():
        try:
            percent = coverage.report(include=[f"*/{package}/src/*"], file=io.StringIO())
        except NoDataError:
            percent = 0.0
        mark = "" if percent >= floor else "  BELOW ITS FLOOR"
        sys.stdout.write(f"{package:<18}{percent:6.1f} %  (floor {floor:.0f} %){mark}\n")
        if percent < floor:
            below.append(package)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
