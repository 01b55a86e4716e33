"""Folders of candles from users: other columns, gaps, invalid rows, empty files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from coincast_training.cli.main import app
from coincast_training.evaluation.csv_loader import read_folder
from coincast_training.evaluation.options import BadOptionError, EvaluationOptions, plan_of
from coincast_training.evaluation.own_models import settings_of
from tests.unit.training.evaluation_candles import panel, write_folder


def lines(n: int, head: str = "date,close") -> list[str]:
    days = np.datetime64("2022-01-01") + np.arange(n).astype("timedelta64[D]")
    return [head, *(f"{d},{100 + i}" for i, d in enumerate(days))]


def test_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    candles = panel()
    write_folder(tmp_path, candles)
    read = read_folder(tmp_path)
    assert list(read.panel) == sorted(candles)
    np.testing.assert_allclose(read.panel["bitcoin"].high, candles["bitcoin"].high)
    np.testing.assert_array_equal(read.panel["pepe"].dates, candles["pepe"].dates)


def test_missing_columns_are_absent_not_wrong(tmp_path: Path) -> None:
    (tmp_path / "coin.csv").write_text("\n".join(lines(100)))
    folder = read_folder(tmp_path)
    assert np.isnan(folder.panel["coin"].high).all() and np.isnan(folder.panel["coin"].volume).all()
    assert any("no open, high, low, volume" in note for note in folder.notes)


def test_invalid_rows_duplicates_and_gaps_are_reported(tmp_path: Path) -> None:
    rows = lines(100)
    rows[5], rows[6] = "not a day,3", "2022-01-06,-1"
    del rows[50:53]
    rows.append(rows[40])
    (tmp_path / "coin.csv").write_text("\n".join(rows))
    folder = read_folder(tmp_path)
    candles = folder.panel["coin"]
    assert len(candles) == 100 and (np.diff(candles.dates) == np.timedelta64(1, "D")).all()
    assert sum(" line " in note for note in folder.notes) == 3
    assert any("5 missing days" in n for n in folder.notes)


def test_a_short_coin_is_left_out_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("\n".join(lines(100)))
    (tmp_path / "short.csv").write_text("\n".join(lines(30)))
    folder = read_folder(tmp_path)
    assert list(folder.panel) == ["long"] and "30 days" in folder.notes[-1]


def test_a_file_that_cannot_be_used_is_named_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("\n".join(lines(100)))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    folder = read_folder(tmp_path)
    assert list(folder.panel) == ["good"]
    assert any(note.startswith("broken.parquet cannot be read") for note in folder.notes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such folder"),
        ({}, "it has no .csv"),
        ({"a.csv": "date,price_eur\n2020-01-01,1"}, "lacks the column close"),
        ({"a.csv": "\n".join(lines(20))}, "no coin has more than"),
        ({"a.csv": ""}, "is empty"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: dict[str, str] | None, says: str) -> None:
    folder = tmp_path / "data"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    with pytest.raises(BadOptionError, match=says):
        read_folder(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"coins": ("nocoin",)}, "COINS: nocoin not found"),
        ({"models": ("oracle",)}, "MODELS: oracle not found"),
        ({"horizons": (1, 31)}, "HORIZONS: 31 is not from 1 to 30"),
        ({"coins": ("pepe",), "unseen": True}, "UNSEEN needs at least two coins"),
        ({"refit_days": 6}, "REFIT=6 is too often; use 7 days or more"),
        ({"first": "soon"}, "FROM=soon is not a date"),
        ({"first": "2021-01-20"}, "too little history to train on"),
        ({"first": "2021-10-01", "last": "2021-09-01"}, "must be before TO"),
    ],
)
def test_bad_options_name_the_option(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(BadOptionError, match=says):
        plan_of(EvaluationOptions(data=tmp_path, **changes), panel())  # type: ignore[arg-type]  # built from a table


def test_the_walk_begins_late_enough_where_2022_does_not_fit(tmp_path: Path) -> None:
    _, plan = plan_of(EvaluationOptions(data=tmp_path), panel())
    assert plan.first == np.datetime64("2021-07-17") and plan.last == np.datetime64("2021-11-26")
    days = [day for cut in plan.cuts() for day in plan.days_of(cut)]
    np.testing.assert_array_equal(days, np.arange(plan.first, plan.last + np.timedelta64(1, "D")))


@pytest.mark.parametrize(("chosen", "between"), [({}, 30), ({"refit_days": 60}, 60)])
def test_models_are_refitted_as_often_as_chosen(tmp_path: Path, chosen: dict[str, int], between: int) -> None:
    _, plan = plan_of(EvaluationOptions(data=tmp_path, **chosen), panel())  # type: ignore[arg-type]  # built from a table
    assert set(np.diff(plan.cuts())) == {np.timedelta64(between, "D")}


def test_coins_that_are_not_walked_still_make_the_market(tmp_path: Path) -> None:
    kept, plan = plan_of(EvaluationOptions(data=tmp_path, coins=("pepe",)), panel())
    assert set(kept) == {"pepe"} and set(plan.reference) == {"bitcoin", "ethereum"}
    _, whole = plan_of(EvaluationOptions(data=tmp_path), panel())
    assert not whole.reference


def test_the_recipes_are_those_that_a_training_takes(tmp_path: Path) -> None:
    (tmp_path / "lightgbm.yaml").write_text("folds: 7\n")
    _, plan = plan_of(EvaluationOptions(data=tmp_path, config_dir=tmp_path), panel())
    assert plan.recipes["lightgbm"] == {"folds": 7}
    (tmp_path / "lightgbm.yaml").write_text("folds: many\n")
    with pytest.raises(BadOptionError, match="folds"):
        plan_of(EvaluationOptions(data=tmp_path, config_dir=tmp_path), panel())


def test_days_between_the_anchors_are_interpolated_as_in_serving(tmp_path: Path) -> None:
    """So that what is measured there is what a caller gets there."""
    requested = {}
    for horizons in ((1, 7), (2, 5)):
        _, plan = plan_of(EvaluationOptions(data=tmp_path, horizons=horizons), panel())
        assert plan.horizons == horizons
        requested[horizons] = settings_of("ml_ensemble", plan)["anchors"]
    assert requested == {(1, 7): [1, 7], (2, 5): [1, 3, 7, 14, 30]}


def test_the_command_says_one_line_and_exits_with_two(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--data", str(tmp_path / "nowhere")])
    assert result.exit_code == 2 and "no such folder" in result.output


@pytest.mark.parametrize("other", [["--risk"], ["--thin"], ["--interval", "1h"]])
@pytest.mark.parametrize("option", [["--unseen"], ["--refit-days", "60"]])
def test_options_of_daily_models_are_refused_elsewhere(
    tmp_path: Path, option: list[str], other: list[str]
) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--data", str(tmp_path), *option, *other])
    assert result.exit_code == 2 and "leave out thin, risk and interval" in " ".join(result.output.split())
