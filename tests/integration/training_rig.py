"""The training service in process over real gRPC, real Redis and real job processes; a gateway before it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from coincast.training.v1 import training_pb2 as pb
from coincast_chassis.run import serve
from coincast_gateway.server import serve as serve_gateway
from coincast_gateway.settings import Settings as GatewaySettings
from coincast_training.app import build
from coincast_training.settings import Settings

COINS = ("bitcoin", "ethereum", "binancecoin", "ripple")
DAYS = 420
# Recipes with few trees: what a job does around the training is tested here, not the quality of the model.
QUICK_RECIPES = Path(__file__).resolve().parent / "quick_recipes"


def first_day() -> str:
    """The first of 420 days that end yesterday."""
    return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS)).isoformat()


def settings_in(folder: Path, redis_url: str, market: str, **options: Any) -> Settings:
    """Settings of a quick service whose state lies in the folder."""
    chosen: dict[str, Any] = {
        "port": 0,
        "market_target": market,
        "redis_url": redis_url,
        "artifacts_dir": folder / "artifacts",
        "ledger_dir": folder / "ledger",
        "work_dir": folder / "work",
        "not_serving_seconds": 0,
        "ledger_poll_seconds": 0.05,
        "scoring_seconds": 0.2,
        "schedule": "",
        "config_dir": QUICK_RECIPES,
    }
    return Settings(**(chosen | options))


@asynccontextmanager
async def training_service(folder: Path, redis_url: str, market: str, **options: Any) -> AsyncIterator[str]:
    """The service, at the address that it yields."""
    async with serve("training", settings_in(folder, redis_url, market, **options), build) as address:
        yield address


@asynccontextmanager
async def through_gateway(market: str, training: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a gateway in front of the service, without a forecast service."""
    settings = GatewaySettings(
        port=0,
        metrics_port=0,
        redis_url="",
        not_serving_seconds=0,
        drain_seconds=1,
        market_target=market,
        forecast_target=market,
        training_target=training,
    )
    async with (
        serve_gateway(settings) as url,
        httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as client,
    ):
        yield client


def spec(**changes: Any) -> pb.TrainingSpec:
    """A LightGBM of one coin on half a year: seconds."""
    values: dict[str, Any] = {"model": "lightgbm", "ids": COINS[:1], "days": 150}
    return pb.TrainingSpec(**(values | changes))
