"""Model artifacts on the shared volume: manifest, writing, verification, aliases."""

from __future__ import annotations

from coincast_modelkit.artifact.aliases import Aliases, aliases_path, read_aliases
from coincast_modelkit.artifact.errors import (
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    ArtifactRefused,
)
from coincast_modelkit.artifact.golden import GOLDEN, check_golden, golden_bytes
from coincast_modelkit.artifact.layout import SCENARIOS, list_versions, version_folder
from coincast_modelkit.artifact.manifest import FORMAT_VERSION, DataWindow, FileDigest, Manifest, data_window
from coincast_modelkit.artifact.read import LoadedArtifact, read_artifact, read_manifest
from coincast_modelkit.artifact.record import HorizonRecord, Record
from coincast_modelkit.artifact.write import sweep_temporary, write_artifact

__all__ = [
    "FORMAT_VERSION",
    "GOLDEN",
    "SCENARIOS",
    "Aliases",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactRefused",
    "DataWindow",
    "FileDigest",
    "HorizonRecord",
    "LoadedArtifact",
    "Manifest",
    "Record",
    "aliases_path",
    "check_golden",
    "data_window",
    "golden_bytes",
    "list_versions",
    "read_aliases",
    "read_artifact",
    "read_manifest",
    "sweep_temporary",
    "version_folder",
    "write_artifact",
]
