"""Loads a version the safe way round: digests, then the parse, then golden inputs against golden outputs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from coincast_modelkit.artifact import LoadedArtifact, check_golden, read_artifact


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """A version to load and how strict to be about signatures."""

    root: Path
    model: str
    version: str
    key: bytes | None = None
    require_signature: bool = False


def load_verified(wanted: VersionRequest) -> LoadedArtifact:
    """The artifact, its golden forecasts reproduced here. Raises ArtifactError, also where it has none, or
    whatever the parse raises.
    """
    artifact = read_artifact(
        wanted.root,
        wanted.model,
        wanted.version,
        key=wanted.key,
        require_signature=wanted.require_signature,
    )
    check_golden(artifact.model, artifact.golden)
    return artifact


def fingerprint(artifact: LoadedArtifact) -> str:
    """SHA-256 of the manifest, which names the digest of every file: what was tried is what is loaded."""
    return hashlib.sha256(artifact.manifest.to_bytes()).hexdigest()
