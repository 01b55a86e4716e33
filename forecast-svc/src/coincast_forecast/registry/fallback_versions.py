"""Versions that may substitute for a refused production version: those that were production before it.

training-svc logs every move in artifacts/audit.jsonl. Where that file is gone, the versions before the
refused one are used; never a later one, which may be on the volume because it was not good enough to be
promoted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from coincast_modelkit.artifact import list_versions
from coincast_modelkit.artifact.layout import number_of

AUDIT = "audit.jsonl"
MAX_VERSIONS = 3


def list_fallback_versions(root: Path, model: str, production: str) -> list[str]:
    """Return versions on the volume that may serve instead, best first. Raises OSError."""
    present = [v for v in list_versions(root, model) if number_of(v) < number_of(production)]
    served = [version for version in _productions(root / AUDIT, model) if version in present]
    newest_first = reversed(served or present)
    return list(dict.fromkeys(newest_first))[:MAX_VERSIONS]


def _productions(audit: Path, model: str) -> Iterator[str]:
    """Yield the versions to which `production` was moved, oldest first; unreadable lines are skipped."""
    try:
        lines = audit.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["model"] == model and entry["alias"] == "production":
                yield str(entry["to_version"])
        except (ValueError, TypeError, KeyError):
            continue
