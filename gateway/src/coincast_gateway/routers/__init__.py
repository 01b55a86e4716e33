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

# OpenAPI lists the routes and FastAPI matches them in this order, so routers with frequent requests come
# first.
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
