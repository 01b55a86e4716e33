"""`python -m coincast_market_data` runs the service.

With `import FOLDER` it fills the archive from files; `backfill`, `repair` and `quality` call a running
service.
"""

from __future__ import annotations

import sys

from coincast_chassis.import_blocker import block_imports

block_imports(["pandas"])  # pyarrow would import it

from coincast_chassis.run import run_service  # noqa: E402 - what is hidden must be hidden first
from coincast_market_data.app import build  # noqa: E402
from coincast_market_data.settings import Settings  # noqa: E402


def main() -> None:
    """Run the service, or the command that is named."""
    if len(sys.argv) > 1:
        from coincast_market_data.cli.main import cli  # noqa: PLC0415 - the service needs no command line

        cli(prog_name="python -m coincast_market_data")
    run_service("market-data", Settings, build)


if __name__ == "__main__":
    main()
