"""Train a model from Python with one function call."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coincast_modelkit.artifact import Record
from coincast_training.domain import TrainingSpec
from coincast_training.jobs.validation import JobLimits, validate_spec
from coincast_training.pipeline.factory import open_pipeline
from coincast_training.settings import Settings
from coincast_training.trainers.progress import Progress


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """Result of a training.

    Attributes:
        model_type: Name of the model.
        coins: The coins of the training.
        version: Name of the saved version; empty if it was not saved.
        record: The walk-forward record.
        promotion: Result of the promotion, in words.
        model: The fitted model, ready to forecast.
        market_data: Source of the history, in words.
    """

    model_type: str
    coins: tuple[str, ...]
    version: str
    record: Record
    promotion: str
    model: Any
    market_data: str = ""


def _silent(fraction: float, stage: str) -> None:
    """Ignore the progress."""


async def train_model_for_crypto(
    crypto_id: str | Sequence[str],
    model_type: str = "lightgbm",
    days: int = 365,
    *,
    save_model: bool = True,
    promote_if_better: bool = False,
    tune_trials: int = 0,
    settings: Settings | None = None,
    progress: Progress = _silent,
) -> TrainedModel:
    """Train a model on the last `days` days (0 for all) of one coin or several, and save it as a version.

    The history comes from the market-data service at `TRAINING_MARKET_TARGET`. Without that setting it comes
    from a running `make run`, else from CoinGecko, else from the sandbox.

    Args:
        crypto_id: CoinGecko id, or several ids.
        model_type: Name of the model.
        days: Days of history; 0 for all.
        save_model: Whether to save the model as a version.
        promote_if_better: Whether to promote the version if it passes the promotion gate.
        tune_trials: Number of tuning trials; 0 uses the configured parameters.
        settings: Settings of the training; by default those of the environment.
        progress: Called with the completed share and the stage.

    Raises:
        InvalidInput: An argument is wrong.
        NotReady: There is too little history, or a library is not installed.
        Unavailable: No source has a history.
    """
    ids = (crypto_id,) if isinstance(crypto_id, str) else tuple(crypto_id)
    spec = validate_spec(
        TrainingSpec(
            model=model_type, ids=ids, days=days, tune_trials=tune_trials, promote_if_better=promote_if_better
        ),
        JobLimits(),
    )
    async with open_pipeline(settings or Settings()) as pipeline:
        run = await pipeline.fit(spec, run_id=uuid.uuid4().hex[:16], progress=progress)
        if not save_model:
            return TrainedModel(
                model_type=model_type,
                coins=spec.ids,
                version="",
                record=run.record,
                promotion="",
                model=run.fitted.model,
                market_data=pipeline.market_data,
            )
        outcome = await pipeline.keep(spec, run, requested_by="python", progress=progress)
        return TrainedModel(
            model_type=model_type,
            coins=spec.ids,
            version=outcome.version,
            record=run.record,
            promotion=outcome.promotion,
            model=run.fitted.model,
            market_data=pipeline.market_data,
        )
