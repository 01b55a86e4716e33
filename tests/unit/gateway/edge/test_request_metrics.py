"""Errors are counted over the last minutes, without the probes of health."""

from __future__ import annotations

import pytest

from coincast_chassis.clock import ManualClock
from coincast_gateway.edge.request_metrics import LatencyWindow


def test_errors_leave_the_window_and_their_start_is_known() -> None:
    clock = ManualClock()
    window = LatencyWindow(clock=clock)
    assert window.recent_errors() == (0.0, 0.0)
    for status in (200, 200, 503, 200):
        window.add("/prices", status, 0.01)
    clock.advance(60)
    window.add("/prices", 200, 0.01)
    share, since = window.recent_errors()
    assert share == pytest.approx(1 / 5)
    assert 60 <= since < 70
    clock.advance(300)
    assert window.recent_errors() == (0.0, 0.0)
    assert (window.requests, window.failures) == (5, 1)


def test_probes_of_health_are_no_errors() -> None:
    window = LatencyWindow(clock=ManualClock())
    for route in ("/health", "/health/ready", "/health/components/{name}"):
        window.add(route, 503, 0.01)
    assert (window.requests, window.failures, window.recent_errors()[0]) == (0, 0, 0.0)
