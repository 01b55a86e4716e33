"""FastAPI routers, one module per area of the API.

A new endpoint is one function in one of these modules; CONTRIBUTING.md shows how.
"""

from __future__ import annotations

from fastapi import APIRouter

from coincast_gateway.routers import (
    coins,
    exports,
    forecasts,
    health,
    markets,
    models,
    pages,
    prices,
    risk,
    training,
    usage,
)

# In the order in which OpenAPI lists them and FastAPI matches them: what is requested often comes first.
ROUTERS: tuple[APIRouter, ...] = (
    prices.router,
    forecasts.router,
    risk.router,
    markets.router,
    coins.router,
    exports.router,
    models.router,
    training.router,
    usage.router,
    health.router,
    pages.router,
)
