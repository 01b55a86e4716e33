"""Version of the training code: a digest of the sources that affect the results."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import coincast_modelkit
import coincast_training
from coincast_training import __version__


@cache
def code_version() -> str:
    """Return the release and a SHA-256 digest of the Python sources of training and modelkit."""
    digest = hashlib.sha256()
    for package in (coincast_modelkit, coincast_training):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
