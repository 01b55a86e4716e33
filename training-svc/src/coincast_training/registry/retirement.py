"""The list of retired versions, in a file next to the versions, since versions are immutable."""

from __future__ import annotations

import json
from pathlib import Path

from coincast_modelkit.artifact import replace_file

FILE_NAME = "retired.json"


def read_retired(root: Path, model: str) -> dict[str, dict[str, object]]:
    """Return the time and the reason of each retirement, by version."""
    path = root / model / FILE_NAME
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write_retired(root: Path, model: str, version: str, *, at: float, reason: str) -> None:
    """Add one version to the list of retired ones."""
    retired = read_retired(root, model) | {version: {"at": at, "reason": reason}}
    replace_file(root / model / FILE_NAME, json.dumps(retired, indent=1).encode())
