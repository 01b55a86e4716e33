"""Resource use of the process: CPU, memory and disk, in the same form for every service."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil

from coincast.common.v1 import process_pb2, process_pb2_grpc

# On the monotonic clock, since the wall clock may be set.
STARTED = time.monotonic()
FULL_NAME = "coincast.common.v1.ProcessService"


class ProcessWatch:
    """Reads the resource use of this process; the CPU share covers the time since the last reading."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent(interval=None)

    def read(self) -> process_pb2.GetProcessResponse:
        """Return the process and its machine now."""
        with self._process.oneshot():
            disk = psutil.disk_usage(".")
            return process_pb2.GetProcessResponse(
                cpu_percent=self._process.cpu_percent(interval=None),
                memory_bytes=self._process.memory_info().rss,
                threads=self._process.num_threads(),
                open_files=self._process.num_fds(),
                uptime_seconds=time.monotonic() - STARTED,
                disk_free_bytes=disk.free,
                disk_total_bytes=disk.total,
                load_per_core=os.getloadavg()[0] / (os.cpu_count() or 1),
            )


class ProcessServicer(process_pb2_grpc.ProcessServiceServicer):
    """The gRPC service that returns the readings of a ProcessWatch."""

    def __init__(self) -> None:
        self._watch = ProcessWatch()

    async def GetProcess(  # noqa: N802 - the contract's name
        self, request: process_pb2.GetProcessRequest, context: Any
    ) -> process_pb2.GetProcessResponse:
        """Return the process and its machine now."""
        return self._watch.read()
