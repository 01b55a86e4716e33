"""Record the examples of the gateway's OpenAPI from real replies: `python deploy/openapi_examples.py URL`.

URL is a running system (`make run`). Lists are shortened; the content of a reply is not changed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx2
import orjson

TARGET = (
    Path(__file__).resolve().parent.parent / "gateway/src/coincast_gateway/schemas/responses/examples.json"
)
PATHS = {
    "prices": "/prices?ids=bitcoin,etherum",
    "markets": "/markets?per_page=1",
    "coins": "/coins?query=bitcoin&limit=2",
    "history": "/coins/bitcoin/history?days=2",
    "ohlc": "/coins/bitcoin/ohlc?days=7",
    "forecasts": "/forecasts?ids=bitcoin&days=2&model=lightgbm&quantiles=0.1,0.9",
    "forecast_models": "/forecasts/models",
    "explain": "/forecasts/explain?id=bitcoin&days=1&model=lightgbm&features=2",
    "accuracy": "/forecasts/accuracy",
    "versions": "/models?model=lightgbm",
    "jobs": "/training/jobs?limit=1",
    "health": "/health",
    "health_ready": "/health/ready",
    "health_component": "/health/components/redis",
    "problem": "/problems/not-found",
}
ITEMS = 2


def cut(document: Any) -> Any:
    """Return the document with its lists cut to the first few items."""
    if isinstance(document, list):
        return [cut(item) for item in document[:ITEMS]]
    return {name: cut(value) for name, value in document.items()} if isinstance(document, dict) else document


def main() -> None:
    """Request each example and write the file."""
    found = {}
    with httpx2.Client(base_url=sys.argv[1], timeout=60, trust_env=False) as http:
        for name, path in PATHS.items():
            reply = http.get(path)
            reply.raise_for_status()
            found[name] = cut(reply.json())
    TARGET.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main()
