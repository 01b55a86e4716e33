"""Entry point: load settings, start telemetry, and run the gateway until a signal ends it."""

from __future__ import annotations

import asyncio
import sys
from typing import NoReturn

import uvloop

from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.observability.metrics import metrics_port
from coincast_chassis.observability.telemetry import telemetry
from coincast_chassis.settings import load_settings
from coincast_gateway.settings import Settings

log = get_logger("coincast.gateway")


def main() -> NoReturn:
    """Run the gateway and exit.

    The exit code is 0 after SIGTERM or SIGINT, and 2 if it cannot start until a setting or the machine is
    changed, as when the port is in use.
    """
    settings = load_settings(Settings)
    # Only now, since these imports take seconds on a busy machine: a wrong setting is reported before them.
    from coincast_gateway.server import listen, run  # noqa: PLC0415
    from coincast_gateway.workers import run_workers  # noqa: PLC0415

    with telemetry("gateway", settings) as tracing:
        try:
            listener = listen(settings.host, settings.port)
            if settings.workers > 1:
                with listener:
                    code = run_workers(settings, listener)
                raise SystemExit(code)
            with metrics_port(settings.host, settings.metrics_port), listener:
                host, port = listener.getsockname()[:2]
                log.info("listening", host=host, port=port)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(run(settings, listener, tracing))
        except CoincastError as error:
            sys.stderr.write(f"gateway: {error.message}\n")
            raise SystemExit(2) from None
    raise SystemExit(0)


if __name__ == "__main__":
    main()
