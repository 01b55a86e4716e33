"""Forecast service: serves forecasts from versioned model artifacts."""

from __future__ import annotations

import coincast_chassis  # noqa: F401 - before gRPC: see there
