"""Forecast service: serve forecasts from versioned artifacts."""

from __future__ import annotations

import coincast_chassis  # noqa: F401 - before gRPC: see there
