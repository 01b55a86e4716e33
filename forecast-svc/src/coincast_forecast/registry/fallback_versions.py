"""Find versions that may replace a refused production version: those that were in production before it.

training-svc logs every change of an alias in artifacts/audit.jsonl. Without that file, versions older than
the refused one are used. Later versions are never used, since they may be on the volume because they were not
good enough to be promoted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from coincast_chassis.plain_files import NotAPlainFileError, read_plain_file
from coincast_modelkit.artifact import list_versions
from coincast_modelkit.artifact.layout import number_of

AUDIT = "audit.jsonl"
MAX_VERSIONS = 3
MAX_AUDIT_BYTES = 256 * 1024 * 1024


def list_fallback_versions(root: Path, model: str, production: str) -> list[str]:
    """Return the versions that may replace the production version, best first. Raises OSError.

    Args:
        root: The folder of artifacts.
        model: Name of the model.
        production: The refused version.
    """
    present = [v for v in list_versions(root, model) if number_of(v) < number_of(production)]
    served = [version for version in _productions(root / AUDIT, model) if version in present]
    newest_first = reversed(served or present)
    return list(dict.fromkeys(newest_first))[:MAX_VERSIONS]


def _productions(audit: Path, model: str) -> Iterator[str]:
    """Yield the versions that were put into production, oldest first; unreadable lines are skipped."""
    try:
        content = read_plain_file(audit, max_bytes=MAX_AUDIT_BYTES)
    except (FileNotFoundError, NotAPlainFileError, IsADirectoryError):
        return
    lines = content.decode(errors="replace").splitlines()
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["model"] == model and entry["alias"] == "production":
                yield str(entry["to_version"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
