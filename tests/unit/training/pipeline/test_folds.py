"""Folds, backtests and tuning with the real LightGBM on small panels: no look-ahead, the same bits
everywhere.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from coincast_chassis.errors import InvalidInput, NotReady
from coincast_chassis.settings import load_settings
from coincast_modelkit.features import DEFAULT_SPEC, market_of
from coincast_modelkit.model_input import prepare
from coincast_training.backtest.report import write_report
from coincast_training.backtest.run import BacktestOptions, run_backtest
from coincast_training.backtest.strategy import Costs, run_strategies
from coincast_training.executors import open_executor
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import FoldTask, prepared_on, run_fold
from coincast_training.settings import Settings
from coincast_training.tuning.outcome import Tuning
from coincast_training.tuning.report import write_report as write_tuning_report
from coincast_training.tuning.study import tune, tuning_folds
from tests.unit.training.training_fakes import panel_of, walk_forward_of

PANEL = panel_of(("bitcoin", "ethereum"), days=430)
DATA = TrainingData(PANEL, PANEL, "test")
SMALL = {"volatility": {"rounds": 10}, "mean": {"rounds": 5}, "anchors": [1, 7], "mean_anchors": [1]}
QUICK = BacktestOptions("lightgbm", test_days=120, refit_days=60, horizons=(1, 7), params=SMALL)


def silent(fraction: float, stage: str) -> None:
    pass


def test_prepared_on_gives_what_serving_prepares():
    day = np.datetime64("2023-02-01")
    known = {coin: candles.until(day) for coin, candles in PANEL.items()}
    served = prepare(known["ethereum"], known, DEFAULT_SPEC)
    (here,) = prepared_on(PANEL["ethereum"], market_of(PANEL), DEFAULT_SPEC, day, day)
    assert (here.as_of, here.last_price) == (served.as_of, served.last_price)
    np.testing.assert_allclose(here.row, served.row, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(here.window, served.window, rtol=1e-9, atol=1e-9)


def test_a_fold_sees_nothing_of_its_test_days():
    fold = tuning_folds(DATA)[1][0]
    task = FoldTask("lightgbm", {**SMALL, "walk_forward": False}, 7, fold, (1,))
    before = run_fold(DATA, task).out_of_sample
    first = before.origins == fold.test_from
    assert first.any()
    later = {
        coin: replace_close(candles, fold.test_from + np.timedelta64(1, "D"))
        for coin, candles in PANEL.items()
    }
    cut = run_fold(TrainingData(later, later, "test"), task).out_of_sample
    assert np.array_equal(before.log_return_quantiles[first], cut.log_return_quantiles[first])
    assert not np.array_equal(before.log_return_quantiles, cut.log_return_quantiles)


def replace_close(candles, day: np.datetime64):
    """The same coin with every price from a day on doubled."""
    factor = np.where(candles.dates >= day, 2.0, 1.0)
    prices = {name: getattr(candles, name) * factor for name in ("open", "high", "low", "close")}
    return replace(candles, **prices)


@pytest.mark.slow
def test_a_backtest_is_the_same_bits_in_other_processes(tmp_path: Path):
    found = {}
    for address in ("inline", "processes:2"):
        with open_executor(address) as executor:
            found[address] = run_backtest(DATA, QUICK, executor, silent)
    inline, processes = found["inline"], found["processes:2"]
    assert np.array_equal(
        inline.out_of_sample.log_return_quantiles, processes.out_of_sample.log_return_quantiles
    )
    assert len(inline.folds) == 2
    assert {row["horizon_days"] for row in inline.decay()} == {1, 7}
    write_report(inline, PANEL, tmp_path / "deep" / "report.html")
    page = (tmp_path / "deep" / "report.html").read_text()
    for word in ("Equity", "Drawdown", "CRPS skill over", "Coverage", "in sample", "ethereum"):
        assert word in page
    assert "lstm: off" not in page


@pytest.mark.slow
def test_reports_say_that_the_ensembles_folds_had_no_network(tmp_path: Path):
    with open_executor("inline") as executor:
        found = run_backtest(DATA, QUICK, executor, silent)
    write_report(replace(found, options=replace(QUICK, model="ml_ensemble")), PANEL, tmp_path / "b.html")
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("ridge", 3, 300), n_trials=2)
    tuning = Tuning({}, 1.0, 1.0, (), {}, ("2023-01-01", "2023-02-01"))
    write_tuning_report(study, tuning, tmp_path / "t.html", model="ml_ensemble")
    for name in ("b.html", "t.html"):
        assert "without the network of the ensemble (lstm: off)" in (tmp_path / name).read_text()


def test_too_little_history_for_a_backtest_says_how_much_is_needed():
    with open_executor("inline") as executor, pytest.raises(NotReady, match="481 days"):
        run_backtest(DATA, replace(QUICK, test_days=300), executor, silent)


def test_an_unknown_executor_names_those_there_are():
    with pytest.raises(InvalidInput, match="dask:tcp"), open_executor("spark"):
        pass


@pytest.mark.parametrize("address", ["spark", "inline:2", "processes:0", "processes:x", "dask:"])
def test_the_service_does_not_start_on_a_wrong_executor(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TRAINING_EXECUTOR", address)
    with pytest.raises(SystemExit) as left:
        load_settings(Settings)
    assert left.value.code == 2
    assert "TRAINING_EXECUTOR: " in capsys.readouterr().err


@pytest.mark.parametrize("address", ["inline", "processes", "processes:4", "dask:tcp://10.0.0.1:8786"])
def test_the_service_takes_every_kind_of_executor(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRAINING_EXECUTOR", address)
    assert load_settings(Settings).executor == address


@pytest.mark.slow
def test_a_tuning_that_was_interrupted_ends_where_the_other_ends(tmp_path: Path):
    options: dict[str, Any] = {"model": "lightgbm", "base": SMALL, "seed": 7, "progress": silent}
    with open_executor("inline") as executor:
        through = tune(DATA, trials=8, executor=executor, folder=tmp_path / "a", **options)
        tune(DATA, trials=4, executor=executor, folder=tmp_path / "b", **options)
        resumed = tune(DATA, trials=8, executor=executor, folder=tmp_path / "b", **options)
    assert resumed.parameters == through.parameters
    assert resumed.best_value == through.best_value <= through.base_value
    assert [trial["value"] for trial in resumed.trials] == [trial["value"] for trial in through.trials]
    page = (tmp_path / "b" / "report.html").read_text()
    for part in ("Tuning of lightgbm", "Optimization History", "Intermediate Values", "Importances"):
        assert part in page
    assert set(resumed.importance) >= {"learning_rate", "num_leaves"}
    assert sum(resumed.importance.values()) == pytest.approx(1)


@pytest.mark.slow
def test_a_tuning_on_other_data_or_another_seed_begins_again(tmp_path: Path):
    options: dict[str, Any] = {
        "model": "lightgbm",
        "base": SMALL,
        "trials": 1,
        "folder": tmp_path,
        "progress": silent,
    }
    shorter = {coin: candles.rows(0, 420) for coin, candles in PANEL.items()}
    with open_executor("inline") as executor:
        whole = tune(DATA, seed=7, executor=executor, **options)
        other_seed = tune(DATA, seed=8, executor=executor, **options)
        cut = tune(TrainingData(shorter, shorter, "test"), seed=7, executor=executor, **options)
    assert [len(found.trials) for found in (whole, other_seed, cut)] == [1, 1, 1]
    assert whole.trials != other_seed.trials
    assert whole.base_value != cut.base_value


def test_the_tuner_leaves_the_later_half_alone():
    early, folds = tuning_folds(DATA)
    middle = max(candles.dates[-1] for candles in early.panel.values())
    assert middle < PANEL["bitcoin"].dates[len(PANEL["bitcoin"]) // 2]
    assert all(fold.test_to <= middle for fold in folds)
    with pytest.raises(NotReady, match="400 days"):
        tuning_folds(TrainingData(panel_of(("bitcoin",), days=300), {}, "test"))


def test_costs_are_paid_for_what_changes_hands():
    walk = walk_forward_of(PANEL, horizons=(1,), test_days=100)
    free = {curve.name: curve for curve in run_strategies(walk, Costs(0, 0))}
    dear = {curve.name: curve for curve in run_strategies(walk, Costs(50, 50))}
    hold = free["buy and hold"]
    expected = np.prod([1 + np.mean(np.expm1(walk.actual_log_returns[walk.origins == d])) for d in hold.days])
    assert hold.equity()[-1] == pytest.approx(expected)
    assert dear["buy and hold"].returns[0] == pytest.approx(hold.returns[0] - 0.01)
    np.testing.assert_allclose(dear["buy and hold"].returns[1:], hold.returns[1:])
    assert dear["direction of the median"].figures["days_in_the_market_percent"] == 0.0
    assert all(curve.drawdown().max() <= 0 for curve in free.values())
