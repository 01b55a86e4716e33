"""Market data service: cache, batching, rate limiter, circuit breakers and archive over CoinGecko."""

from __future__ import annotations

import coincast_chassis  # noqa: F401 - it sets gRPC's environment, so it is imported before gRPC
