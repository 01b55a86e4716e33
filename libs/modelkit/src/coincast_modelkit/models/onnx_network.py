"""Run the recurrent network with ONNX: the encoder once, the head once for each dropout mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Floats

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Singles = npt.NDArray[np.float32]
# Standardised inputs are clipped at this value: the network's output is arbitrary far outside its training
# data.
CUT = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Centre and spread (F,) of the inputs, estimated from training days only."""

    centre: Floats
    spread: Floats

    def __call__(self, inputs: Floats) -> Singles:
        """Return standardised inputs (..., F) as float32; absent values become the centre."""
        z = (inputs - self.centre) / self.spread
        return np.clip(np.nan_to_num(z, nan=0.0, posinf=CUT, neginf=-CUT), -CUT, CUT).astype(np.float32)


class Sampler(Protocol):
    """Interface of a network that returns its outputs under each of its dropout masks."""

    def samples(self, windows: Singles) -> Floats:
        """Return the outputs (S, n, O) under each of S masks for standardised windows (n, L, F)."""
        ...


class Network:
    """Two ONNX graphs and S fixed dropout masks for each of the head's two layers: (S, D) and (S, H).

    The encoder maps windows (n, L, F) to contexts (n, D). The head maps contexts and one row of each mask per
    context to outputs (n, O).
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
        """Return the outputs (n, O) for contexts (n, D) and masks with n rows."""
        names = [i.name for i in self._head.get_inputs()]
        feed = dict(zip(names, (contexts, context_masks, hidden_masks), strict=True))
        found: Singles = self._head.run(None, feed)[0]
        return found

    def samples(self, windows: Singles) -> Floats:
        """Return the outputs (S, n, O) under every mask; one call of the head covers all masks."""
        out = self.outputs(*sampled(self.contexts(windows), self.context_masks, self.hidden_masks))
        return out.reshape(len(self.context_masks), len(windows), -1).astype(np.float64)


def sampled(contexts: Singles, context_masks: Singles, hidden_masks: Singles) -> list[Singles]:
    """Return the head's three inputs for every pair of mask and context: S * n rows, ordered by mask."""
    s, n = len(context_masks), len(contexts)
    return [
        np.tile(contexts, (s, 1)),
        np.repeat(context_masks, n, axis=0),
        np.repeat(hidden_masks, n, axis=0),
    ]


def draw_masks(samples: int, width: int, dropout: float, rng: np.random.Generator) -> Singles:
    """Draw inverted dropout masks (samples, width): 0 with probability `dropout`, else 1 / (1 - dropout)."""
    survives = rng.random((samples, width)) >= dropout
    return (survives / (1.0 - dropout)).astype(np.float32)


def _session(graph: bytes) -> InferenceSession:
    import onnxruntime  # noqa: PLC0415 - slow to import, and other models do not need it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
