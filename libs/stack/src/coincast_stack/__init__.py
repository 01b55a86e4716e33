"""Start all Coincast services as processes on one machine, supervise them and stop them."""

from __future__ import annotations

import os

# Set before gRPC is imported; coincast_chassis/__init__.py gives the reason.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
