"""End the processes of a stack if the stack itself is killed and cannot do so.

Run as `python -m coincast_stack.processes.reaper`. Its standard input is a pipe that the stack holds open.
Each line adds or removes a process group (`+PGID` or `-PGID`). When the pipe ends, the stack has exited: the
groups that are still listed get SIGTERM, then SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GRACE_SECONDS = 4.0


def main() -> None:
    """Read lines until the pipe ends, then end the remaining groups."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end_groups(groups, GRACE_SECONDS)


def end_groups(groups: set[int], grace_seconds: float) -> None:
    """Send SIGTERM to the groups, wait up to `grace_seconds`, then send SIGKILL."""
    left = {group for group in groups if signal_group(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace_seconds
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if signal_group(group, 0)}
    for group in left:
        signal_group(group, signal.SIGKILL)


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return False if the group no longer exists."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
