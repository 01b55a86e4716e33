"""The Keras network and its training loop, the only module that needs TensorFlow."""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.onnx_network import Network, Singles, draw_masks, sampled
from coincast_training.optional_imports import OPTIONAL_FOR_KERAS, hidden
from coincast_training.trainers.lstm.params import LstmParams

with hidden(OPTIONAL_FOR_KERAS):
    import keras
    import tensorflow as tf
    from keras import layers, ops

PARITY = 1e-5
EVALUATED_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and targets of N rows, from which windows are cut.

    Attributes:
        inputs: Standardised inputs, (N + 1, F); the last row is zeros, for days before the first of a coin.
        targets: Targets, (N, O); NaN if unknown.
        starts: First row of the coin of each row, (N,), so that a window has days of one coin only.
        window_days: Length of a window.
    """

    inputs: Singles
    targets: Singles
    starts: np.ndarray
    window_days: int

    def windows(self, at: np.ndarray) -> Singles:
        """Return windows (m, L, F) that end at rows `at` (m,), with zeros before the first row of a coin."""
        rows = at[:, None] - np.arange(self.window_days - 1, -1, -1)
        return self.inputs[np.where(rows >= self.starts[at, None], rows, len(self.inputs) - 1)]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The compiled Keras models.

    Attributes:
        encoder: Maps windows to contexts.
        head: Maps contexts and dropout masks to outputs.
        whole: Encoder and head together, which is trained.
        widths: Widths of the two dropout masks.
        start: Initial weights, and initial state of the optimizer.
    """

    encoder: Any
    head: Any
    whole: Any
    widths: tuple[int, int]
    start: tuple[list[Singles], list[Any]]

    @classmethod
    def of(cls, features: int, params: LstmParams, loss_weights: Singles) -> Graph:
        """Build the graph; the initial weights follow the global seed."""
        encoder = _encoder(features, params)
        width = int(encoder.output_shape[-1])
        head = _head(width, len(loss_weights), params)
        windows = keras.Input((params.window_days, features))
        masks = [keras.Input((width,)), keras.Input((params.hidden,))]
        whole = keras.Model([windows, *masks], head([encoder(windows), *masks]))
        optimizer = keras.optimizers.AdamW(params.learning_rate, weight_decay=params.weight_decay)
        whole.compile(optimizer=optimizer, loss=_masked_square(loss_weights))
        optimizer.build(whole.trainable_variables)
        start = (whole.get_weights(), [v.numpy() for v in optimizer.variables])
        return cls(encoder, head, whole, (width, params.hidden), start)

    def reset(self) -> None:
        """Restore the initial weights and optimizer state."""
        weights, state = self.start
        self.whole.set_weights(weights)
        for variable, value in zip(self.whole.optimizer.variables, state, strict=True):
            variable.assign(value)


class Net:
    """Encoder and head with dropout masks as inputs, so that the exported head takes the same masks.

    The compiled graph is built on first use. It is then trained and evaluated in place, so users must hold
    `lock`. Only the arguments of the constructor are sent to workers; trained weights are in a `Snapshot`.
    """

    def __init__(self, features: int, params: LstmParams, seed: int) -> None:
        self.features = features
        self.params = params
        self.seed = seed
        shares = [1.0] * len(params.anchors) + [params.mean_loss_share] * len(params.mean_anchors)
        self.weights = np.array(shares, dtype=np.float32)
        self.rng = np.random.default_rng(seed)
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return shared_net, (self.features, self.params, self.seed)

    @cached_property
    def graph(self) -> Graph:
        """Return the compiled graph in its initial state."""
        one_thread()
        keras.utils.set_random_seed(self.seed)
        return Graph.of(self.features, self.params, self.weights)

    @property
    def whole(self) -> Any:
        """Return the model of encoder and head together."""
        return self.graph.whole

    def reset(self, seed: int) -> None:
        """Restore the initial state; building again would take as long as an epoch."""
        self.graph.reset()
        self.rng = np.random.default_rng(seed)

    def masks(self, rows: int) -> list[Singles]:
        """Return random dropout masks of both layers."""
        return [draw_masks(rows, w, self.params.dropout, self.rng) for w in self.graph.widths]

    def epoch(self, examples: Examples, train: np.ndarray) -> None:
        """Make one pass over the training rows in random order.

        All batches have the same length, since another length would be compiled again. The rows of the last,
        incomplete batch are left out.
        """
        rows = self.params.batch_rows
        order = np.resize(self.rng.permutation(train), max(1, len(train) // rows) * rows)
        for at in _parts(order, rows):
            self.whole.train_on_batch([examples.windows(at), *self.masks(len(at))], examples.targets[at])

    def loss(self, examples: Examples, at: np.ndarray) -> float:
        """Return the mean squared error over the known targets, without dropout."""
        error, known = 0.0, 0
        ones = [np.ones((EVALUATED_ROWS, w), np.float32) for w in self.graph.widths]
        for some in _parts(at, EVALUATED_ROWS):
            filled = np.resize(some, EVALUATED_ROWS)
            found = self.whole.predict_on_batch([examples.windows(filled), *ones])[: len(some)]
            square = self.weights * (found - examples.targets[some]) ** 2
            error += float(np.nansum(square))
            known += int(np.isfinite(square).sum())
        return error / max(known, 1)

    def fit(self, examples: Examples, train: np.ndarray, stop: np.ndarray) -> int:
        """Train until the loss on the rows `stop` no longer improves; restore the best weights.

        Returns:
            The number of epochs with the best loss.
        """
        best, best_epoch, kept = self.loss(examples, stop), 0, self.whole.get_weights()
        for number in range(1, self.params.epochs + 1):
            self.epoch(examples, train)
            now = self.loss(examples, stop)
            if now < best:
                best, best_epoch, kept = now, number, self.whole.get_weights()
            elif number - best_epoch >= self.params.patience:
                break
        self.whole.set_weights(kept)
        return best_epoch

    def snapshot(self) -> Snapshot:
        """Return the current weights of the network, with new random dropout masks."""
        masks = [draw_masks(self.params.samples, w, self.params.dropout, self.rng) for w in self.graph.widths]
        return Snapshot(self, self.whole.get_weights(), masks[0], masks[1])


@lru_cache(maxsize=4)
def shared_net(features: int, params: LstmParams, seed: int) -> Net:
    """Return a net that all users in this process with the same arguments share.

    Building and tracing a graph takes longer than many trainings. Users must hold the lock of the net and
    reset it before a training.
    """
    return Net(features, params, seed)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Weights and masks of a trained network, which shares the compiled graph of its net with others."""

    net: Net
    weights: list[Singles]
    context_masks: Singles
    hidden_masks: Singles

    def samples(self, windows: Singles) -> Floats:
        """Return the outputs with each of S masks, (S, n, O), like `Network.samples`."""
        graph, found = self.net.graph, []
        with self.net.lock:
            graph.whole.set_weights(self.weights)
            for at in _parts(np.arange(len(windows)), EVALUATED_ROWS):
                contexts = graph.encoder.predict_on_batch(windows[np.resize(at, EVALUATED_ROWS)])
                feed = sampled(contexts, self.context_masks, self.hidden_masks)
                out = graph.head.predict_on_batch(feed)
                found.append(out.reshape(len(self.context_masks), EVALUATED_ROWS, -1)[:, : len(at)])
        return np.concatenate(found, axis=1).astype(np.float64)

    def export(self, probe: Singles) -> Network:
        """Convert the network to ONNX, and compare its outputs on the windows `probe`.

        Raises:
            RuntimeError: The outputs differ from those of Keras.
        """
        # The call also traces the graph, which the export needs.
        expected = self.samples(probe)
        network = Network(
            _onnx(self.net.graph.encoder), _onnx(self.net.graph.head), self.context_masks, self.hidden_masks
        )
        difference = float(np.abs(network.samples(probe) - expected).max())
        if not difference < PARITY:
            raise RuntimeError(f"the exported network differs from Keras by {difference:.2g}")
        return network


def one_thread() -> None:
    """Limit TensorFlow to one thread; this has no effect after TensorFlow has started."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return


def _encoder(features: int, params: LstmParams) -> Any:
    """Build the encoder of windows (L, F) to contexts (4 * units,): attention and the last state."""
    windows = keras.Input((params.window_days, features), name="window")
    days = layers.Bidirectional(layers.LSTM(params.units, return_sequences=True))(windows)
    score = layers.Dense(1, use_bias=False)(layers.Dense(params.attention, activation="tanh")(days))
    attended = layers.Flatten()(layers.Dot(axes=1)([layers.Softmax(axis=1)(score), days]))
    return keras.Model(windows, layers.Concatenate()([attended, days[:, -1, :]]))


def _head(width: int, outputs: int, params: LstmParams) -> Any:
    context = keras.Input((width,), name="context")
    first, second = (
        keras.Input((width,), name="context_mask"),
        keras.Input((params.hidden,), name="hidden_mask"),
    )
    hidden = layers.Dense(params.hidden, activation="relu")(layers.Multiply()([context, first]))
    # With zero weights, the first outputs are zero: the network starts without a correction of the
    # regression.
    out = layers.Dense(outputs, kernel_initializer="zeros")(layers.Multiply()([hidden, second]))
    return keras.Model([context, first, second], out)


def _masked_square(weights: Singles) -> Callable[[Any, Any], Any]:
    """Return a Keras loss: the mean square over the known targets, with a weight for each output."""

    def loss(target: Any, found: Any) -> Any:
        known = ops.isfinite(target)
        square = weights * ops.where(known, (ops.where(known, target, 0.0) - found) ** 2, 0.0)
        return ops.sum(square) / ops.maximum(ops.sum(ops.cast(known, "float32")), 1.0)

    return loss


def _parts(at: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Split positions into parts of at most `rows` rows."""
    for start in range(0, len(at), rows):
        yield at[start : start + rows]


def _onnx(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation warnings of the converter itself
        path = Path(folder) / "model.onnx"
        model.export(str(path), format="onnx", verbose=False)
        return path.read_bytes()
