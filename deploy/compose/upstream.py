"""Settles where market data comes from: CoinGecko, or the sandbox where the profile `offline` is on.

    python upstream.py ask FOLDER       # the profile's own container: the sandbox is wanted
    python upstream.py settle FOLDER    # before every start of market-data: writes its settings, as files

The volumes hold what one of them gave: archive, models, ledger. So the first start decides, and a later one
that asks for the other is refused, with the two ways out. Standard library only.
"""

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
ASKED, KEPT = "asked", "kept"


def ask(folder: Path) -> str:
    """Leave word that the sandbox is wanted; the line to tell."""
    (folder / ASKED).touch()
    return "The sandbox is wanted: profile offline."


def settle(folder: Path) -> str:
    """Write market-data's settings for what is wanted; the line to tell.

    Raises SystemExit where the volumes hold the other.
    """
    asked = folder / ASKED
    wanted = "sandbox" if asked.exists() else "coingecko"
    asked.unlink(missing_ok=True)
    kept = folder / KEPT
    held = kept.read_text() if kept.exists() else wanted
    if held != wanted:
        profile = " --profile offline" if held == "sandbox" else ""
        raise SystemExit(
            f"The volumes hold data of {NAMES[held]}, and {NAMES[wanted]} is asked for; they must not mix. "
            f"Go on with `docker compose{profile} up`, or take other volumes: `docker compose -p NAME ...`."
        )
    for name, value in SANDBOX.items():
        if wanted == "sandbox":
            (folder / name).write_text(value)
        else:
            (folder / name).unlink(missing_ok=True)
    kept.write_text(wanted)
    return f"Market data comes from {NAMES[wanted]}."


if __name__ == "__main__":
    sys.stdout.write({"ask": ask, "settle": settle}[sys.argv[1]](Path(sys.argv[2])) + "\n")
