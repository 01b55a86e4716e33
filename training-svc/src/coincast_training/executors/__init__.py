"""One seam for work that splits into parts: in this process, in local processes, or on a Dask cluster."""

from coincast_training.executors.base import Executor
from coincast_training.executors.factory import open_executor

__all__ = ["Executor", "open_executor"]
