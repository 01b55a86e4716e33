"""The recurrent network as serving runs it: ONNX encoder once, ONNX head once a dropout mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Floats

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Singles = npt.NDArray[np.float32]
# Standardised inputs are cut here: a network says anything about what it never saw.
CUT = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Centre and spread (F,) of the inputs, from training days only."""

    centre: Floats
    spread: Floats

    def __call__(self, inputs: Floats) -> Singles:
        """Return standardised inputs (..., F) as float32; what is absent becomes the centre."""
        z = (inputs - self.centre) / self.spread
        return np.clip(np.nan_to_num(z, nan=0.0, posinf=CUT, neginf=-CUT), -CUT, CUT).astype(np.float32)


class Sampler(Protocol):
    """Anything that gives a network's outputs under its masks."""

    def samples(self, windows: Singles) -> Floats:
        """Return the outputs under every mask (S, n, O) of standardised windows (n, L, F)."""
        ...


class Network:
    """Two ONNX graphs and S fixed dropout masks for each of the head's two layers: (S, D) and (S, H).

    encoder: windows (n, L, F) to contexts (n, D). head: contexts and two masks of as many rows to outputs
    (n, O).
    """

    def __init__(self, encoder: bytes, head: bytes, context_masks: Singles, hidden_masks: Singles) -> None:
        self.encoder, self.head = encoder, head
        self.context_masks, self.hidden_masks = context_masks, hidden_masks
        self._encoder, self._head = _session(encoder), _session(head)

    def contexts(self, windows: Singles) -> Singles:
        """Return contexts (n, D) of standardised windows (n, L, F)."""
        found: Singles = self._encoder.run(None, {self._encoder.get_inputs()[0].name: windows})[0]
        return found

    def outputs(self, contexts: Singles, context_masks: Singles, hidden_masks: Singles) -> Singles:
        """Return the outputs (n, O) of contexts (n, D) under masks of as many rows."""
        names = [i.name for i in self._head.get_inputs()]
        feed = dict(zip(names, (contexts, context_masks, hidden_masks), strict=True))
        found: Singles = self._head.run(None, feed)[0]
        return found

    def samples(self, windows: Singles) -> Floats:
        """Return the outputs under every mask (S, n, O): encoded once, headed S times in one call."""
        out = self.outputs(*sampled(self.contexts(windows), self.context_masks, self.hidden_masks))
        return out.reshape(len(self.context_masks), len(windows), -1).astype(np.float64)


def sampled(contexts: Singles, context_masks: Singles, hidden_masks: Singles) -> list[Singles]:
    """Return the head's three inputs for every mask on every context: S n rows, mask after mask."""
    s, n = len(context_masks), len(contexts)
    return [
        np.tile(contexts, (s, 1)),
        np.repeat(context_masks, n, axis=0),
        np.repeat(hidden_masks, n, axis=0),
    ]


def draw_masks(samples: int, width: int, dropout: float, rng: np.random.Generator) -> Singles:
    """Inverted dropout masks (samples, width): zero with probability `dropout`, else 1 / (1 - dropout)."""
    survives = rng.random((samples, width)) >= dropout
    return (survives / (1.0 - dropout)).astype(np.float32)


def _session(graph: bytes) -> InferenceSession:
    import onnxruntime  # noqa: PLC0415 - a heavy import that the other models do without

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
