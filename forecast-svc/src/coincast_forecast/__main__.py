"""Run the service: `python -m coincast_forecast`."""

from __future__ import annotations

from coincast_forecast.runtime import import_blocker

import_blocker.install()

from coincast_chassis.run import run_service  # noqa: E402 - what is hidden must be hidden first
from coincast_forecast.app import build  # noqa: E402
from coincast_forecast.inference.thread import shorten_switch_interval  # noqa: E402
from coincast_forecast.settings import Settings  # noqa: E402

if __name__ == "__main__":
    shorten_switch_interval()
    run_service("forecast", Settings, build)
