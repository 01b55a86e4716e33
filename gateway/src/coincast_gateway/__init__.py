"""The REST gateway of Coincast."""

from __future__ import annotations

import coincast_chassis  # noqa: F401 - before gRPC: see there
