"""One seam for work that splits into parts: in this process, in local processes, or on a Dask cluster."""

from coincast_training.executors.address import open_executor
from coincast_training.executors.base import Executor

__all__ = ["Executor", "open_executor"]
