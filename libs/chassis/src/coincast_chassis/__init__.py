"""Shared runtime of the Coincast services: settings, logs, metrics, health, gRPC, errors, shutdown."""

from __future__ import annotations

import os

# gRPC installs fork() handlers. With them, a child that is started while calls are in flight may abort
# between fork() and exec(). No code calls gRPC in a forked child, so the handlers are turned off. gRPC reads
# the variable when it is imported: every package that starts processes beside gRPC imports this package
# first.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
