"""`python -m coincast_forecast`: runs the service."""

from coincast_forecast import lean_imports

lean_imports.install()

from coincast_chassis.run import run_service  # noqa: E402 - what is hidden must be hidden first
from coincast_forecast.app import build  # noqa: E402
from coincast_forecast.settings import Settings  # noqa: E402
from coincast_forecast.worker import yield_sooner  # noqa: E402

if __name__ == "__main__":
    yield_sooner()
    run_service("forecast", Settings, build)
