"""The child process: loads one version after another and says how it went; a crash here costs nobody a
forecast.

Reads one JSON line a version from stdin and answers with one on stdout. Ends when stdin does.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

from coincast_forecast.runtime import import_blocker

CPU_SECONDS = 60
MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Answer until stdin ends, within limits of the kernel, so that nothing here outlives a parent that is
    gone.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import_blocker.install()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_try(json.loads(line))) + "\n")
        sys.stdout.flush()


def _try(asked: dict[str, Any]) -> dict[str, Any]:
    from coincast_forecast.registry.verification import VersionRequest, fingerprint, load_verified  # noqa: PLC0415 - after the limits

    key = bytes.fromhex(asked["key"]) if asked["key"] else None
    wanted = VersionRequest(
        Path(asked["root"]), asked["model"], asked["version"], key, asked["require_signature"]
    )
    try:
        artifact = load_verified(wanted)
    except Exception as error:  # every reason not to load is the answer
        return {"ok": False, "error": type(error).__name__, "reason": str(error)[:500]}
    return {"ok": True, "fingerprint": fingerprint(artifact)}


if __name__ == "__main__":
    main()
