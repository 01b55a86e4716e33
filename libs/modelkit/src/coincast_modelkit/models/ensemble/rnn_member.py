"""The recurrent member of the ensemble: log scales of an ONNX network, served without TensorFlow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.models.har import HarLine
from coincast_modelkit.models.lstm import network_outputs
from coincast_modelkit.models.onnx_network import Network, Scaler

STATE, ARRAYS, ENCODER, HEAD = "lstm.json", "lstm.npz", "lstm_encoder.onnx", "lstm_head.onnx"


def rnn_scales(line: Floats, extra: Floats, widen: Floats, anchors: tuple[int, ...]) -> Floats:
    """Return the log standard deviation of the return over each anchor, (n, A).

    Args:
        line: Log daily volatility of the HAR line, (n, A).
        extra: Mean correction over all Monte-Carlo passes, (n, A).
        widen: Increase of the log scale from the spread of the passes, (n, A).
        anchors: A horizons in days.
    """
    return np.asarray(line + extra + widen + 0.5 * np.log(np.asarray(anchors, dtype=np.float64)))


@dataclass(frozen=True, slots=True, eq=False)
class RnnMember:
    """A trained network and the HAR line that it corrects, at the horizons `anchors` (days).

    inputs are the names of its features; its input is the last window_days rows of them.
    """

    anchors: tuple[int, ...]
    inputs: tuple[str, ...]
    window_days: int
    scaler: Scaler
    network: Network
    line: HarLine

    def forecast(self, windows: Floats, spec: FeatureSpec) -> Floats:
        """Return log scales (n, A) for feature windows (n, WINDOW_DAYS, F); NaN where the HAR line is NaN."""
        columns = [spec.names.index(name) for name in self.inputs]
        inputs = self.scaler(windows[:, -self.window_days :, columns])
        extra, _, widen = network_outputs(self.network, inputs, len(self.anchors))
        return rnn_scales(self.line.predict(windows[:, -1], spec.names), extra, widen, self.anchors)

    def save(self, folder: Path) -> None:
        """Write two ONNX graphs, one JSON file and one npz file."""
        (folder / ENCODER).write_bytes(self.network.encoder)
        (folder / HEAD).write_bytes(self.network.head)
        state = {
            "anchors": list(self.anchors),
            "inputs": list(self.inputs),
            "window_days": self.window_days,
            "line": self.line.to_dict(),
        }
        (folder / STATE).write_text(json.dumps(state, sort_keys=True, allow_nan=False), encoding="utf-8")
        np.savez(
            folder / ARRAYS,
            allow_pickle=False,
            centre=self.scaler.centre,
            spread=self.scaler.spread,
            context_masks=self.network.context_masks,
            hidden_masks=self.network.hidden_masks,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the files of `save`. The caller must have verified their digests."""
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            a = {name: file[name] for name in file.files}
        encoder, head = (folder / ENCODER).read_bytes(), (folder / HEAD).read_bytes()
        return cls(
            anchors=tuple(state["anchors"]),
            inputs=tuple(state["inputs"]),
            window_days=int(state["window_days"]),
            scaler=Scaler(a["centre"], a["spread"]),
            network=Network(encoder, head, a["context_masks"], a["hidden_masks"]),
            line=HarLine.from_dict(state["line"]),
        )
