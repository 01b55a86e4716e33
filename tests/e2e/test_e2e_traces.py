"""One trace from the gateway to the upstream, over HTTP and gRPC, in a real system with a collector."""

import time

import httpx2
import pytest

from coincast_stack.testing import StackHandle
from tests.e2e.e2e_collector import Collector

pytestmark = pytest.mark.timeout(300)
# A history that no other test requests, so that market-data has to call its upstream for it.
UNSEEN = {"days": "40", "vs_currency": "pln"}


def test_a_request_is_one_trace(stack: StackHandle, collector: Collector) -> None:
    trace_id, until = "ab" * 16, time.monotonic() + 120
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    expected = {
        ("gateway", "GET /coins/litecoin/history"),
        ("gateway", "coincast.market.v1.MarketDataService/GetHistory"),
        ("market-data", "coincast.market.v1.MarketDataService/GetHistory"),
    }
    with httpx2.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as client:
        # It may be answered before market-data has started, then with another status.
        while (reply := client.get("/coins/litecoin/history", params=UNSEEN, headers=headers)).is_error:
            assert time.monotonic() < until, reply.text
            time.sleep(0.5)
    while time.monotonic() < until and not expected <= collector.spans(trace_id):
        time.sleep(0.2)
    spans = collector.spans(trace_id)
    assert expected <= spans, f"missing: {expected - spans}"
    assert any(service == "market-data" and name.startswith("GET coins/") for service, name in spans), spans
