"""The ensemble's recurrent member: out of sample in the fit, served without TensorFlow, off if configured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coincast_modelkit.artifact import golden_bytes
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import DEFAULT_SPEC, Market
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models.ensemble.horizon_pool import MEMBERS, RNN, STAND_IN, with_rnn
from coincast_modelkit.models.ensemble.model import EnsembleModel
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.ensemble.dataset import CoinTable, block_of, fold_days
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.ensemble.rnn_member import RnnWalk
from coincast_training.trainers.ensemble.rnn_params import RnnParams
from coincast_training.trainers.ensemble.trainer import fit
from tests.unit.training.evaluation_candles import SMALL_NETWORK, SMALL_TREES, coin, panel, scrambled_after

LSTM = {"use": "on", "min_days": 120, "every_days": 90, "passes": 8, "network": SMALL_NETWORK}
PARAMS: dict[str, Any] = {"anchors": [1, 7], "trees": SMALL_TREES, "fold_days": 30, "lstm": LSTM}


def silent(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1


@pytest.fixture(scope="module")
def tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: run make setup-lstm")


@pytest.fixture(scope="module")
def store() -> dict[tuple[Any, ...], Any]:
    """The networks and folds of `fitted`; a test that adds to it copies it first."""
    return {}


@pytest.fixture(scope="module")
def fitted(tensorflow: None, store: dict[tuple[Any, ...], Any]) -> FittedModel:
    return fit(panel(), PARAMS, 1, progress=silent, store=store)


def prepared(candles: dict[str, Candles]) -> list[ModelInput]:
    market = Market.of(panel())
    return [prepare(c, market, DEFAULT_SPEC) for c in candles.values()]


def ensemble(fitted: FittedModel) -> EnsembleModel:
    assert isinstance(fitted.model, EnsembleModel)
    return fitted.model


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("tensorflow")
class TestFitted:
    """One small fit, looked at from all sides."""

    def test_it_is_one_more_member_and_the_notes_say_so(self, fitted: FittedModel) -> None:
        model = ensemble(fitted)
        assert model.members == (*MEMBERS, RNN) == tuple(fitted.notes["members"])
        assert fitted.parameters["lstm"]["use"] == "on"
        assert len(fitted.notes["lstm"]["networks"]) >= 2
        for anchor in model.anchors:
            assert anchor.pool.weights.shape == (3, len(MEMBERS) + 1)
            np.testing.assert_allclose(anchor.pool.weights.sum(axis=1), 1)
        assert len(model.rnn.network.context_masks) == 8  # type: ignore[union-attr]  # it has one

    def test_without_it_all_else_is_the_same_to_the_byte(self, fitted: FittedModel, tmp_path: Path) -> None:
        plain = fit(panel(), {**PARAMS, "lstm": "off"}, 1, progress=silent)
        assert ensemble(plain).rnn is None and plain.parameters["lstm"]["use"] == "off"
        for name, model in (("with", fitted.model), ("without", plain.model)):
            (tmp_path / name).mkdir()
            model.save(tmp_path / name)
        files = sorted((tmp_path / "without").iterdir())
        trees = [f for f in files if f.suffix == ".txt"]
        assert len(trees) == 6 and len(files) == 7
        for file in trees:
            assert file.read_bytes() == (tmp_path / "with" / file.name).read_bytes()
        one, two = (
            json.loads((tmp_path / n / "ensemble.json").read_text())["anchors"] for n in ("with", "without")
        )
        assert [a["scales"] for a in one] == [a["scales"] for a in two]

    def test_a_refit_gives_the_same_within_a_thousandth(self, fitted: FittedModel) -> None:
        again = fit(panel(), PARAMS, 1, progress=silent)
        one, two = (f.model.predict(prepared(panel()), (1, 7, 30)) for f in (fitted, again))
        np.testing.assert_allclose(one.log_return_quantiles, two.log_return_quantiles, rtol=1e-3)

    def test_it_is_saved_and_served_without_tensorflow(self, fitted: FittedModel, tmp_path: Path) -> None:
        fitted.model.save(tmp_path)
        assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".txt", ".onnx", ".npz"}
        golden = golden_bytes(fitted.model, prepared(panel()))
        (tmp_path / "golden.bin").write_bytes(golden)
        done = without_tensorflow(
            "from pathlib import Path\n"
            "from coincast_modelkit.artifact import check_golden\n"
            "from coincast_modelkit.models import MODELS\n"
            f"folder = Path({str(tmp_path)!r})\n"
            "model = MODELS['ml_ensemble'].load(folder)\n"
            "print(check_golden(model, (folder / 'golden.bin').read_bytes()), model.members[-1])\n"
        )
        difference, member = done.stdout.split()
        assert float(difference) < 1e-6 and member == RNN

    def test_it_moves_the_width_and_one_bad_coin_costs_no_other(self, fitted: FittedModel) -> None:
        model, coins = ensemble(fitted), prepared(panel())
        bare = Candles.of("bare", coin("x", 60, 77, offset=270).dates, coin("x", 60, 77, offset=270).close)
        broken = prepared({"short": coin("y", 40, 5, offset=290), "bare": bare})
        alone, together = model.predict(coins, (1, 7)), model.predict([*broken, *coins], (1, 7))
        np.testing.assert_array_equal(together.usable(), [False, True, True, True, True])
        np.testing.assert_allclose(
            together.log_return_quantiles[2:], alone.log_return_quantiles, rtol=1e-5
        )  # single precision in the network
        assert (np.diff(together.log_return_quantiles[1:], axis=-1) >= 0).all()

    def test_its_forecasts_of_a_fold_know_nothing_of_the_fold(self, fitted: FittedModel) -> None:
        day = int(panel()["bitcoin"].dates[-1].astype(int)) - 60
        scrambled = {c: scrambled_after(x, np.datetime64(day, "D")) for c, x in panel().items()}
        found = []
        for candles in (panel(), scrambled):
            source = CoinTable(candles, candles)
            coins = source.coins
            folds = [*fold_days(coins, day + 60, 30), day + 60]
            lstm = EnsembleParams.of(PARAMS).lstm
            walk = RnnWalk.of(source, (1, 7), lstm, folds, seed=1, store={})
            assert walk is not None and walk.grid[0] <= day
            early = walk.columns(folds[0], block_of(coins, folds[0], folds[0] + 30, 1))
            assert np.isnan(early).all()  # before the first network
            last = [d for d in walk.grid if d <= day][-1]
            block = block_of(coins, day - 29, day + 1, 1)
            found.append(walk.columns(last, block))
        assert np.isfinite(found[0]).all()
        np.testing.assert_array_equal(found[0], found[1])

    def test_networks_kept_from_an_earlier_cut_change_nothing(
        self, fitted: FittedModel, store: dict[tuple[Any, ...], Any]
    ) -> None:
        params = {**PARAMS, "lstm": {**LSTM, "refit": False}}
        earlier: dict[tuple[Any, ...], Any] = {}
        cut = {c: x.until(x.dates[-1] - np.timedelta64(60, "D")) for c, x in panel().items()}
        fit(cut, params, 1, progress=silent, store=earlier)
        known = {key for key in earlier if key[0] == "network"}
        assert known and all(earlier[key] is not store[key] for key in known)
        # The networks of `fitted` were trained on the whole panel.
        kept, fresh = (fit(panel(), params, 1, progress=silent, store=s) for s in (earlier, dict(store)))
        one, two = (f.model.predict(prepared(panel()), (1, 7)) for f in (kept, fresh))
        np.testing.assert_allclose(one.log_return_quantiles, two.log_return_quantiles, rtol=1e-3)


def test_the_stand_in_speaks_where_the_guest_is_silent() -> None:
    members = np.arange(16.0).reshape(2, 8)
    joined = with_rnn(members, np.array([np.nan, -1.0]))
    np.testing.assert_array_equal(joined[:, -1], [members[0, MEMBERS.index(STAND_IN)], -1.0])


@pytest.mark.parametrize(
    ("plain", "use"), [("off", "off"), (False, "off"), (True, "on"), ("auto", "auto"), ({"use": True}, "on")]
)
def test_it_may_be_switched_by_a_word(plain: object, use: str) -> None:
    assert EnsembleParams.of({"lstm": plain}).lstm == RnnParams(use=use)  # type: ignore[arg-type]  # a literal


@pytest.mark.slow
def test_insisting_without_tensorflow_says_what_to_install_and_auto_goes_without() -> None:
    done = without_tensorflow(
        "import numpy as np\n"
        "from coincast_modelkit.features import DEFAULT_SPEC\n"
        "from coincast_training.trainers.ensemble.trainer import fit\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from evaluation_candles import SMALL_TREES, panel\n"
        "small = {'anchors': [1], 'trees': SMALL_TREES, 'fold_days': 60}\n"
        "quiet = lambda fraction, stage: None\n"
        "lstm = {'min_days': 120}\n"
        "model = fit(panel(), {**small, 'lstm': lstm}, 1, progress=quiet).model\n"
        "print(','.join(model.members))\n"
        "try:\n"
        "    fit(panel(), {**small, 'lstm': {**lstm, 'use': 'on'}}, 1, progress=quiet)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    members, error = done.stdout.splitlines()
    assert members == ",".join(MEMBERS)
    assert "lstm.use: on" in error and "TensorFlow" in error and "pip install" in error


def without_tensorflow(code: str) -> subprocess.CompletedProcess[str]:
    absent = "import sys\nfor name in ('tensorflow', 'keras'): sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", absent + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done
