"""The typed Python client of the Coincast gateway, and the `coincast` command built on it.

from coincast_client import Coincast

with Coincast("http://127.0.0.1:8000") as coincast:
    print(coincast.forecasts("bitcoin", days=7).to_pandas())
"""

from __future__ import annotations

from coincast_client import schemas
from coincast_client.client import AsyncCoincast, Coincast
from coincast_client.errors import CoincastClientError, Refused, UnexpectedReply, Unreachable

__all__ = [
    "AsyncCoincast",
    "Coincast",
    "CoincastClientError",
    "Refused",
    "UnexpectedReply",
    "Unreachable",
    "schemas",
]
