"""Read a version: the digest of every file is checked before the file is parsed."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coincast_modelkit.artifact.errors import ArtifactCorrupt, ArtifactMissing, ArtifactRefused
from coincast_modelkit.artifact.layout import MANIFEST, SCENARIOS, SEAL, version_folder
from coincast_modelkit.artifact.manifest import Manifest
from coincast_modelkit.artifact.signature import check_seal
from coincast_modelkit.features import spec_of
from coincast_modelkit.models import MODELS, ForecastModel

MAX_FILE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class LoadedArtifact:
    """A loaded version.

    golden holds the verified bytes of its golden file; call check_golden before the version serves.
    """

    manifest: Manifest
    model: ForecastModel
    signed: bool
    golden: bytes
    scenarios: bytes = b""


def read_manifest(
    root: Path, model: str, version: str, *, key: bytes | None = None, require_signature: bool = False
) -> tuple[Manifest, bool]:
    """Check the seal of a version; return its manifest, and whether the given key signed it.

    Args:
        root: Folder of all artifacts.
        model: Name of the model.
        version: Name of the version.
        key: Key of the signature; None does not check it.
        require_signature: Whether an unsigned manifest is refused.

    Raises:
        ArtifactError: The version is missing, damaged, or must not be used here.
    """
    folder = version_folder(root, model, version)
    if not folder.is_dir() or folder.is_symlink():
        raise ArtifactMissing(f"{model} has no version {version}")
    raw = _read_plain(folder, MANIFEST)
    signed = check_seal(raw, _read_plain(folder, SEAL), key=key, require_signature=require_signature)
    manifest = Manifest.from_bytes(raw)
    if (manifest.model, manifest.version) != (model, version):
        raise ArtifactCorrupt(f"{folder.name} holds the manifest of {manifest.model} {manifest.version}")
    return manifest, signed


def read_artifact(
    root: Path, model: str, version: str, *, key: bytes | None = None, require_signature: bool = False
) -> LoadedArtifact:
    """Verify all files of a version and load its model.

    The model reads a private copy of the bytes that were verified, so nothing can change in between.

    Args:
        root: Folder of all artifacts.
        model: Name of the model.
        version: Name of the version.
        key: Key of the signature; None does not check it.
        require_signature: Whether an unsigned manifest is refused.

    Raises:
        ArtifactMissing: There is no such version.
        ArtifactCorrupt: A file differs from its digest or cannot be read.
        ArtifactRefused: The version is intact but must not be used here.
    """
    manifest, signed = read_manifest(root, model, version, key=key, require_signature=require_signature)
    check_features(manifest)
    if manifest.model not in MODELS:
        raise ArtifactRefused(f"this build has no model called {manifest.model}")
    content = verified_files(version_folder(root, model, version), manifest)
    golden = golden_of(manifest, content)
    with unpacked(content) as private:
        loaded = MODELS[manifest.model].load(private, version=version)
    return LoadedArtifact(manifest, loaded, signed, golden, content.get(SCENARIOS, b""))


@contextmanager
def unpacked(content: Mapping[str, bytes]) -> Iterator[Path]:
    """Write verified bytes to a private folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="coincast-artifact-") as name:
        private = Path(name)
        for path, data in content.items():
            target = private / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        yield private


def golden_of(manifest: Manifest, content: Mapping[str, bytes]) -> bytes:
    """Return the content of the golden file. Raises ArtifactRefused if the version has none."""
    if not manifest.golden:
        raise ArtifactRefused(f"{manifest.model} {manifest.version} names no golden file; retrain it")
    if not (golden := content.get(manifest.golden)):
        raise ArtifactRefused(
            f"{manifest.model} {manifest.version}: its golden file {manifest.golden!r} is empty or none of "
            "its files; retrain it"
        )
    return golden


def check_features(manifest: Manifest) -> None:
    """Raise ArtifactRefused if this build computes other features than the version was trained on."""
    try:
        spec = spec_of(manifest.feature_names)
    except ValueError as error:
        raise ArtifactRefused(f"{manifest.model} {manifest.version}: {error}; retrain it") from error
    if spec.hash != manifest.feature_spec_hash:
        raise ArtifactRefused(
            f"{manifest.model} {manifest.version} was trained on other feature definitions "
            f"({manifest.feature_spec_hash[:12]}, here {spec.hash[:12]}); retrain it or run the older build"
        )


def verified_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Check the digest of every file of the manifest; return their contents by path.

    Raises:
        ArtifactCorrupt: A digest differs from the manifest's.
        ArtifactMissing: A file is absent.
    """
    content = {}
    for name, expected in manifest.files.items():
        _check_inside(name)
        data = _read_plain(folder, name)
        if len(data) != expected.size_bytes:
            raise ArtifactCorrupt(f"{name} has {len(data)} bytes, its manifest says {expected.size_bytes}")
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise ArtifactCorrupt(f"{name} does not match its digest")
        content[name] = data
    return content


def _check_inside(name: str) -> None:
    """Raise ArtifactRefused for a path that may lead outside the version's folder."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\x00" in name:
        raise ArtifactRefused(f"the manifest names {name!r}, which lies outside its folder")


def _read_plain(folder: Path, name: str) -> bytes:
    """Return the bytes of a regular file; symbolic links below the folder are refused."""
    parts = PurePosixPath(name).parts
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = deeper
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    except FileNotFoundError as error:
        raise ArtifactMissing(f"{name} is missing") from error
    except OSError as error:
        raise ArtifactRefused(f"{name} is not a plain file in its folder: {error.strerror}") from error
    finally:
        os.close(handle)
    with os.fdopen(file, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactRefused(f"{name} is not a plain file")
        if status.st_size > MAX_FILE_BYTES:
            raise ArtifactRefused(f"{name} has {status.st_size} bytes, more than {MAX_FILE_BYTES}")
        return opened.read()
