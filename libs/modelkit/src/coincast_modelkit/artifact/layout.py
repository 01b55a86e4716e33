"""Paths below the artifact root, and the valid names of models and versions."""

from __future__ import annotations

import re
from pathlib import Path

from coincast_modelkit.artifact.errors import ArtifactMissing

MANIFEST = "manifest.json"
SEAL = "manifest.seal"
ALIASES = "aliases.json"
# The returns after each past day, for joint scenarios. Versions from before scenarios have no such file.
SCENARIOS = "scenarios.npz"
TEMPORARY = ".writing-"

_MODEL = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VERSION = re.compile(r"v\d{6,9}")


def model_folder(root: Path, model: str) -> Path:
    """Return the folder of one model. Raises ArtifactMissing for a name that is not valid."""
    if not _MODEL.fullmatch(model):
        raise ArtifactMissing(f"{model!r} is not a model's name")
    return root / model


def version_folder(root: Path, model: str, version: str) -> Path:
    """Return the folder of one version.

    Args:
        root: The folder of artifacts.
        model: The model's name.
        version: The version, such as v000001.

    Raises:
        ArtifactMissing: A name is not valid.
    """
    if not _VERSION.fullmatch(version):
        raise ArtifactMissing(f"{version!r} is not a version: they look like v000001")
    return model_folder(root, model) / version


def list_versions(root: Path, model: str) -> list[str]:
    """Return the versions on disk, oldest first; empty where the model has none."""
    folder = model_folder(root, model)
    if not folder.is_dir():
        return []
    found = [p.name for p in folder.iterdir() if _VERSION.fullmatch(p.name) and (p / MANIFEST).is_file()]
    return sorted(found, key=number_of)


def number_of(version: str) -> int:
    """Return the number in a version's name."""
    return int(version[1:])


def name_of(number: int) -> str:
    """Return the name of the version with a number."""
    return f"v{number:06d}"
