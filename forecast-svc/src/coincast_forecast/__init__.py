"""Serves forecasts from versioned artifacts."""

import coincast_chassis  # noqa: F401 - before gRPC: see there
