"""Split an evaluation into parts that run independently, so that several cores share the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from coincast_modelkit.candles import Panel
from coincast_training.evaluation.baselines.direction import walk_mean
from coincast_training.evaluation.baselines.garch import walk_garch
from coincast_training.evaluation.baselines.har import walk_har
from coincast_training.evaluation.baselines.reference_models import walk_mlforecast, walk_statsforecast
from coincast_training.evaluation.baselines.simple import walk_simple
from coincast_training.evaluation.options import PRODUCT_MODELS, EvaluationPlan
from coincast_training.evaluation.own_models import walk_model, walk_unseen
from coincast_training.evaluation.rows import Rows
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.registry import unavailable_reason

Walk = Callable[[Panel, EvaluationPlan, Progress], Rows]
# Seconds of each walk on ten coins and 1,340 days with one thread. Only the ratios matter: they order the
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


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an evaluation: a walk, and its estimated duration in relation to the other parts."""

    walk: Walk
    cost: float


def parts_of(plan: EvaluationPlan, coins: Iterable[str]) -> tuple[dict[str, Part], list[str]]:
    """Return the parts of a plan, the slowest first, and the reasons why requested models are left out.

    A model of the product is one part. If the plan is of unseen coins, it has a part for every coin, since
    each coin is forecast by models of its own.
    """
    walks: dict[str, Walk] = {
        "simple": walk_simple,
        "har": walk_har,
        "garch": walk_garch,
    }
    if "peers" in plan.models:
        walks |= {"statsforecast": walk_statsforecast, "mlforecast": walk_mlforecast}
    if "direction" in plan.models:
        walks["mean"] = walk_mean
    parts = {name: Part(walk, COST[name]) for name, walk in walks.items()}
    left_out = []
    for model in (m for m in plan.models if m in PRODUCT_MODELS):
        reason = "" if model == "technical" else unavailable_reason(model)
        if reason:
            left_out.append(f"{model} is left out: {reason}")
        elif plan.unseen:
            for coin in coins:
                parts[f"{model} for {coin}"] = Part(partial(walk_unseen, model, coin), COST[model])
        else:
            parts[model] = Part(partial(walk_model, model), COST[model])
    return dict(sorted(parts.items(), key=lambda item: -item[1].cost)), left_out
