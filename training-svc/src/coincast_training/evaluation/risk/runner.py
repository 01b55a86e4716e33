"""Run an evaluation of risk answers, from the folder of candles to the reports."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from coincast_modelkit.candles import Panel
from coincast_modelkit.scenarios import MAX_DAYS, ScenarioLibrary, simulate_paths
from coincast_training.evaluation.csv_loader import read_folder
from coincast_training.evaluation.options import BadOptionError, Day, EvaluationOptions, plan_of
from coincast_training.evaluation.output import write_json
from coincast_training.evaluation.risk.acceptance import demanded
from coincast_training.evaluation.risk.baskets import fixed_baskets
from coincast_training.evaluation.risk.joint_study import JointStudy
from coincast_training.evaluation.risk.report import markdown
from coincast_training.evaluation.risk.touch_study import TouchStudy
from coincast_training.evaluation.risk.var_study import VarStudy
from coincast_training.evaluation.risk.walk import (
    HORIZONS,
    MarketDays,
    WalkedForecasts,
    present_on,
    walk_forecasts,
)
from coincast_training.executors import open_executor

# A coin is in the baskets if it has this many days before the first test day. Historical simulation and
# GARCH need them.
BASKET_DAYS = 300
MIN_BASKET_COINS = 2
# Joint scores are the slowest part. Every second day is enough, since their paths overlap.
JOINT_EVERY = 2
TIMED_COINS, TIMED_DAYS, TIMED_RUNS = 10, 7, 15
# Below this number of days a note says that the criteria may fail by chance: their bounds allow for the
# sampling error of about 1,300 days.
ENOUGH_DAYS = 1000
LINE_SECONDS = 20.0
LOG_WIDTH = 150


def evaluate_risk(options: EvaluationOptions, console: Console | None = None) -> dict[str, Any]:
    """Evaluate risk answers, write risk.json and risk.md, and return the content of risk.json.

    Args:
        options: Folder, days, coins and seed, as for the evaluation of forecasts. Models and horizons have no
            effect.
        console: Prints the progress and the results.

    Raises:
        BadOptionError: If an option does not fit the candles.
    """
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    began = time.monotonic()
    folder = read_folder(options.data)
    kept, plan = plan_of(replace(options, models=("ml_ensemble",), horizons=()), folder.panel)
    # Candles after the end of the last path are not needed, and would only take time.
    kept = {coin: candles.until(plan.last + np.timedelta64(MAX_DAYS, "D")) for coin, candles in kept.items()}
    say = _Progress(console)
    console.print(
        f"{len(kept)} coins, risk answers from {plan.first} to {plan.last}, up to {MAX_DAYS} days ahead"
    )
    try:
        with open_executor("inline" if options.jobs == 1 else f"processes:{options.jobs}") as executor:
            walked = walk_forecasts(
                kept,
                plan.reference,
                plan.recipes["ml_ensemble"],
                plan.seed,
                executor=executor,
                progress=say.within(0.0, 0.5),
            )
        library = walked.library(kept)
    except ValueError as error:
        raise BadOptionError(f"DATA: {error}.") from error
    walked_seconds = time.monotonic() - began
    found = study(kept, walked, library, plan.first, plan.last, seed=plan.seed, progress=say.within(0.5, 1.0))
    found = {
        "about": {
            "coins": {coin: [str(c.dates[0]), str(c.dates[-1]), len(c)] for coin, c in kept.items()},
            "first_origin": str(plan.first),
            "last_origin": str(plan.last),
            "seed": plan.seed,
            "seconds": {"walk": round(walked_seconds, 1), "all": round(time.monotonic() - began, 1)},
            "notes": [*folder.notes, *few_days_note(found["days"])],
        },
        **found,
    }
    found["figures"] = demanded(found)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(found, options.out / "risk.json")
    (options.out / "risk.md").write_text(markdown(found), encoding="utf-8")
    _print(console, found, options.out)
    return found


def study(
    panel: Panel,
    walked: WalkedForecasts,
    library: ScenarioLibrary,
    first: Day,
    last: Day,
    *,
    seed: int,
    progress: Any,
) -> dict[str, Any]:
    """Return the results of all studies on the days from `first` to `last`.

    Raises:
        BadOptionError: Fewer than two coins have BASKET_DAYS days before the first day.
    """
    market = walked.market
    start, stop = market.row(first), market.row(last) + 1
    columns = basket_columns(market, start)
    if len(columns) < MIN_BASKET_COINS:
        raise BadOptionError(
            f"FROM {first}: {len(columns)} coins have the {BASKET_DAYS} days before it that baskets need; "
            "use a later day or more coins."
        )
    baskets = fixed_baskets(tuple(market.coin_ids[i] for i in columns), seed)
    rows = np.array([r for r in range(start, stop) if _has_forecasts(walked, r, columns)], dtype=np.int64)
    var, touch, joint = (
        VarStudy(market, baskets, columns, rows),
        TouchStudy(market),
        JointStudy(market, columns, seed),
    )
    milliseconds: list[float] = []
    for at, row in enumerate(rows):
        forecasts = walked.on(int(row))
        window = library.window(market.days[row])
        paths = simulate_paths(window, forecasts, MAX_DAYS)
        var.add(at, paths)
        touch.add(int(row), forecasts, paths)
        joint.add_fall(int(row), paths, window, forecasts)
        if at % JOINT_EVERY == 0:
            joint.add_scores(int(row), forecasts, paths)
        if at >= len(rows) - TIMED_RUNS:
            milliseconds.append(_measure_milliseconds(window, forecasts))
        progress(0.8 * (at + 1) / len(rows), f"scenarios of {market.days[row]}")
    progress(0.8, "comparing with historical simulation and GARCH")
    return {
        "days": len(rows),
        "basket_coins": list(baskets.coin_ids),
        "var": var.results(seed),
        "touch": touch.results(),
        "joint": joint.results(),
        "milliseconds": float(np.median(milliseconds)) if milliseconds else None,
    }


def basket_columns(market: MarketDays, start: int) -> NDArray[np.int64]:
    """Return the positions of the coins with all BASKET_DAYS days before a day, (m,)."""
    return np.array(
        [i for i in range(len(market.coin_ids)) if present_on(market, start, [i], BASKET_DAYS)],
        dtype=np.int64,
    )


def few_days_note(days: int) -> list[str]:
    """Return a note for the reader if few days were evaluated."""
    if days >= ENOUGH_DAYS:
        return []
    return [
        f"Only {days} days were evaluated. The bounds were set for about 1,300 days and ten coins: "
        "on fewer days a value can miss its bound by chance."
    ]


def _has_forecasts(walked: WalkedForecasts, row: int, columns: NDArray[np.int64]) -> bool:
    return bool(np.isfinite(walked.quantiles[row, columns]).all())


def _measure_milliseconds(window: Any, forecasts: Any) -> float:
    """Return the processor time, in milliseconds, of one simulation of up to ten coins over seven days."""
    some = forecasts.coins(range(min(TIMED_COINS, len(forecasts))))
    window.columns(some.coin_ids)
    began = time.process_time()
    simulate_paths(window, some, TIMED_DAYS)
    return 1000 * (time.process_time() - began)


class _Progress:
    """Print a line of progress at most every LINE_SECONDS."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spoke = time.monotonic()

    def within(self, start: float, stop: float) -> Any:
        """Return a callback for one part of the work, from `start` to `stop` as fractions of the whole."""

        def report(fraction: float, stage: str) -> None:
            now = time.monotonic()
            if now - self._spoke > LINE_SECONDS:
                self._spoke = now
                self._console.print(f"{100 * (start + (stop - start) * fraction):3.0f} %: {stage}")

        return report


def _print(console: Console, found: Mapping[str, Any], out: Path) -> None:
    table = Table(title="Acceptance criteria of risk answers")
    for column in ("criterion", "value", "bound", "target", ""):
        table.add_column(column, justify="left" if column in ("criterion", "") else "right")
    for entry in found["figures"]:
        result = {True: "holds", False: "MISSES", None: "not measured"}[entry["holds"]]
        result += "; reaches the target" if entry["reaches_aim"] else ""
        value = "" if entry["value"] is None else f"{entry['value']:.3g}"
        table.add_row(entry["name"], value, as_range(entry["must"]), as_range(entry["aim"]), result)
    console.print(table)
    for note in found["about"]["notes"]:
        console.print(f"note: {note}")
    judged = [e for e in found["figures"] if e["holds"] is not None]
    held = sum(bool(e["holds"]) for e in judged)
    reached = sum(bool(e["reaches_aim"]) for e in judged)
    left = len(found["figures"]) - len(judged)
    console.print(
        f"{held} of {len(judged)} hold, {reached} reach the target"
        + (f"; {left} were not measured" if left else "")
    )
    console.print(f"{out}/risk.json and risk.md in {found['about']['seconds']['all']:.0f} s")


def as_range(bounds: list[float] | None) -> str:
    """Return a closed range as text for a table cell, like `>= 2`."""
    if bounds is None:
        return ""
    low, high = bounds
    if high == float("inf"):
        return f">= {low:g}"
    return f"<= {high:g}" if low == float("-inf") else f"{low:g} to {high:g}"


assert HORIZONS[-1] == MAX_DAYS  # noqa: S101 - the walk forecasts every horizon of a path
