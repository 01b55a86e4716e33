"""Run the training service: `python -m coincast_training`."""

from __future__ import annotations

from coincast_chassis.run import run_service
from coincast_training.app import build
from coincast_training.settings import Settings

if __name__ == "__main__":
    run_service("training", Settings, build)
