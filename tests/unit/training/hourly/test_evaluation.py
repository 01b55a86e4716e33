"""The hourly evaluation: its scores against known answers, its data checks, and a leak that it must show."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from coincast_modelkit.candles import FIELDS
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.hourly.model import ANCHORS, LEVELS
from coincast_training.evaluation.options import BadOptionError, EvaluationOptions
from coincast_training.hourly.baselines import GAUSSIAN_SIZES, garch_sizes, gaussian_log_scales
from coincast_training.hourly.dataset import build_table
from coincast_training.hourly.evaluation import coverage_by_hour, evaluate_hourly, hourly_goals
from coincast_training.hourly.folder_loader import read_hourly_folder
from coincast_training.hourly.scores import crps, inside_80
from coincast_training.hourly.walk import walk_forward
from coincast_training.optional_imports import import_scoringrules
from tests.unit.modelkit.hourly.hourly_market import FIRST, invented

COINS = {"bitcoin": invented("bitcoin", 560, seed=1), "ethereum": invented("ethereum", 560, seed=2)}


def write(folder: Path, candles: HourlyCandles, **changed: np.ndarray) -> None:
    """Write a coin's hours as the evaluation reads them."""
    columns = {"date_time": pa.array(candles.starts.astype("datetime64[ms]"), pa.timestamp("ms", tz="UTC"))}
    columns |= {f: pa.array(changed.get(f, getattr(candles, f))) for f in FIELDS if f != "volume"}
    columns["volume"] = pa.array(changed.get("volume", candles.volume / candles.close))
    pq.write_table(pa.table(columns), folder / f"{candles.coin_id}.parquet")


def test_crps_of_a_gaussian_is_the_closed_form() -> None:
    scoringrules = import_scoringrules()

    returns = np.random.default_rng(1).normal(size=5000) * 0.02
    scale = np.full(5000, 0.02)
    closed = scoringrules.crps_normal(returns, 0.0, scale)
    assert crps(returns, scale, GAUSSIAN_SIZES).mean() == pytest.approx(closed.mean(), rel=0.01)
    assert inside_80(returns, scale, GAUSSIAN_SIZES).mean() == pytest.approx(0.8, abs=0.02)


def test_true_width_beats_a_wrong_one() -> None:
    returns = np.random.default_rng(1).normal(size=5000)
    losses = [crps(returns, np.full(5000, s), GAUSSIAN_SIZES).mean() for s in (0.7, 1.0, 1.4)]
    assert losses[1] < min(losses[0], losses[2])


def test_gaussian_baseline_is_the_last_week_times_root_time() -> None:
    steps = np.random.default_rng(2).normal(size=(1, 500)) * 0.01
    scales = np.exp(gaussian_log_scales(steps))[0, -1]
    week = np.sqrt(np.mean(steps[0, -168:] ** 2))
    assert scales == pytest.approx(week * np.sqrt(ANCHORS))


def test_garch_baseline_is_right_on_its_own_process_and_sees_no_future() -> None:
    rng = np.random.default_rng(3)
    steps = np.empty(24 * 140)
    variance = 1e-4
    for i in range(len(steps)):
        steps[i] = np.sqrt(variance) * rng.normal()
        variance = 2e-6 + 0.1 * steps[i] ** 2 + 0.88 * variance
    origins = np.arange(24 * 100, 24 * 135, 6)
    sizes = garch_sizes(steps, origins, seed=1)
    at_80 = int(np.argmin(np.abs(LEVELS - 0.8)))
    ahead = np.array([steps[o + 1 : o + 7].sum() for o in origins])
    assert np.mean(np.abs(ahead) <= sizes[:, ANCHORS.index(6), at_80]) == pytest.approx(0.8, abs=0.12)
    later = steps.copy()
    later[origins[-1] + 1 :] = 1.0
    assert np.array_equal(garch_sizes(later, origins, seed=1), sizes, equal_nan=True)


def test_folder_is_read_with_its_faults_named(tmp_path: Path) -> None:
    bitcoin = COINS["bitcoin"]
    flat = {f: getattr(bitcoin, f).copy() for f in FIELDS}
    for field in ("open", "high", "low", "close"):
        flat[field][10] = flat["close"][9]
    flat["volume"][10] = 0.0
    write(tmp_path, bitcoin, **flat)
    folder = read_hourly_folder(tmp_path)
    assert folder.panel["bitcoin"].known.sum() == len(bitcoin) - 1
    assert "1 of 13440 hours are missing" in folder.notes[0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"first": "2021-02-01"}, "FROM"),
        ({"first": "yesterday"}, "FROM"),
        ({"coins": ("nocoin",)}, "COINS"),
    ],
)
def test_bad_options_name_themselves(tmp_path: Path, options: dict[str, object], named: str) -> None:
    write(tmp_path, COINS["bitcoin"])
    given = EvaluationOptions(data=tmp_path, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(BadOptionError, match=named):
        evaluate_hourly(given, Console(file=io.StringIO()))


def test_folder_without_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOptionError, match=r"no \.csv, \.parquet"):
        read_hourly_folder(tmp_path)


HOURS = [f"2022-01-0{1 + n // 24}T{n % 24:02}:00:00Z" for n in range(72)]
HOUR_LINES = [f"{at},{100 + n},{101 + n},{99 + n},{100.5 + n},{1000 + n}" for n, at in enumerate(HOURS)]
HEAD = "time,open,high,low,close,volume_usd"


def table_of(lines: list[str]) -> pa.Table:
    cells = [line.split(",") for line in lines]
    columns: dict[str, list[object]] = {"time": [dt.datetime.fromisoformat(row[0]) for row in cells]}
    for at, name in enumerate(HEAD.split(",")[1:], 1):
        columns[name] = [float(row[at]) for row in cells]
    return pa.table(columns)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("change", "named", "hours"),
    [
        (lambda rows: rows, [], 72),
        (lambda rows: rows[::-1], [], 72),
        (lambda rows: [*rows, rows[5]], ["duplicate hour"], 72),
        (lambda rows: [*rows, rows[5].replace("105.5", "105.75")], ["two rows for one hour differ"] * 2, 71),
        (lambda rows: [*rows, rows[5].replace("05:00", "05:30")], ["not on the full hour"], 72),
        (lambda rows: [*rows, "2205-01-01T00:00:00Z,1,2,0.5,1,1"], ["day not closed yet"], 72),
        (lambda rows: [*rows, "2022-01-04T00:00:00Z,1,0.9,0.5,1,1"], ["high and low contradict"], 72),
        (lambda rows: [*rows, "2022-01-04T00:00:00Z,1,2,0.5,-1,1"], ["price not positive"], 72),
        (lambda rows: [*rows, "2022-01-04T00:00:00Z,1,2,0.5,1,1"], [], 73),
    ],
)
def test_hours_of_any_format_are_read_by_one_contract(
    tmp_path: Path, kind: str, change: Any, named: list[str], hours: int
) -> None:
    lines = change(HOUR_LINES)
    if kind == "csv":
        (tmp_path / "bitcoin.csv").write_text("\n".join([HEAD, *lines]))
    else:
        pq.write_table(table_of(lines), tmp_path / "bitcoin.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    folder = read_hourly_folder(tmp_path)
    assert list(folder.panel) == ["bitcoin"]
    bitcoin = folder.panel["bitcoin"]
    assert int(bitcoin.known.sum()) == hours
    assert (bitcoin.close[0], bitcoin.volume[0]) == (100.5, 1000.0)
    notes = [note for note in folder.notes if " line " in note]
    assert len(notes) == len(named)
    for note, reason in zip(notes, named, strict=True):
        assert note.startswith(f"bitcoin.{kind} line ")
        assert reason in note
    assert any(note.startswith("broken.parquet cannot be read") for note in folder.notes)


def test_volume_of_a_parquet_file_is_in_coins_also_where_rows_are_rejected(tmp_path: Path) -> None:
    for name, lines in (("clean", HOUR_LINES), ("repeated", [*HOUR_LINES, HOUR_LINES[3]])):
        table = table_of(lines)
        names = [*table.column_names[:-1], "volume"]
        pq.write_table(table.rename_columns(names), tmp_path / f"{name}.parquet")
    panel = read_hourly_folder(tmp_path).panel
    assert panel["clean"].volume[1] == pytest.approx(1001.0 * 101.5)
    np.testing.assert_array_equal(panel["clean"].volume, panel["repeated"].volume)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the reports of an evaluation of the invented market."""
    folder = tmp_path_factory.mktemp("hourly")
    for candles in COINS.values():
        write(folder, candles)
    options = EvaluationOptions(data=folder, out=folder / "out", first="2022-03-01", models=("intraday",))
    evaluate_hourly(options, Console(file=io.StringIO()))
    return folder / "out"


def test_reports_say_what_was_measured(report: Path) -> None:
    found = json.loads((report / "evaluation_hourly.json").read_text())
    assert list(found["skill"]) == ["1", "3", "6", "12", "24", "48"]
    # The invented market has a pattern in the week, which the Gaussian does not know.
    assert found["skill"]["1"]["gaussian_7d"]["skill_percent"] > 1.0
    assert found["standing_by_hour"] == {}
    unmeasured = [g["name"] for g in found["goals"] if g["holds"] is None]
    without_ensemble = ("last close", "at the close")
    assert unmeasured == [g["name"] for g in found["goals"] if any(t in g["name"] for t in without_ensemble)]
    assert "over a 7-day Gaussian" in (report / "evaluation_hourly.md").read_text()


def test_predictions_repeat_the_figures(report: Path) -> None:
    found = json.loads((report / "evaluation_hourly.json").read_text())
    table = pq.read_table(report / "predictions_hourly.parquet").to_pandas()
    six = table[table.horizon_hours == 6]
    skill = 100 * (1 - six.crps_intraday.mean() / six.crps_gaussian_7d.mean())
    assert skill == pytest.approx(found["skill"]["6"]["gaussian_7d"]["skill_percent"], abs=1e-4)
    assert set(six.origin.dt.hour) == {0, 6, 12, 18}


def test_candle_that_slips_in_from_the_future_would_gain() -> None:
    """The border is right only if moving it forward by an hour gains and moving it back costs."""

    def loss(moved_hours: int) -> float:
        table = build_table(COINS)
        rows = np.roll(table.rows, -moved_hours, axis=1)
        shifted = type(table)(**{f: getattr(table, f) for f in table.__slots__} | {"rows": rows})
        walk = walk_forward(shifted, 24 * 380, 24 * 550)
        part = slice(24 * 380, 24 * 550)
        returns, scale = table.returns[:, part, 0], np.exp(walk.log_scales[:, part, 0])
        known = np.isfinite(returns) & np.isfinite(scale)
        sizes = walk.folds[0].calibration.sizes[0][1]
        return float(crps(returns[known], scale[known], sizes).mean())

    late, right, early = loss(-24), loss(0), loss(1)
    assert early < right < late


def test_goals_miss_where_coverage_is_off() -> None:
    found = {
        "skill": {h: {} for h in ANCHORS},
        "standing_by_hour": {},
        "coverage_80_by_hour": {h: {0: 80.0, 13: 85.0} for h in ANCHORS},
    }
    coverage = [g for g in hourly_goals(found) if "coverage" in g["name"]]
    assert len(coverage) == 5
    assert all(g["holds"] is False for g in coverage)


def test_coverage_is_counted_at_every_hour_of_the_day() -> None:
    table = build_table(COINS)
    walk = walk_forward(table, 24 * 400, 24 * 540)
    by_hour = coverage_by_hour(table, walk)[1]
    assert sorted(by_hour) == list(range(24))
    assert all(65 < share < 92 for share in by_hour.values())
    assert np.mean(list(by_hour.values())) == pytest.approx(80, abs=3)
    assert FIRST.astype(int) % 24 == 0
