"""The list of retired versions, in a file next to the versions, since versions are immutable."""

from __future__ import annotations

import json
from pathlib import Path

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import StrayLog, read_plain_file
from coincast_modelkit.durable_files import replace_file

FILE_NAME = "retired.json"
MAX_BYTES = 16 * 1024 * 1024
strays = StrayLog("retired_versions_unreadable")


def read_retired(root: Path, model: str) -> dict[str, dict[str, object]]:
    """Return the time and the reason of each retirement, by version.

    A file that cannot be read is named once and counts as empty.
    """
    path = root / model / FILE_NAME
    try:
        return dict(json.loads(read_plain_file(path, max_bytes=MAX_BYTES)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        strays.name(path, without_path(error))
        return {}


def write_retired(root: Path, model: str, version: str, *, at: float, reason: str) -> None:
    """Add one version to the list of retired ones."""
    retired = read_retired(root, model) | {version: {"at": at, "reason": reason}}
    replace_file(root / model / FILE_NAME, json.dumps(retired, indent=1).encode())
