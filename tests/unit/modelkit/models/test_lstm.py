"""The recurrent model: exported as it was trained, served without TensorFlow, sure of its own uncertainty."""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from coincast_modelkit.artifact import golden_bytes
from coincast_modelkit.features import market_of
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models import LstmModel
from coincast_modelkit.models.onnx_network import Network, draw_masks
from tests.unit.modelkit.modelkit_candles import panel, simulated

pytestmark = [
    # Found, not loaded: every worker collects this file, and loading takes five seconds.
    pytest.mark.skipif(
        find_spec("tensorflow") is None, reason="TensorFlow is not installed: run make setup-lstm"
    ),
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("tensorflow"),
]

PANEL = {c: x for c, x in panel(300).items() if c in {"bitcoin", "ethereum", "pepe"}}
MARKET = market_of(PANEL)
PARAMS = {"units": 4, "attention": 4, "hidden": 8, "window_days": 12, "epochs": 3, "folds": 2, "samples": 16}


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, on import
        from coincast_training.trainers.lstm.trainer import fit
    return fit(PANEL, PARAMS, 7, progress=lambda fraction, stage: None)


def test_the_record_and_the_distribution_are_sane(fitted) -> None:
    record = fitted.walk_forward
    assert len(record) > 300
    assert np.isfinite(record.log_return_quantiles).all()
    prepared = [prepare(c, MARKET, fitted.model.spec) for c in PANEL.values()]
    forecasts = fitted.model.predict(prepared, range(1, 31))
    assert forecasts.usable().all()
    assert (np.diff(forecasts.log_return_quantiles, axis=-1) >= 0).all()
    stranger = prepare(simulated("stranger", 60, 99, offset=200), MARKET, fitted.model.spec)
    assert fitted.model.predict([stranger], [1, 30]).usable().all()


def test_dropout_masks_are_inputs_and_spread_the_outputs(fitted) -> None:
    network: Network = fitted.model.network
    names = [i.name for i in network._head.get_inputs()]
    assert len(names) == 3
    rng = np.random.default_rng(3)
    windows = rng.standard_normal((5, 12, len(fitted.model.inputs))).astype(np.float32)
    samples = network.samples(windows)
    assert samples.shape == (16, 5, len(fitted.model.form.anchors) + len(fitted.model.form.mean_anchors))
    assert (samples.std(axis=0) > 0).any()
    contexts = network.contexts(windows)
    by_hand = np.stack([
        network.outputs(contexts, np.repeat(a[None], 5, axis=0), np.repeat(b[None], 5, axis=0))
        for a, b in zip(network.context_masks, network.hidden_masks, strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(samples, by_hand, atol=1e-6)


def test_parity_with_keras_is_below_a_hundred_thousandth() -> None:
    from coincast_training.trainers.lstm.network import Net
    from coincast_training.trainers.lstm.params import LstmParams

    net = Net(6, LstmParams(**PARAMS), 1)
    rng = np.random.default_rng(0)
    net.whole.set_weights(
        [w + 0.3 * rng.standard_normal(w.shape).astype(np.float32) for w in net.whole.get_weights()]
    )
    windows = rng.standard_normal((100, 12, 6)).astype(np.float32)
    snapshot = net.snapshot()
    keras, served = snapshot.samples(windows), snapshot.export(windows[:3]).samples(windows)
    difference = float(np.abs(keras - served).max())
    print(f"largest difference between Keras and ONNX: {difference:.2g} (limit 1e-5)")
    assert difference < 1e-5
    assert np.abs(keras).max() > 0.1


def test_what_is_saved_is_served_without_tensorflow(fitted, tmp_path: Path) -> None:
    fitted.model.save(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".onnx", ".json", ".npz"}
    prepared = [prepare(PANEL["bitcoin"], MARKET, fitted.model.spec)]
    (tmp_path / "golden.bin").write_bytes(golden_bytes(fitted.model, prepared))
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'pandas', 'sklearn'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from coincast_modelkit.models import LstmModel\n"
        "from coincast_modelkit.artifact import check_golden\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "print(check_golden(LstmModel.load(folder), (folder / 'golden.bin').read_bytes()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-6


def test_explanations_name_known_features(fitted, tmp_path: Path) -> None:
    model: LstmModel = fitted.model
    found = model.explain(prepare(PANEL["bitcoin"], MARKET, model.spec), 7, 5)
    assert len(found) == 5
    assert {a.feature for a in found} <= set(model.spec.names)


def test_masks_keep_the_mean() -> None:
    masks = draw_masks(4000, 50, 0.25, np.random.default_rng(0))
    assert masks.mean() == pytest.approx(1.0, abs=0.01)
    assert set(np.unique(masks)) == {np.float32(0), np.float32(1 / 0.75)}
