"""Split an evaluation into parts that run independently, so that several cores share the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from coincast_modelkit.candles import Panel
from coincast_training.evaluation.baselines.direction import walk_mean
from coincast_training.evaluation.baselines.garch import walk_garch
from coincast_training.evaluation.baselines.har import walk_har
from coincast_training.evaluation.baselines.reference_models import walk_mlforecast, walk_statsforecast
from coincast_training.evaluation.baselines.simple import walk_simple
from coincast_training.evaluation.options import PRODUCT_MODELS, EvaluationPlan
from coincast_training.evaluation.own_models import walk_model
from coincast_training.evaluation.rows import Rows
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.registry import unavailable_reason

Walk = Callable[[Panel, EvaluationPlan, Progress], Rows]
# Seconds of each part on ten coins and 1,340 days with one thread. Only the ratios matter: they order the
# parts and estimate the time left.
COST = {
    "ml_ensemble": 955.0,
    "lightgbm": 615.0,
    "lstm": 580.0,
    "statsforecast": 400.0,
    "mlforecast": 90.0,
    "mean": 90.0,
    "garch": 24.0,
    "technical": 11.0,
    "har": 3.0,
    "simple": 2.0,
}


def parts_of(plan: EvaluationPlan) -> tuple[dict[str, Walk], list[str]]:
    """Return the parts of a plan, the slowest first, and the reasons why requested models are left out."""
    walks: dict[str, Walk] = {
        "simple": walk_simple,
        "har": walk_har,
        "garch": walk_garch,
    }
    if "peers" in plan.models:
        walks |= {"statsforecast": walk_statsforecast, "mlforecast": walk_mlforecast}
    if "direction" in plan.models:
        walks["mean"] = walk_mean
    left_out = []
    for model in (m for m in plan.models if m in PRODUCT_MODELS):
        reason = "" if model == "technical" else unavailable_reason(model)
        if reason:
            left_out.append(f"{model} is left out: {reason}")
        else:
            walks[model] = partial(walk_model, model)
    return dict(sorted(walks.items(), key=lambda item: -COST[item[0]])), left_out
