"""Read the versions on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from coincast_chassis.errors import NotFound, NotReady
from coincast_chassis.observability.error_text import without_path
from coincast_modelkit.artifact import (
    ArtifactError,
    ArtifactMissing,
    Manifest,
    Record,
    list_versions,
    read_manifest,
    version_folder,
)
from coincast_modelkit.artifact.read import verified_files
from coincast_training.registry.retirement import read_retired

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Version:
    """A version: the content of its manifest, and whether it is retired."""

    model: str
    version: str
    created_at: float
    coins: tuple[str, ...]
    data_from_date: str
    data_to_date: str
    data_hash: str
    code_version: str
    parent_version: str
    signed: bool
    retired: bool
    size_bytes: int
    record: Record


class Versions:
    """Read the versions of an artifact folder, and check their signatures and digests."""

    def __init__(self, root: Path, *, key: bytes | None, require_signature: bool) -> None:
        self._root, self._key, self._require_signature = root, key, require_signature

    def names(self, model: str) -> list[str]:
        """Return the versions on disk, oldest first."""
        return list_versions(self._root, model)

    def list(self, model: str) -> list[Version]:
        """Return all readable versions, the oldest first; log and leave out the others."""
        found = []
        for name in self.names(model):
            try:
                found.append(self.get(model, name))
            except NotReady as error:
                log.warning("version_unreadable", model=model, version=name, reason=error.message)
        return found

    def get(self, model: str, version: str) -> Version:
        """Return one version.

        Raises:
            NotFound: There is no such version.
            NotReady: Its manifest is damaged, or its signature is refused.
        """
        manifest, signed = self.manifest(model, version)
        return Version(
            model=model,
            version=version,
            created_at=manifest.created_at,
            coins=manifest.coins,
            data_from_date=manifest.data.from_date,
            data_to_date=manifest.data.to_date,
            data_hash=manifest.data.sha256,
            code_version=manifest.code_version,
            parent_version=manifest.parent,
            signed=signed,
            retired=version in read_retired(self._root, model),
            size_bytes=sum(file.size_bytes for file in manifest.files.values()),
            record=manifest.record,
        )

    def manifest(self, model: str, version: str) -> tuple[Manifest, bool]:
        """Return the manifest of a version, and whether it is signed with our key; raises as `get`."""
        with self._artifact_errors(model, version):
            return read_manifest(
                self._root, model, version, key=self._key, require_signature=self._require_signature
            )

    def verified(self, model: str, version: str) -> dict[str, bytes]:
        """Read all files of a version and check their digests; raises as `get`."""
        manifest, _ = self.manifest(model, version)
        with self._artifact_errors(model, version):
            return verified_files(version_folder(self._root, model, version), manifest)

    @contextmanager
    def _artifact_errors(self, model: str, version: str) -> Iterator[None]:
        """Translate artifact errors to domain errors."""
        try:
            yield
        except ArtifactMissing as error:
            if version not in self.names(model):
                raise NotFound(
                    f"{model} has no version {version!r}.",
                    field="version",
                    suggestions=tuple(reversed(self.names(model)))[:3],
                ) from error
            raise NotReady(f"{model} {version} is incomplete: {error}", field="version") from error
        except ArtifactError as error:
            raise NotReady(
                f"{model} {version} cannot be used: {without_path(error)}", field="version"
            ) from error
