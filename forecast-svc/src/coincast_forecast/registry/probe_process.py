"""The probe process: loads versions one after another, so that a crash does not affect the service.

It reads one JSON line per version from stdin, and writes one JSON line per version to the pipe whose
descriptor is the first argument. Stdout is not part of the protocol, since any library may print there. The
process ends at the end of stdin.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from coincast_chassis.observability.error_text import without_path
from coincast_forecast.runtime import import_blocker

CPU_SECONDS = 60
MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Answer until stdin ends, with limits on CPU time and memory in case the parent is killed."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import_blocker.install()
    # Redirect printed text to the log.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            answers.write(json.dumps(_probe(json.loads(line))) + "\n")
            answers.flush()


def _probe(request: dict[str, Any]) -> dict[str, Any]:
    from coincast_forecast.registry.verification import (  # noqa: PLC0415 - after the limits
        VersionRequest,
        fingerprint,
        load_verified,
    )

    key = bytes.fromhex(request["key"]) if request["key"] else None
    wanted = VersionRequest(
        Path(request["root"]), request["model"], request["version"], key, request["require_signature"]
    )
    try:
        artifact = load_verified(wanted)
    except Exception as error:  # any failure to load is a valid answer
        return {"ok": False, "error": type(error).__name__, "reason": without_path(error)[:500]}
    return {"ok": True, "fingerprint": fingerprint(artifact)}


if __name__ == "__main__":
    main()
