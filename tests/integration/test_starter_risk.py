"""Answers about risk from an empty folder: the starters bring their scenarios, so nothing is degraded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceStub
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.run import serve
from coincast_forecast.app import FULL_NAME, build
from coincast_forecast.settings import Settings
from coincast_modelkit.artifact import Aliases, aliases_path
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.features import REFERENCE_COINS
from coincast_training.starter.install import STARTER_DIR, STARTER_MODELS, STARTER_VERSION
from tests.unit.forecast.forecast_fakes import FakeMarket, market_server, walk


@pytest.mark.parametrize("model", STARTER_MODELS)
async def test_a_starter_answers_from_its_own_scenarios(model: str, tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    shutil.copytree(STARTER_DIR / model, root / model)
    replace_file(aliases_path(root, model), Aliases(production=STARTER_VERSION, revision=1).to_bytes())
    market = FakeMarket()
    for coin in REFERENCE_COINS:
        market.coins.setdefault(coin, walk(coin))
    async with market_server(market) as target:
        settings = Settings(
            port=0,
            metrics_port=0,
            market_target=target,
            artifacts_dir=root,
            spool_dir=tmp_path / "spool",
            redis_url="redis://127.0.0.1:1/0",
            not_serving_seconds=0,
            warm_seconds=60,
            step_timeout_seconds=60,
        )
        async with (
            serve("forecast", settings, build) as address,
            open_channel(address, service=FULL_NAME, timeout_seconds=120) as channel,
        ):
            stub = ForecastServiceStub(channel)
            touch = await stub.EstimateTouch(
                pb.EstimateTouchRequest(ids=["bitcoin"], levels=[pb.TouchLevel(percent=5)], model=model)
            )
            losses = await stub.AssessPortfolio(
                pb.AssessPortfolioRequest(holdings=[pb.Holding(id="bitcoin", value=100)], model=model)
            )
    for basis in (touch.basis, losses.basis):
        assert (basis.served_by, basis.version) == (model, STARTER_VERSION)
        assert (basis.degraded, basis.reason) == (False, "")
        assert basis.scenarios == 1000
        assert basis.record_sentence
        assert list(basis.borrowed_ids) == []
