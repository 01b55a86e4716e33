"""Executors that run independent parts of work: in this process, in local processes or on a Dask cluster."""

from __future__ import annotations

from coincast_training.executors.base import Executor
from coincast_training.executors.factory import open_executor

__all__ = ["Executor", "open_executor"]
