"""Starts the whole of Coincast as processes on one machine, watches it and stops it."""

import os

# Before gRPC is imported, for the reason that coincast_chassis gives.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
