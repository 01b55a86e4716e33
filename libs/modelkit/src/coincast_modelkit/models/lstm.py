"""Bidirectional LSTM with attention that corrects the HAR line from sixty days of features.

It is served without TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.forecasts import MAX_HORIZON_DAYS, Forecasts, checked_horizons
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import Attribution
from coincast_modelkit.models.distributions import (
    LocationScale,
    ResidualShape,
    across_horizons,
    forecasts_of,
    regimes_of,
)
from coincast_modelkit.models.har import HarLine
from coincast_modelkit.models.onnx_network import Network, Sampler, Scaler, Singles
from coincast_modelkit.volatility import Regimes

MIN_HISTORY_DAYS = 45
STATE, ARRAYS, ENCODER, HEAD = "model.json", "arrays.npz", "encoder.onnx", "head.onnx"


class LstmModel:
    """The LSTM: corrections of log volatility at A anchors, and scores of the mean at M of the anchors.

    Monte-Carlo dropout (Gal and Ghahramani 2016) over fixed masks estimates the network's own uncertainty. It
    widens the distribution and does not change the volatility forecast.
    """

    name = "lstm"
    max_horizon_days = MAX_HORIZON_DAYS
    min_history_days = MIN_HISTORY_DAYS

    def __init__(
        self,
        *,
        spec: FeatureSpec,
        inputs: tuple[str, ...],
        window_days: int,
        scaler: Scaler,
        network: Network,
        line: HarLine,
        form: LocationScale,
        volatility_weights: Floats,
        mean_weights: Floats,
        volatility_errors: Floats,
        version: str = "",
    ) -> None:
        self.spec, self.inputs, self.window_days = spec, inputs, window_days
        self.scaler, self.network, self.line, self.form = scaler, network, line, form
        self.volatility_weights, self.mean_weights = volatility_weights, mean_weights
        self.volatility_errors = volatility_errors
        self.version = version
        self._columns = [spec.names.index(name) for name in inputs]

    def raw(self, windows: Floats) -> tuple[Floats, Floats, Floats]:
        """Return unweighted corrections (n, A), scores (n, M), log widening (n, A) for windows (n, L, F)."""
        inputs = self.scaler(windows[:, -self.window_days :, self._columns])
        return network_outputs(self.network, inputs, len(self.form.anchors))

    def distribution(
        self, windows: Floats, regimes: Regimes, horizons: Sequence[int]
    ) -> tuple[Floats, Floats]:
        """Return log volatility (n, H) and log-return quantiles (n, H, Q).

        Args:
            windows: Feature windows, (n, WINDOW_DAYS, F).
            regimes: Volatility regimes, (n,).
            horizons: H horizons in days.
        """
        extra, scores, widen = self.raw(windows)
        at_anchors = self.line.predict(windows[:, -1], self.spec.names) + self.volatility_weights * extra
        quantiles = self.form.quantiles(
            at_anchors, self.mean_weights * scores, horizons, regimes=regimes, widen=widen
        )
        return self.form.log_volatility(at_anchors, horizons), quantiles

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        """Forecast every coin at every horizon; see ForecastModel."""
        wanted = checked_horizons(horizons, self.max_horizon_days)
        return forecasts_of(
            prepared,
            wanted,
            lambda coins: self.distribution(np.stack([c.window for c in coins]), regimes_of(coins), wanted),
            min_history_days=self.min_history_days,
            calibration=self.form.shape.calibration(wanted),
            errors=across_horizons(self.form.anchors, self.volatility_errors, wanted),
            agreeing=self.form.shape.agreeing,
        )

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        """Return the contribution of each feature to log volatility: the line's plus the network's.

        The network's part is found by occlusion: the change of its output when the feature is set to its
        training mean on every day of the window.
        """
        checked_horizons([horizon], self.max_horizon_days)
        anchor = int(np.argmin(np.abs(np.log(np.asarray(self.form.anchors)) - np.log(horizon))))
        windows = np.repeat(prepared.window[None], len(self.inputs) + 1, axis=0)
        for i, column in enumerate(self._columns):
            windows[i + 1, :, column] = self.scaler.centre[i]
        extra = self.volatility_weights[anchor] * self.raw(windows)[0][:, anchor]
        parts = dict(zip(self.inputs, extra[0] - extra[1:], strict=True))
        for name, value in self.line.contributions(prepared.row, self.spec.names, anchor).items():
            parts[name] = parts.get(name, 0.0) + value
        at = {name: float(prepared.row[i]) for i, name in enumerate(self.spec.names)}
        found = [Attribution(n, at[n], float(v), "volatility", horizon) for n, v in parts.items() if v]
        return sorted(found, key=lambda a: -abs(a.contribution))[:top]

    def save(self, folder: Path) -> None:
        """Write two ONNX graphs, one JSON and one npz."""
        (folder / ENCODER).write_bytes(self.network.encoder)
        (folder / HEAD).write_bytes(self.network.head)
        state = {
            "features": list(self.spec.names),
            "inputs": list(self.inputs),
            "window_days": self.window_days,
            "anchors": list(self.form.anchors),
            "mean_anchors": list(self.form.mean_anchors),
            "line": self.line.to_dict(),
            "shape": self.form.shape.to_dict(),
        }
        text = json.dumps(state, indent=1, sort_keys=True, allow_nan=False)
        (folder / STATE).write_text(text + "\n", encoding="utf-8")
        np.savez(
            folder / ARRAYS,
            allow_pickle=False,
            centre=self.scaler.centre,
            spread=self.scaler.spread,
            context_masks=self.network.context_masks,
            hidden_masks=self.network.hidden_masks,
            volatility_weights=self.volatility_weights,
            mean_weights=self.mean_weights,
            volatility_errors=self.volatility_errors,
        )

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """Read the files of `save`. The caller must have verified their digests."""
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            a = {name: file[name] for name in file.files}
        return cls(
            spec=FeatureSpec(tuple(state["features"])),
            inputs=tuple(state["inputs"]),
            window_days=int(state["window_days"]),
            scaler=Scaler(a["centre"], a["spread"]),
            network=Network(
                (folder / ENCODER).read_bytes(),
                (folder / HEAD).read_bytes(),
                a["context_masks"],
                a["hidden_masks"],
            ),
            line=HarLine.from_dict(state["line"]),
            form=LocationScale(
                tuple(state["anchors"]), tuple(state["mean_anchors"]), ResidualShape.from_dict(state["shape"])
            ),
            volatility_weights=a["volatility_weights"],
            mean_weights=a["mean_weights"],
            volatility_errors=a["volatility_errors"],
            version=version,
        )


def network_outputs(network: Sampler, inputs: Singles, anchors: int) -> tuple[Floats, Floats, Floats]:
    """Return corrections (n, A), scores (n, M) and log widening (n, A) for standardised windows (n, L, F)."""
    samples = network.samples(inputs)
    mean = samples.mean(axis=0)
    own = samples[..., :anchors].std(axis=0)
    return mean[:, :anchors], mean[:, anchors:], 0.5 * np.log1p(own**2)
