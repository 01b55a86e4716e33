"""Forecast the walk-forward days of a candidate with a starter version, for the promotion gate.

A starter ships without its walk-forward forecasts, since they contain prices. Its model therefore forecasts
the walk-forward days of the candidate, from the history that the candidate was trained on.
"""

from __future__ import annotations

import numpy as np

from coincast_chassis.errors import CoincastError
from coincast_modelkit.artifact import ArtifactError, Manifest, read_artifact
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import forecast_days
from coincast_training.pipeline.metrics import rows
from coincast_training.registry.paired_tests import MIN_DATES
from coincast_training.registry.registry import ProductionRerun, Registry
from coincast_training.registry.walk_forward_file import at_saved_precision
from coincast_training.starter.install import is_starter
from coincast_training.trainers.base import WalkForward


def rerun_starter(
    registry: Registry, model: str, data: TrainingData, candidate: WalkForward
) -> ProductionRerun | None:
    """Forecast the candidate's walk-forward days with the starter version in production.

    Days that the starter was trained on are left out if at least `MIN_DATES` later days remain. Otherwise
    they are included, which favours the starter, and the note says so.

    Args:
        registry: Registry with the starter.
        model: Name of the model.
        data: The history that the candidate was trained on.
        candidate: Walk-forward forecasts of the candidate.

    Returns:
        The forecasts of the starter with a note; None if production is not a starter or cannot be loaded.
    """
    version = registry.table(model).production
    if not version or not len(candidate):
        return None
    try:
        manifest, _ = registry.versions.manifest(model, version)
        if not is_starter(manifest):
            return None
        starter = read_artifact(
            registry.root, model, version, key=registry.key, require_signature=registry.require_signature
        ).model
    except (ArtifactError, CoincastError):
        return None
    horizons = [int(h) for h in np.unique(candidate.horizons) if h <= starter.max_horizon_days]
    forecasts = forecast_days(starter, data, candidate.origins.min(), candidate.origins.max(), horizons)
    new = forecasts.origins > np.datetime64(manifest.data.to_date, "D")
    if all_new := len(np.unique(forecasts.origins[new])) >= MIN_DATES:
        forecasts = rows(forecasts, new)
    return ProductionRerun(version, at_saved_precision(forecasts), _note(version, manifest, all_new=all_new))


def _note(version: str, manifest: Manifest, *, all_new: bool) -> str:
    to_date = manifest.data.to_date
    seen = (
        f"it was trained on days up to {to_date}, and only later days are compared"
        if all_new
        else f"it was trained on days up to {to_date}, which are compared as well and favour it"
    )
    level = manifest.metrics.get("level")
    corrected = f"; its widths were corrected on days up to {level['to_date']}" if level else ""
    return f"Production is the starter version {version}, which forecast the same days; {seen}{corrected}."
