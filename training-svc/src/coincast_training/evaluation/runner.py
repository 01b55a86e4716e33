"""Run an evaluation, from the folder of candles to the reports, and print its progress."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import DEFAULT_SPEC, REFERENCE_COINS
from coincast_training.evaluation.acceptance import goals, summarise_acceptance
from coincast_training.evaluation.csv_loader import Folder, read_folder
from coincast_training.evaluation.metrics.slices import slices_of
from coincast_training.evaluation.metrics.summary import summarise
from coincast_training.evaluation.model_card import card
from coincast_training.evaluation.options import EvaluationOptions, EvaluationPlan, plan_of
from coincast_training.evaluation.outcomes import outcomes_of
from coincast_training.evaluation.output import write_json, write_predictions
from coincast_training.evaluation.report import write_html
from coincast_training.evaluation.walk_forward import walk_all
from coincast_training.pipeline.odd_coins import without_odd_coins

LIBRARIES = ("numpy", "lightgbm", "arch", "scoringrules", "statsforecast", "mlforecast", "scikit-learn")
LINE_SECONDS = 20.0
# Width of a log file, so that each criterion stays on one line of the table.
LOG_WIDTH = 150


def evaluate(options: EvaluationOptions, console: Console | None = None) -> dict[str, Any]:
    """Run the evaluation, write its reports and return the content of evaluation.json.

    Raises:
        BadOptionError: An option is wrong or does not fit the candles.
    """
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    began = time.monotonic()
    folder = read_folder(options.data)
    panel, plan = plan_of(options, folder.panel)
    if plan.unseen:
        console.print("Each coin is forecast by models that were fitted on the other coins only.")
    console.print(
        f"{len(panel)} coins, forecasts from {plan.first} to {plan.last}, horizons {plan.horizons}, "
        f"{', '.join(plan.models)}; refitted every {plan.refit_days} days on the data up to then"
    )
    with ProgressLine(console) as line:
        rows, notes, seconds = walk_all(panel, plan, options.jobs, line.report)
    odd = without_odd_coins(panel)[1]
    notes += [f"{coin} is forecast but not used for training: {why}" for coin, why in odd.items()]
    outcomes = outcomes_of(rows, panel)
    slices = slices_of(rows, outcomes)
    summary = summarise(slices, plan.horizons)
    found = {
        "about": _about(panel, plan, folder, notes, seconds),
        "goals": goals(summary),
        **summary,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_predictions(rows, outcomes.actual, options.out / "predictions.parquet")
    write_json(found, options.out / "evaluation.json")
    write_html(found, slices, options.out / "evaluation.html")
    (options.out / "evaluation.md").write_text(card(found), encoding="utf-8")
    print_acceptance(console, found)
    taken = time.monotonic() - began
    console.print(f"{options.out}/evaluation.json, .html, .md and predictions.parquet in {taken:.0f} s")
    return found


def _about(
    panel: Panel, plan: EvaluationPlan, folder: Folder, notes: list[str], seconds: dict[str, float]
) -> dict[str, Any]:
    return {
        "coins": {coin: [str(c.dates[0]), str(c.dates[-1]), len(c)] for coin, c in panel.items()},
        "first_origin": str(plan.first),
        "last_origin": str(plan.last),
        "refit_days": plan.refit_days,
        "seed": plan.seed,
        "protocol": (
            "Forecasts are made at every close. A refit uses all targets that had ended by then. "
            "Models are compared on shared coins and days; reference models forecast on every 8th day. CRPS "
            "is that of the log return over 100 equal levels. Diebold-Mariano tests use date means with HAC "
            "errors, intervals use a bootstrap over blocks of dates. Volatility terciles use only data up to "
            "the day of the forecast."
            + (" Each coin is forecast by models that were fitted on the others only." if plan.unseen else "")
        ),
        "feature_spec": DEFAULT_SPEC.hash,
        "recipes": {name: dict(recipe) for name, recipe in plan.recipes.items() if recipe},
        "market": sorted({*panel, *plan.reference} & set(REFERENCE_COINS)),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "seconds": {name: round(s, 1) for name, s in seconds.items()},
        "notes": [*folder.notes, *notes],
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def print_acceptance(console: Console, found: dict[str, Any]) -> None:
    """Print the notes and the table of the acceptance criteria with the measured values."""
    for note in found["about"]["notes"]:
        console.print(f"note: {note}")
    table = Table(title="Acceptance criteria")
    for column in ("criterion", "value", "bound", "target", ""):
        table.add_column(column, justify="left" if column in ("criterion", "") else "right")
    for goal in found["goals"]:
        if goal["value"] is not None:
            sign = "<=" if goal["below"] else ">="
            aim = "" if goal["aim"] is None else f"{goal['aim']:.3f}"
            must = "" if goal["must"] is None else f"{sign} {goal['must']:.3f}"
            result = {True: "holds", False: "MISSES", None: ""}[goal["holds"]]
            result += "; reaches the target" if goal["reaches_aim"] else ""
            table.add_row(goal["name"], f"{goal['value']:.3f}", must, aim, result)
    console.print(table)
    counts = summarise_acceptance(found["goals"])
    console.print(f"{counts.held} of {counts.judged} hold{counts.remark}")


class ProgressLine:
    """A progress bar with the time left on a terminal; else a line at most every LINE_SECONDS."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._spoke = time.monotonic()
        columns = (
            TextColumn("{task.percentage:3.0f} %"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns, TextColumn("{task.description}"), console=console, disable=not console.is_terminal
        )
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, fraction: float, stage: str) -> None:
        """Show the overall progress and the latest stage."""
        self._bar.update(self._task, completed=fraction, description=stage)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._spoke > LINE_SECONDS:
            self._spoke = now
            left = (now - self._began) * (1 - fraction) / max(fraction, 1e-3)
            self._console.print(f"{100 * fraction:3.0f} %, about {left / 60:.0f} min left: {stage}")
