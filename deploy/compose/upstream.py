"""Choose the source of market data: CoinGecko, or the sandbox if the profile `offline` is active.

    python upstream.py ask FOLDER       # in the profile's own container: request the sandbox
    python upstream.py settle FOLDER    # before every start of market-data: write its settings as files

Archive, models and ledger in the volumes come from one source and must not be mixed with the other. The first
start therefore decides. A later start that requests the other source is refused, with a message that says
what to do. It uses only the standard library.
"""

from __future__ import annotations

import sys
from pathlib import Path

SANDBOX = {
    "market_upstream": "sandbox",
    "market_upstream_url": "http://sandbox:8100/api/v3",
    "market_plan": "pro",
    "market_api_key": "sandbox",
    "market_per_minute_limit": "6000",
    "market_per_month_limit": "0",
}
NAMES = {"coingecko": "CoinGecko", "sandbox": "the sandbox"}
# Names of files: one exists while the sandbox is requested; the other holds the source that was chosen first.
REQUESTED, CHOSEN = "asked", "kept"


def ask(folder: Path) -> str:
    """Request the sandbox and return the line to print."""
    (folder / REQUESTED).touch()
    return "The sandbox is requested: profile offline."


def settle(folder: Path) -> str:
    """Write market-data's settings and return the line to print.

    Raises:
        SystemExit: The volumes hold data of the other source.
    """
    request = folder / REQUESTED
    wanted = "sandbox" if request.exists() else "coingecko"
    request.unlink(missing_ok=True)
    chosen = folder / CHOSEN
    held = chosen.read_text() if chosen.exists() else wanted
    if held != wanted:
        profile = " --profile offline" if held == "sandbox" else ""
        raise SystemExit(
            f"The volumes hold data of {NAMES[held]}, and {NAMES[wanted]} was requested; they must not mix. "
            f"Run `docker compose{profile} up`, or take other volumes: `docker compose -p NAME ...`."
        )
    for name, value in SANDBOX.items():
        if wanted == "sandbox":
            (folder / name).write_text(value)
        else:
            (folder / name).unlink(missing_ok=True)
    chosen.write_text(wanted)
    return f"Market data comes from {NAMES[wanted]}."


if __name__ == "__main__":
    sys.stdout.write({"ask": ask, "settle": settle}[sys.argv[1]](Path(sys.argv[2])) + "\n")
