"""Train the recurrent network on the rows of a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.distributions import LocationScale
from coincast_modelkit.models.har import HarLine
from coincast_modelkit.models.lstm import LstmModel, network_outputs
from coincast_modelkit.models.onnx_network import Scaler, Singles
from coincast_training.trainers.lstm.network import Examples, Net, Snapshot, shared_net
from coincast_training.trainers.lstm.params import LstmParams
from coincast_training.trainers.oos_corrections import Corrections, Outputs, scores_of
from coincast_training.trainers.time_window import Window, line_of, volatility_ahead
from coincast_training.trainers.training_table import Rows, RowSource

PROBE_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Recurrent:
    """A fitted regression and a trained network, without corrections."""

    params: LstmParams
    inputs: tuple[str, ...]
    line: HarLine
    scaler: Scaler
    network: Snapshot
    probe: Singles
    epochs: int

    def on(self, net: Net) -> Recurrent:
        """Return a copy with the compiled graph of an equal net; a network from a worker has no graph."""
        return replace(self, network=replace(self.network, net=net))

    def outputs(self, rows: Rows, at: np.ndarray) -> Outputs:
        """Return the uncorrected outputs on the rows `at`."""
        nothing = np.empty((len(rows), 0), np.float32)
        examples = _examples(rows, self.inputs, self.scaler, nothing, self.params.window_days)
        found = [
            network_outputs(self.network, examples.windows(some), len(self.params.anchors))
            for some in np.array_split(at, max(1, len(at) // 1000))
        ]
        extra, scores, widen = (np.concatenate(part) for part in zip(*found, strict=True))
        return Outputs(at, self.line.predict(rows.features[at], rows.spec.names), extra, scores, widen)

    def model(self, rows: Rows, corrections: Corrections) -> LstmModel:
        """Return the model with the corrections applied to the network."""
        return LstmModel(
            spec=rows.spec,
            inputs=self.inputs,
            window_days=self.params.window_days,
            scaler=self.scaler,
            network=self.network.export(self.probe),
            line=self.line,
            form=LocationScale(self.params.anchors, self.params.mean_anchors, corrections.shape),
            volatility_weights=corrections.volatility_weights,
            mean_weights=corrections.mean_weights,
            volatility_errors=corrections.volatility_errors,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Trainer:
    """A trainer with one compiled network, which it initialises again for each window of a table."""

    table: RowSource
    params: LstmParams
    inputs: tuple[str, ...]
    net: Net
    seed: int

    @classmethod
    def of(cls, table: RowSource, params: LstmParams, seed: int) -> Trainer:
        """Return a trainer with those inputs of the recipe that the table has."""
        inputs = tuple(n for n in params.inputs if n in table.rows.spec.names)
        return cls(table, params, inputs, shared_net(len(inputs), params, seed), seed)

    @property
    def rows(self) -> Rows:
        """Return the rows of the table."""
        return self.table.rows

    def fit(self, window: Window) -> tuple[Recurrent, Outputs]:
        """Fit on a window; return the network, and out-of-sample outputs on the later block of the window.

        First, a network is trained on the earlier block, and stops early by the loss on the later block. Its
        outputs on the later block are returned. Then a network is trained on the whole window with the same
        number of epochs.
        """
        earlier, later = window.divided(self.params.later_share)
        with self.net.lock:
            early = self._train(earlier, stop=later)
            fitted = self._train(window, epochs=max(1, early.epochs))
        return fitted, early.outputs(self.rows, later.known(self.rows, 0))

    def _train(self, window: Window, *, stop: Window | None = None, epochs: int = 1) -> Recurrent:
        """Fit regression, scaler and network on one window.

        Training ends when the loss on the block `stop` no longer improves, or without a block after `epochs`.
        """
        rows, params = self.rows, self.params
        line = line_of(rows, params.anchors, window, params.ridge_rows)
        train = self._thinned(window)
        scaler = _scaler(rows.features[train][:, [rows.spec.names.index(n) for n in self.inputs]])
        targets = _targets(rows, params, line, [window] if stop is None else [window, stop])
        examples = _examples(rows, self.inputs, scaler, targets, params.window_days)
        self.net.reset(self.seed)
        if stop is None:
            for _ in range(epochs):
                self.net.epoch(examples, train)
        else:
            epochs = self.net.fit(examples, train, self._thinned(stop))
        probe = examples.windows(train[-PROBE_ROWS:])
        return Recurrent(
            params=params,
            inputs=self.inputs,
            line=line,
            scaler=scaler,
            network=self.net.snapshot(),
            probe=probe,
            epochs=epochs,
        )

    def _thinned(self, window: Window) -> np.ndarray:
        """Return the rows with a target at the shortest anchor, one in `stride_days` days."""
        at = window.known(self.rows, min(self.params.anchors))
        return np.asarray(at[self.rows.origins[at].astype(np.int64) % self.params.stride_days == 0])


def _scaler(inputs: Floats) -> Scaler:
    known = np.isfinite(inputs)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, inputs, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, inputs - centre, 0.0) ** 2).sum(axis=0) / count)
    return Scaler(centre, np.where(spread > 1e-9, spread, 1.0))


def _targets(rows: Rows, params: LstmParams, line: HarLine, windows: Sequence[Window]) -> Singles:
    """Return the targets (N, A + M): corrections of the regression, and scores of the mean.

    They are NaN if the outcome is not known in one of the windows.
    """
    base = line.predict(rows.features, rows.spec.names)
    corrections = volatility_ahead(rows, params.anchors) - base
    scores = scores_of(rows, params.anchors, params.mean_anchors, base)
    out = np.concatenate([corrections, scores], axis=1).astype(np.float32)
    for column, h in enumerate((*params.anchors, *params.mean_anchors)):
        known = np.zeros(len(rows), dtype=bool)
        for window in windows:
            known[window.known(rows, h)] = True
        out[~known, column] = np.nan
    return out


def _examples(
    rows: Rows, inputs: tuple[str, ...], scaler: Scaler, targets: Singles, window_days: int
) -> Examples:
    scaled = scaler(rows.features[:, [rows.spec.names.index(n) for n in inputs]])
    padded = np.concatenate([scaled, np.zeros((1, len(inputs)), np.float32)])
    return Examples(padded, targets, np.searchsorted(rows.coin, rows.coin), window_days)
