"""Entry point: `python -m coincast_market_data` runs the service.

The command `import FOLDER` fills the archive from files; `backfill`, `repair` and `quality` call a running
service.
"""

from __future__ import annotations

import sys

from coincast_chassis.import_blocker import block_imports

# pyarrow imports pandas if it is installed, which takes time and memory and is not needed.
block_imports(["pandas"])

from coincast_chassis.run import run_service  # noqa: E402 - imports are blocked before anything is imported
from coincast_market_data.app import build  # noqa: E402
from coincast_market_data.settings import Settings  # noqa: E402


def main() -> None:
    """Run the service, or the command that the arguments name."""
    if len(sys.argv) > 1:
        from coincast_market_data.cli.main import cli  # noqa: PLC0415 - the service needs no command line

        cli(prog_name="python -m coincast_market_data")
    run_service("market-data", Settings, build)


if __name__ == "__main__":
    main()
