"""Walk-forward evaluation of the hourly model: `coincast-training evaluate --interval 1h`.

Origins are every six hours, horizons 1 to 48 hours. The model is refitted every 60 days on the outcomes known
by then. It is compared with a 7-day Gaussian, with GARCH-t with filtered historical simulation (bitcoin and
ethereum), and with the standing forecast: the 1-day forecast of the daily ensemble at the last close. The
ensemble is also compared with and without the hours of the day. Intervals use a bootstrap over blocks of
dates, Diebold-Mariano tests use date means with HAC errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyPanel
from coincast_modelkit.hourly.model import ANCHORS, LEVELS
from coincast_training.evaluation.acceptance import acceptance_entry
from coincast_training.evaluation.metrics.significance import diebold_mariano, skill_interval, skill_percent
from coincast_training.evaluation.options import (
    DEFAULT_FROM,
    BadOptionError,
    EvaluationOptions,
    EvaluationPlan,
)
from coincast_training.evaluation.output import write_json
from coincast_training.evaluation.own_models import walk_model
from coincast_training.evaluation.rows import Rows
from coincast_training.evaluation.runner import LOG_WIDTH, ProgressLine, print_acceptance
from coincast_training.hourly.at_close import compare_at_close, goals_at_close
from coincast_training.hourly.baselines import GARCH_COINS, GAUSSIAN_SIZES, garch_sizes, gaussian_log_scales
from coincast_training.hourly.dataset import HourlyTable, build_table
from coincast_training.hourly.folder_loader import read_hourly_folder
from coincast_training.hourly.scores import crps, inside_80
from coincast_training.hourly.walk import REFIT_DAYS, Walk, scored_rows, walk_forward
from coincast_training.trainers.config import default_folder, read_config

ORIGIN_STEP_HOURS = 6
# A coin with a smaller share of the hours of the walk is left out: its days would be incomplete.
MIN_KNOWN_SHARE = 0.97
MIN_DAYS_BEFORE = 365
# Bounds (must) and targets (aim), by horizon in hours.
OVER_GAUSSIAN = {1: (2.5, 3.5), 3: (2.2, 3.2), 6: (2.3, 3.3), 12: (1.9, 2.9), 24: (1.4, 2.3), 48: (1.3, 2.3)}
OVER_GARCH = {1: (0.4, 0.9), 3: (1.2, 1.8), 6: (1.4, 2.0), 12: (1.2, 1.8), 24: (0.7, 1.2), 48: (0.3, 1.0)}
OVER_STANDING = {12: (0.2, 0.5), 18: (0.5, 0.9)}
COVERAGE_OFF = (4.0, 2.5)
STANDING_HORIZON = ANCHORS.index(24)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of m forecasts at one horizon in hours, (m,) each.

    Attributes:
        horizon: Hours ahead.
        coin: Position of the coin in the table.
        row: Row of the origin in the table.
        closes_at: Time of the origin.
        returns: Log return over the horizon.
        scale: Forecast scale of the return.
        size_80: Half width of the 80 % interval in units of `scale`.
        losses: CRPS of the model and of each baseline, by name; NaN without a forecast.
    """

    horizon: int
    coin: NDArray[np.int64]
    row: NDArray[np.int64]
    closes_at: NDArray[np.datetime64]
    returns: Floats
    scale: Floats
    size_80: Floats
    losses: Mapping[str, Floats]

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """Return the day of each origin, (m,)."""
        return self.closes_at.astype("datetime64[D]")

    @property
    def hour(self) -> NDArray[np.int64]:
        """Return the UTC hour of each origin, (m,)."""
        return np.asarray(self.closes_at.astype(np.int64) % HOURS_A_DAY)


def evaluate_hourly(options: EvaluationOptions, console: Console | None = None) -> dict[str, Any]:
    """Run the evaluation, write its reports and return the content of evaluation_hourly.json.

    Raises:
        BadOptionError: An option does not fit the data.
    """
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    began = time.monotonic()
    folder = read_hourly_folder(options.data)
    panel, first, last, notes = _choose(options, folder.panel)
    notes = [*folder.notes, *notes]
    console.print(f"{len(panel)} coins, origins every {ORIGIN_STEP_HOURS} hours from {first} to {last}")
    with ProgressLine(console) as line:
        line.report(0.02, "hourly table")
        table = build_table(panel)
        begin, stop = table.position(first), table.position(last)
        line.report(0.2, "walk of the hourly regression")
        walk = walk_forward(table, begin, stop)
        line.report(0.35, "hourly GARCH")
        garch = _garch(table, begin, stop, options.seed)
        line.report(0.5, "daily ensemble at every close")
        daily = {coin: candles.daily() for coin, candles in panel.items()}
        made = _walk_daily(daily, panel, first, last, options) if _wants_daily(options) else None
        standing = {} if made is None else _standing(made)
        line.report(0.9, "scores")
        scored = [_score(table, walk, j, garch=garch, standing=standing) for j in range(len(ANCHORS))]
        coverage = coverage_by_hour(table, walk)
        at_close = {} if made is None else compare_at_close(made, panel, seed=options.seed)
    found = {
        "about": {
            "coins": {c: [str(h.first), str(h.closes_at), len(h)] for c, h in panel.items()},
            "first_origin": str(first),
            "last_origin": str(last),
            "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
            "notes": notes,
        },
        "skill": {s.horizon: _skills(s) for s in scored},
        "coverage_80_by_hour": coverage,
        "standing_by_hour": _standing_by_hour(scored[STANDING_HORIZON]),
        "at_close": at_close,
    }
    found["goals"] = hourly_goals(found)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(found, options.out / "evaluation_hourly.json")
    (options.out / "evaluation_hourly.md").write_text(hourly_tables(found), encoding="utf-8")
    _write_predictions(table, scored, options.out / "predictions_hourly.parquet")
    print_acceptance(console, found)
    console.print(f"{options.out}/evaluation_hourly.json, .md in {time.monotonic() - began:.0f} s")
    return found


def _choose(
    options: EvaluationOptions, panel: HourlyPanel
) -> tuple[HourlyPanel, np.datetime64, np.datetime64, list[str]]:
    """Return the coins with enough hours, first and last origin (exclusive), and notes on other coins.

    Raises:
        BadOptionError: An option does not fit the data, or no coin has enough hours.
    """
    if unknown := [c for c in options.coins if c not in panel]:
        raise BadOptionError(f"COINS: {', '.join(unknown)} not found; available: {', '.join(panel)}.")
    chosen = {c: panel[c] for c in (options.coins or panel)}
    end = max(c.closes_at for c in chosen.values())
    begin = min(c.first for c in chosen.values())
    first = _moment("FROM", options.first) or max(
        DEFAULT_FROM.astype("datetime64[h]"), begin + np.timedelta64(MIN_DAYS_BEFORE, "D")
    )
    last = _moment("TO", options.last)
    last = end if last is None else min(end, last + np.timedelta64(1, "D"))
    if first < begin + np.timedelta64(MIN_DAYS_BEFORE, "D") or first >= last:
        raise BadOptionError(
            f"FROM {first} must be {MIN_DAYS_BEFORE} days after the first hour, {begin}, and before {last}."
        )
    kept, notes = {}, []
    for coin, candles in chosen.items():
        inside = candles.known[(candles.starts >= first) & (candles.starts < last)]
        possible = int((last - max(first, candles.first)).astype(np.int64))
        if possible <= 0 or inside.sum() < MIN_KNOWN_SHARE * possible:
            notes.append(
                f"{coin}: left out; it has {int(inside.sum())} of the {max(possible, 0)} hours of the walk"
            )
        else:
            kept[coin] = candles
    if not kept:
        raise BadOptionError("no coin has enough hours between FROM and TO; choose other days.")
    return kept, first, last, notes


def _moment(name: str, text: str) -> np.datetime64 | None:
    if not text:
        return None
    try:
        day: np.datetime64 = np.datetime64(text, "D").astype("datetime64[h]")
    except ValueError as error:
        raise BadOptionError(f"{name}={text} is not a date; write it as 2022-01-31.") from error
    return day


def _wants_daily(options: EvaluationOptions) -> bool:
    """Return whether the daily ensemble is walked too; MODELS=intraday leaves it out, which saves minutes."""
    return not options.models or "ml_ensemble" in options.models


def _garch(
    table: HourlyTable, begin: int, stop: int, seed: int
) -> dict[int, tuple[NDArray[np.int64], Floats]]:
    """Return origins (m,) and sizes (m, A, L) of the GARCH baseline, by position of the coin."""
    origins = np.arange(begin, stop)
    origins = origins[table.origin_hours[origins] % ORIGIN_STEP_HOURS == 0]
    return {
        table.coins.index(coin): (
            origins,
            garch_sizes(table.step_returns[table.coins.index(coin)], origins, seed),
        )
        for coin in GARCH_COINS
        if coin in table.coins
    }


def daily_plan(
    panel: Mapping[str, Candles],
    hours: HourlyPanel,
    first: np.datetime64,
    last: np.datetime64,
    options: EvaluationOptions,
) -> EvaluationPlan:
    """Return the plan of the daily ensemble, from the close before the first origin on.

    Its horizons are one day and those of the options.
    """
    recipe = read_config(options.config_dir or default_folder(), "ml_ensemble")
    one = np.timedelta64(1, "D")
    end = min(last.astype("datetime64[D]") - one, max(c.dates[-1] for c in panel.values()))
    return EvaluationPlan(
        first=first.astype("datetime64[D]") - one,
        last=end,
        models=("ml_ensemble",),
        seed=options.seed,
        horizons=tuple(sorted({1, *options.horizons})),
        recipes={"ml_ensemble": recipe},
        refit_days=REFIT_DAYS,
        hours=hours,
    )


def _walk_daily(
    daily: Mapping[str, Candles],
    hours: HourlyPanel,
    first: np.datetime64,
    last: np.datetime64,
    options: EvaluationOptions,
) -> Rows:
    """Return the forecasts of the daily ensemble at every close, without and with the hours of the day."""
    plan = daily_plan(daily, hours, first, last, options)
    return walk_model("ml_ensemble", daily, plan, lambda _fraction, _stage: None)


def _standing(made: Rows) -> dict[tuple[str, int], Floats]:
    """Return sizes (L,) of the 1-day forecast of the ensemble without hours, by coin and day since 1970."""
    made = made.take((made.model == "ml_ensemble") & (made.horizon == 1))
    upper = made.quantiles[:, len(PROBABILITIES) // 2 :].astype(np.float64)
    days = made.origin.astype("datetime64[D]").astype(np.int64)
    return {(str(c), int(d)): u for c, d, u in zip(made.coin, days, upper, strict=True)}


def _score(
    table: HourlyTable,
    walk: Walk,
    anchor: int,
    *,
    garch: Mapping[int, tuple[NDArray[np.int64], Floats]],
    standing: Mapping[tuple[str, int], Floats],
) -> Scored:
    """Score the model and its baselines at one anchor.

    Args:
        table: The hours.
        walk: Forecasts of the model.
        anchor: Position in ANCHORS.
        garch: Origins and sizes of the GARCH baseline, see `_garch`.
        standing: Sizes of the standing forecasts, see `_standing`.
    """
    gaussian = gaussian_log_scales(table.step_returns)[:, :, anchor]
    coins, rows, scales, sizes = [], [], [], []
    for fold in walk.folds:
        coin, row, scale, size = scored_rows(table, walk, fold, anchor)
        chosen = np.isfinite(gaussian[coin, row]) & (table.origin_hours[row] % ORIGIN_STEP_HOURS == 0)
        coins.append(coin[chosen])
        rows.append(row[chosen])
        scales.append(scale[chosen])
        sizes.append(size[chosen])
    coin, row, scale = np.concatenate(coins), np.concatenate(rows), np.concatenate(scales)
    size = np.concatenate(sizes)
    returns = table.returns[coin, row, anchor]
    losses = {
        "intraday": crps(returns, scale, size),
        "gaussian_7d": crps(returns, np.exp(gaussian[coin, row]), GAUSSIAN_SIZES),
        "garch_t_fhs": np.full(len(row), np.nan),
        "standing": np.full(len(row), np.nan),
    }
    for position, (origins, table_sizes) in garch.items():
        own = np.flatnonzero(coin == position)
        found = table_sizes[np.searchsorted(origins, row[own]), anchor]
        known = np.isfinite(found).all(axis=1)
        losses["garch_t_fhs"][own[known]] = crps(returns[own[known]], np.ones(int(known.sum())), found[known])
    closes = table.closes_at[row]
    # The last close before an origin is at midnight of its day, the end of the previous day's candle.
    day = closes.astype("datetime64[D]").astype(np.int64) - 1
    held = (
        [standing.get((table.coins[c], int(d))) for c, d in zip(coin, day, strict=True)] if standing else []
    )
    at = np.array([i for i, h in enumerate(held) if h is not None], dtype=np.int64)
    if len(at):
        wide = np.stack([h for h in held if h is not None]) * np.sqrt(ANCHORS[anchor] / HOURS_A_DAY)
        losses["standing"][at] = crps(returns[at], np.ones(len(at)), wide)
    at_80 = int(np.argmin(np.abs(LEVELS - 0.8)))
    return Scored(
        horizon=ANCHORS[anchor],
        coin=coin,
        row=row,
        closes_at=closes,
        returns=returns,
        scale=scale,
        size_80=size[:, at_80],
        losses=losses,
    )


def coverage_by_hour(table: HourlyTable, walk: Walk) -> dict[int, dict[int, float]]:
    """Return the coverage of the 80 % interval in percent, by horizon and UTC hour of the origin."""
    hours = table.origin_hours
    out: dict[int, dict[int, float]] = {}
    for j, h in enumerate(ANCHORS):
        hits, counts = np.zeros(HOURS_A_DAY), np.zeros(HOURS_A_DAY)
        for fold in walk.folds:
            coin, row, scale, size = scored_rows(table, walk, fold, j)
            inside = inside_80(table.returns[coin, row, j], scale, size)
            hits += np.bincount(hours[row], weights=inside, minlength=HOURS_A_DAY)
            counts += np.bincount(hours[row], minlength=HOURS_A_DAY)
        out[h] = {hour: float(100 * hits[hour] / counts[hour]) for hour in range(HOURS_A_DAY) if counts[hour]}
    return out


def _skills(scored: Scored) -> dict[str, Any]:
    """Return the skill of the model over each baseline, on the rows with both."""
    own = scored.losses["intraday"]
    days = max(1, round(scored.horizon / HOURS_A_DAY))
    out: dict[str, Any] = {"forecasts": len(own), "coverage_80": 100 * float(np.mean(_inside(scored)))}
    for name, loss in scored.losses.items():
        known = np.isfinite(loss)
        if name == "intraday" or not known.any():
            continue
        pair, dates = (own[known], loss[known]), scored.dates[known]
        out[name] = {
            "skill_percent": skill_percent(*pair),
            "interval": skill_interval(*pair, dates, days),
            "diebold_mariano": diebold_mariano(*pair, dates, days),
            "by_year_percent": {
                str(year): skill_percent(*(x[dates.astype("datetime64[Y]") == year] for x in pair))
                for year in np.unique(dates.astype("datetime64[Y]"))
            },
            "forecasts": int(known.sum()),
        }
    return out


def _inside(scored: Scored) -> NDArray[np.bool_]:
    return np.asarray(np.abs(scored.returns) <= scored.scale * scored.size_80)


def _standing_by_hour(scored: Scored) -> dict[int, dict[str, Any]]:
    """Return the skill of the 24-hour forecast over the standing one, by UTC hour of the origin."""
    out = {}
    for hour in range(0, HOURS_A_DAY, ORIGIN_STEP_HOURS):
        known = (scored.hour == hour) & np.isfinite(scored.losses["standing"])
        if known.any():
            pair = scored.losses["intraday"][known], scored.losses["standing"][known]
            out[hour] = {
                "skill_percent": skill_percent(*pair),
                "interval": skill_interval(*pair, scored.dates[known], 1),
                "diebold_mariano": diebold_mariano(*pair, scored.dates[known], 1),
            }
    return out


def hourly_goals(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the acceptance criteria as `acceptance.goals` does; the value is None if it was not measured."""
    entries = []
    for name, text, bounds in (
        ("gaussian_7d", "a 7-day Gaussian", OVER_GAUSSIAN),
        ("garch_t_fhs", "hourly GARCH-t FHS", OVER_GARCH),
    ):
        for h, (must, aim) in bounds.items():
            value = found["skill"][h].get(name, {}).get("skill_percent")
            entries.append(acceptance_entry(f"intraday, CRPS skill % over {text}, {h} h", value, must, aim))
    for hour, (must, aim) in OVER_STANDING.items():
        value = found["standing_by_hour"].get(hour, {}).get("skill_percent")
        text = f"24-hour forecast at {hour} UTC over the forecast at the last close, CRPS skill %"
        entries.append(acceptance_entry(text, value, must, aim))
    for h, by_hour in found["coverage_80_by_hour"].items():
        if h <= HOURS_A_DAY and by_hour:
            off = max(abs(v - 80.0) for v in by_hour.values())
            text = f"deviation of the 80 % coverage, worst hour of origin, {h} h"
            entries.append(acceptance_entry(text, off, *COVERAGE_OFF, below=True))
    return [*entries, *goals_at_close(found.get("at_close", {}))]


def hourly_tables(found: Mapping[str, Any]) -> str:
    """Return the tables of the model card as Markdown."""
    horizons = list(found["skill"])
    lines = [
        "| CRPS skill % of `intraday` | " + " | ".join(f"{h} h" for h in horizons) + " |",
        "|---" * (len(horizons) + 1) + "|",
    ]

    def row(title: str, cell: Any) -> None:
        lines.append(f"| {title} | " + " | ".join(cell(h) for h in horizons) + " |")

    def ranged(name: str) -> Any:
        def cell(h: int) -> str:
            part = found["skill"][h].get(name)
            if part is None:
                return ""
            low, high = part["interval"]
            return f"{part['skill_percent']:.2f} [{low:.2f}, {high:.2f}], {part['diebold_mariano']:.1f}"

        return cell

    row("over a 7-day Gaussian, interval, DM", ranged("gaussian_7d"))
    row("over hourly GARCH-t FHS (bitcoin, ethereum)", ranged("garch_t_fhs"))
    row("over the daily ensemble of the last close", ranged("standing"))
    row("coverage of the 80 % interval", lambda h: f"{found['skill'][h]['coverage_80']:.1f}")
    row(
        "the same, lowest and highest hour of origin",
        lambda h: "{:.1f} to {:.1f}".format(
            *(pick(found["coverage_80_by_hour"][h].values()) for pick in (min, max))
        ),
    )
    row("forecasts", lambda h: str(found["skill"][h]["forecasts"]))
    lines.append("")
    if found["standing_by_hour"]:
        hours = found["standing_by_hour"]
        lines += [
            "| 24 h over the last close's forecast | " + " | ".join(f"{h:02d} UTC" for h in hours) + " |",
            "|---" * (len(hours) + 1) + "|",
            "| CRPS skill %, interval, DM | "
            + " | ".join(
                f"{v['skill_percent']:.2f} [{v['interval'][0]:.2f}, {v['interval'][1]:.2f}], "
                f"{v['diebold_mariano']:.1f}"
                for v in hours.values()
            )
            + " |",
            "",
        ]
    return "\n".join([*lines, *_table_at_close(found.get("at_close", {}))])


def _table_at_close(found: Mapping[int, Any]) -> list[str]:
    """Return the table that compares the daily ensemble at the close with and without hours."""
    if not found:
        return []

    def cell(part: Mapping[str, Any]) -> str:
        low, high = part["interval"]
        return f"{part['skill_percent']:.2f} [{low:.2f}, {high:.2f}], {part['diebold_mariano']:.1f}"

    titles = {
        "redrawn": "CRPS, random signs",
        "real": "CRPS, real returns",
        "qlike": "QLIKE on hourly ranges",
    }
    lines = [
        "| at the close, with hours over without, %, interval, DM | "
        + " | ".join(f"{days} d" for days in found)
        + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for name, title in titles.items():
        lines.append(f"| {title} | " + " | ".join(cell(part[name]) for part in found.values()) + " |")
    years = [part["redrawn"]["by_year_percent"] for part in found.values()]
    lines.append(
        f"| random signs in {' / '.join(years[0])} | "
        + " | ".join(" / ".join(f"{v:.2f}" for v in by_year.values()) for by_year in years)
        + " |"
    )
    lines.append("| forecasts | " + " | ".join(str(part["forecasts"]) for part in found.values()) + " |")
    return [*lines, ""]


def _write_predictions(table: HourlyTable, scored: list[Scored], path: Path) -> None:
    """Write one row for each forecast, from which all scores can be computed again."""
    names = np.array(table.coins, dtype=object)
    columns: dict[str, Any] = {
        "coin": pa.array(np.concatenate([names[s.coin] for s in scored])),
        "origin": pa.array(np.concatenate([s.closes_at for s in scored]).astype("datetime64[s]")),
        "horizon_hours": pa.array(np.concatenate([np.full(len(s.row), s.horizon, np.int32) for s in scored])),
        "log_return": pa.array(np.concatenate([s.returns for s in scored])),
        "half_width_80": pa.array(np.concatenate([s.scale * s.size_80 for s in scored])),
    }
    for name in scored[0].losses:
        values = np.concatenate([s.losses[name] for s in scored])
        columns[f"crps_{name}"] = pa.array(values, from_pandas=True)
    pq.write_table(pa.table(columns), path, compression="zstd")
