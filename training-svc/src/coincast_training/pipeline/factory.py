"""Build a training pipeline from the settings, for the process of a job and for the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coincast_chassis.clock import steady_clock
from coincast_chassis.errors import InvalidInput
from coincast_training.domain import HOURLY_MODELS
from coincast_training.market_access import Announce, open_market
from coincast_training.pipeline.pipeline import Pipeline
from coincast_training.ports import HourlyHistorySource
from coincast_training.registry.promotion_gate import GateTolerances
from coincast_training.registry.registry import Registry
from coincast_training.settings import Settings
from coincast_training.trainers.config import default_folder, read_config
from coincast_training.trainers.registry import find_fit

if TYPE_CHECKING:
    from coincast_training.hourly.trainer import IntradayPipeline


def open_registry(settings: Settings) -> Registry:
    """Return the registry of the artifact folder."""
    key = settings.signing_key.get_secret_value().encode() if settings.signing_key else None
    return Registry(
        settings.artifacts_dir,
        clock=steady_clock(),
        key=key,
        require_signature=settings.require_signature,
        bounds=GateTolerances(
            skill_loss_points=settings.gate_max_skill_loss_points,
            crps_loss_points=settings.gate_max_crps_loss_points,
            production_loss_points=settings.gate_max_production_loss_points,
        ),
    )


@asynccontextmanager
async def open_pipeline(settings: Settings, *, announce: Announce | None = None) -> AsyncIterator[Pipeline]:
    """Open the pipeline of daily models, with the market data of `open_market`."""
    async with open_market(settings, announce=announce) as market:
        settings = market.settings
        yield Pipeline(
            history=market.history,
            registry=open_registry(settings),
            find_fit=find_fit,
            clock=steady_clock(),
            seed=settings.seed,
            work_dir=settings.work_dir,
            executor=settings.executor,
            keep_versions=settings.keep_versions,
            parameters=partial(recipe, settings),
            market_data=market.description,
        )


@asynccontextmanager
async def open_run(
    settings: Settings,
    model: str,
    *,
    hourly_folder: Path | None = None,
    announce: Announce | None = None,
) -> AsyncIterator[Pipeline | IntradayPipeline]:
    """Open the pipeline of a model, daily or hourly.

    Args:
        settings: Settings of the service.
        model: The model to train.
        hourly_folder: A folder of hourly Parquet files, read instead of market-data.
        announce: Called with a description of the source of the histories.
    """
    if model not in HOURLY_MODELS:
        async with open_pipeline(settings, announce=announce) as pipeline:
            yield pipeline
        return
    from coincast_training.hourly.trainer import FolderHistory, IntradayPipeline  # noqa: PLC0415 - imports scipy, which is slow

    async with AsyncExitStack() as stack:
        history: HourlyHistorySource
        if hourly_folder is None:
            market = await stack.enter_async_context(open_market(settings, announce=announce))
            history, settings = market.history, market.settings
        else:
            history = FolderHistory(hourly_folder)
        yield IntradayPipeline(
            history=history,
            registry=open_registry(settings),
            clock=steady_clock(),
            keep_versions=settings.keep_versions,
        )


def recipe(settings: Settings, model: str) -> dict[str, Any]:
    """Return the recipe of a model.

    Raises:
        InvalidInput: The file of the recipe is wrong; the message names the file and the field.
    """
    try:
        return read_config(settings.config_dir or default_folder(), model)
    except ValueError as error:
        raise InvalidInput(str(error), field="config_dir") from error
