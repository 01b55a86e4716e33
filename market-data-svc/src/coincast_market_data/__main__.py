"""`python -m coincast_market_data` runs the service; `python -m coincast_market_data import FOLDER` fills
its archive.
"""

from __future__ import annotations

import sys

from coincast_chassis.run import run_service
from coincast_market_data.app import build
from coincast_market_data.settings import Settings


def main() -> None:
    """Run the service, or the command that is named."""
    if len(sys.argv) > 1:
        raise SystemExit(f"unknown command {sys.argv[1]!r}")
    run_service("market-data", Settings, build)


if __name__ == "__main__":
    main()
