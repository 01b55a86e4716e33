"""How a Coincast service runs: settings, logs, metrics, health, gRPC, errors, shutdown."""

from __future__ import annotations

import os

# With gRPC's own handlers of fork(), a process started while calls are under way may abort before it has
# become another program. Nothing here calls gRPC in a forked child, so they are not needed. gRPC reads this
# when it is imported: every package that starts processes beside gRPC imports this one first.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
