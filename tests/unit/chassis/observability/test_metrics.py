"""The chassis's own metrics."""

import asyncio
import time
import urllib.request

import pytest
from prometheus_client import REGISTRY

from coincast_chassis import context
from coincast_chassis.errors import Unavailable
from coincast_chassis.observability import metrics
from coincast_chassis.observability.loop_lag import watch_loop


def test_a_port_of_its_own_shows_all(tmp_path):
    metrics.watch_disk("toy", tmp_path)
    metrics.tell_build("chassis")
    with metrics.metrics_port("127.0.0.1", 0) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            text = reply.read().decode()
        with pytest.raises(Unavailable, match=str(port)), metrics.metrics_port("127.0.0.1", port):
            pytest.fail("two listen on one port")
    assert 'coincast_disk_free_bytes{folder="toy"}' in text
    assert "coincast_build_info{" in text
    assert 'version="0.1.0"' in text


def test_latency_carries_the_trace_as_exemplar():
    assert metrics.exemplar() is None
    with context.bind(trace_id="ab" * 16):
        metrics.observe_latency(metrics.SERVER_SECONDS.labels("Toy", "Get"), 0.01)
    metrics.observe_latency(metrics.CLIENT_SECONDS.labels("Toy", "Get"), 0.01, "cd" * 16)
    with metrics.metrics_port("127.0.0.1", 0) as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics",
            headers={"Accept": "application/openmetrics-text; version=1.0.0"},
        )
        with urllib.request.urlopen(request, timeout=5) as reply:
            shown = reply.read().decode()
    assert f'trace_id="{"ab" * 16}"' in shown
    assert f'trace_id="{"cd" * 16}"' in shown


def test_the_state_of_a_breaker_is_a_number():
    metrics.watch_breaker("toy", "closed", "open")
    assert REGISTRY.get_sample_value("coincast_breaker_state", {"breaker": "toy"}) == 2
    assert (
        REGISTRY.get_sample_value("coincast_breaker_transitions_total", {"breaker": "toy", "to": "open"}) == 1
    )


async def test_a_blocked_loop_shows_as_lag():
    def slow() -> float:
        return sum(
            sample.value
            for metric in metrics.LOOP_LAG.collect()
            for sample in metric.samples
            if sample.name.endswith("_sum")
        )

    before = slow()
    watcher = asyncio.create_task(watch_loop(interval_seconds=0.01))
    await asyncio.sleep(0.02)
    time.sleep(0.2)  # noqa: ASYNC251 - blocking the loop is what the test is about
    await asyncio.sleep(0.05)
    watcher.cancel()
    assert slow() - before > 0.15


def test_every_metric_of_the_chassis_is_named_and_explained():
    for name in vars(metrics):
        family = getattr(metrics, name)
        if name.isupper() and hasattr(family, "describe"):
            (described,) = family.describe()
            assert described.name.startswith("coincast_")
            assert described.documentation.endswith(".")
