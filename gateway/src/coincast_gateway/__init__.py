"""The REST gateway of Coincast."""

import coincast_chassis  # noqa: F401 - before gRPC: see there
