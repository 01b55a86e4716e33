"""Options of an evaluation, and their validation against the candles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.forecasts import MAX_HORIZON_DAYS
from coincast_modelkit.hourly.candles import HourlyPanel
from coincast_training.trainers.config import default_folder, read_config

Day: TypeAlias = "np.datetime64[Any]"
HORIZONS = (1, 7, 14, 30)
PRODUCT_MODELS = ("lightgbm", "lstm", "ml_ensemble", "technical")
# Further values of the option MODELS: models of other libraries, and the study of direction over several
# seeds.
STUDIES = ("peers", "direction")
DEFAULT_FROM = np.datetime64("2022-01-01", "D")
# A refit every week, as in the product, would make an evaluation take hours.
REFIT_DAYS = 30
MIN_REFIT_DAYS = 7
MIN_HISTORY_DAYS = 60


class BadOptionError(Exception):
    """An option has a wrong value; the message names it and the fix."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Options of the command line, not yet validated; an empty value means all, or the default."""

    data: Path
    out: Path = Path("reports")
    first: str = ""
    last: str = ""
    coins: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    seed: int = 1
    jobs: int = 2
    config_dir: Path | None = None
    horizons: tuple[int, ...] = ()
    unseen: bool = False
    refit_days: int = REFIT_DAYS


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The plan of a walk forward: a forecast at the close of every day from `first` to `last`, both included.

    A cut is a day on which a model is refitted; the first cut is `first`. The fit of a cut uses the candles
    up to the close of that day.

    Attributes:
        refit_days: Days between refits of every model and of the reference models HAR and GARCH.
        recipes: Training parameters of each product model.
        reference: Candles of reference coins that are not forecast. Serving always has these coins.
        hours: Hourly candles of the forecast coins, for models that read them.
        unseen: Whether each coin is forecast by models that were fitted on the other coins only.
    """

    first: Day
    last: Day
    models: tuple[str, ...]
    seed: int
    horizons: tuple[int, ...] = HORIZONS
    refit_days: int = REFIT_DAYS
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: Panel = field(default_factory=dict)
    hours: HourlyPanel = field(default_factory=dict)
    unseen: bool = False

    def cuts(self, every_days: int = 0) -> list[Day]:
        """Return the refit days, `every_days` apart (default: refit_days)."""
        step = np.timedelta64(every_days or self.refit_days, "D")
        days: list[Day] = list(np.arange(self.first, self.last + np.timedelta64(1, "D"), step))
        return days

    def days_of(self, cut: Day, every_days: int = 0) -> list[Day]:
        """Return the days on which the fit of a cut makes forecasts."""
        step = np.timedelta64(every_days or self.refit_days, "D")
        end: Day = min(cut + step, self.last + np.timedelta64(1, "D"))
        return list(np.arange(cut, end))


def plan_of(options: EvaluationOptions, panel: Panel) -> tuple[Panel, EvaluationPlan]:
    """Return the candles of the requested coins, and the plan of the walk over them.

    Raises:
        BadOptionError: An option is wrong or does not fit the candles.
    """
    coins = _chosen("COINS", options.coins, tuple(panel))
    models = _chosen("MODELS", options.models, (*PRODUCT_MODELS, *STUDIES))
    kept = {coin: panel[coin] for coin in coins}
    if options.unseen and len(kept) < 2:
        raise BadOptionError("UNSEEN needs at least two coins: each is forecast by models of the others.")
    begin, end = (pick(c.dates[i] for c in kept.values()) for pick, i in ((min, 0), (max, -1)))
    last = min(_day("TO", options.last) or end, end)
    first = _day("FROM", options.first) or _default_first(begin, end)
    earliest = begin + np.timedelta64(2 * MIN_HISTORY_DAYS, "D")
    if first < earliest:
        raise BadOptionError(
            f"FROM {first} leaves too little history to train on: the candles begin on {begin}; "
            f"use {earliest} or later."
        )
    if last - np.timedelta64(1, "D") < first:
        raise BadOptionError(f"FROM {first} must be before TO {last} (the candles end on {end}).")
    reference = {coin: panel[coin] for coin in REFERENCE_COINS if coin in panel and coin not in kept}
    recipes = {model: _recipe(options.config_dir or default_folder(), model) for model in models}
    plan = EvaluationPlan(
        first=first,
        last=last,
        models=models,
        seed=options.seed,
        horizons=_horizons(options.horizons),
        recipes=recipes,
        reference=reference,
        unseen=options.unseen,
        refit_days=_refit_days(options.refit_days),
    )
    return kept, plan


def _horizons(wanted: Sequence[int]) -> tuple[int, ...]:
    if not wanted:
        return HORIZONS
    if outside := [h for h in wanted if not 1 <= h <= MAX_HORIZON_DAYS]:
        raise BadOptionError(f"HORIZONS: {outside[0]} is not from 1 to {MAX_HORIZON_DAYS} days.")
    return tuple(sorted(set(wanted)))


def _refit_days(wanted: int) -> int:
    if wanted < MIN_REFIT_DAYS:
        raise BadOptionError(f"REFIT={wanted} is too often; use {MIN_REFIT_DAYS} days or more.")
    return wanted


def _recipe(folder: Path, model: str) -> dict[str, Any]:
    try:
        return read_config(folder, model)
    except ValueError as error:
        raise BadOptionError(str(error)) from error


def _default_first(begin: Day, end: Day) -> Day:
    """Return 2022-01-01 if 180 days precede it and 60 days follow, else the day after 60 % of the history."""
    if begin + np.timedelta64(180, "D") <= DEFAULT_FROM <= end - np.timedelta64(60, "D"):
        return DEFAULT_FROM
    days = int((end - begin) / np.timedelta64(1, "D"))
    middle: Day = begin + np.timedelta64(days * 6 // 10, "D")
    return middle


def _chosen(name: str, wanted: Sequence[str], known: tuple[str, ...]) -> tuple[str, ...]:
    if not wanted:
        return known
    if unknown := [w for w in wanted if w not in known]:
        raise BadOptionError(f"{name}: {', '.join(unknown)} not found; available: {', '.join(known)}.")
    return tuple(dict.fromkeys(wanted))


def days_ahead(names: Sequence[str]) -> tuple[int, ...]:
    """Parse horizons from the command line. Raises BadOptionError."""
    if wrong := [name for name in names if not name.isdecimal()]:
        raise BadOptionError(f"HORIZONS: {wrong[0]} is not a whole number of days.")
    return tuple(int(name) for name in names)


def _day(name: str, text: str) -> Day | None:
    if not text:
        return None
    try:
        return np.datetime64(text, "D")
    except ValueError as error:
        raise BadOptionError(f"{name}={text} is not a date; write it as 2022-01-31.") from error
