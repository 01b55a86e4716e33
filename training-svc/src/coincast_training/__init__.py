"""Training service: trains model versions on price history, compares, promotes and scores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import coincast_chassis  # noqa: F401 - before gRPC: see there

if TYPE_CHECKING:
    from coincast_training.api import TrainedModel, train_model_for_crypto

__version__ = "0.1.0"
__all__ = ["TrainedModel", "__version__", "train_model_for_crypto"]


def __getattr__(name: str) -> Any:
    """Import the Python API on first use, since it imports the numerical libraries."""
    if name in ("TrainedModel", "train_model_for_crypto"):
        from coincast_training import api  # noqa: PLC0415 - see above

        return getattr(api, name)
    raise AttributeError(name)
