"""Run the training service: `python -m coincast_training`."""

from __future__ import annotations

from coincast_chassis.import_blocker import block_imports

block_imports(["pandas"])  # pyarrow would import pandas, which only the separate job processes need

from coincast_chassis.run import run_service  # noqa: E402 - what is hidden must be hidden first
from coincast_training.app import build  # noqa: E402
from coincast_training.settings import Settings  # noqa: E402

if __name__ == "__main__":
    run_service("training", Settings, build)
