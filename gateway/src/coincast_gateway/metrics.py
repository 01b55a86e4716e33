"""The gateway's own metrics. Labels come from fixed lists: route templates, methods, statuses."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "coincast_gateway_requests",
    "Requests answered, by route, method and status; served: from the response cache (hot) or by the app.",
    ["route", "method", "status", "served"],
)
SECONDS = Histogram(
    "coincast_gateway_request_duration_seconds",
    "Time from the arrival of a request to the last byte of its reply, by route.",
    ["route"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
IN_FLIGHT = Gauge("coincast_gateway_requests_in_flight", "Requests being answered now.")
SHARED = Counter(
    "coincast_gateway_shared_replies", "Look-ups in the response cache in Redis, by outcome.", ["outcome"]
)
LIMITS_LOCAL = Counter(
    "coincast_gateway_limits_local", "Rate limits that this process checked itself because Redis failed."
)
BAD_KEY_RECORDS = Counter(
    "coincast_gateway_bad_key_records",
    "Records of API keys that could not be decoded, counted at each refresh.",
)
REFUSED = Counter(
    "coincast_gateway_refused",
    "Requests rejected before they reached the application, by reason.",
    ["reason"],
)
