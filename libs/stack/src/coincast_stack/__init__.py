"""Starts the whole of Coincast as processes on one machine, watches it and stops it."""

from __future__ import annotations

import os

# Set before gRPC is imported, for the reason that coincast_chassis gives.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
