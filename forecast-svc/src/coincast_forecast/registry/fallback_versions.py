"""Which versions may stand in for a refused production version: those that were production before it.

training-svc writes down every move (artifacts/audit.jsonl). Where that file is gone, the versions before the
refused one; never a later one, which may be on the volume because it was not good enough to be promoted.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from coincast_modelkit.artifact import list_versions
from coincast_modelkit.artifact.layout import number_of

AUDIT = "audit.jsonl"
MOST = 3


def list_fallback_versions(root: Path, model: str, production: str) -> list[str]:
    """Versions on the volume that may serve instead, best first. Raises OSError."""
    present = [v for v in list_versions(root, model) if number_of(v) < number_of(production)]
    served = [version for version in _productions(root / AUDIT, model) if version in present]
    newest_first = reversed(served or present)
    return list(dict.fromkeys(newest_first))[:MOST]


def _productions(audit: Path, model: str) -> Iterator[str]:
    """What `production` was moved to, oldest first; lines that cannot be read tell nothing."""
    try:
        lines = audit.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["model"] == model and entry["alias"] == "production":
                yield str(entry["to_version"])
        except (ValueError, TypeError, KeyError):
            continue
