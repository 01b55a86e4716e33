"""Write a version: temporary folder, sync, rename. The number of a version is never reused."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from coincast_modelkit.artifact.layout import (
    MANIFEST,
    SEAL,
    TEMPORARY,
    list_versions,
    model_folder,
    name_of,
    number_of,
)
from coincast_modelkit.artifact.manifest import FileDigest, Manifest
from coincast_modelkit.artifact.signature import make_seal
from coincast_modelkit.durable_files import replace_file, sync_folder, sync_tree

LAST_NUMBER = ".last-version"
LOCK = ".lock"


def write_artifact(
    root: Path, manifest: Manifest, save: Callable[[Path], None], *, key: bytes | None = None
) -> str:
    """Write a new version and return its name. The version appears under that name only when it is complete.

    The files are written to a temporary folder first. A failure, such as OSError for a full disk, leaves the
    existing versions unchanged.

    Args:
        root: Folder of all artifacts.
        manifest: The manifest; this function fills in version and files.
        save: Writes the files of the model and the golden file into the folder that it is given.
        key: Key of the signature; None leaves the manifest unsigned.
    """
    folder = model_folder(root, manifest.model)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder))
    try:
        save(temporary)
        files = digests(temporary)
        with _locked(folder):
            version = _next_version(root, folder, manifest.model)
            whole = replace(manifest, version=version, files=files)
            content = whole.to_bytes()
            (temporary / MANIFEST).write_bytes(content)
            (temporary / SEAL).write_bytes(make_seal(content, key))
            temporary.chmod(0o755)
            sync_tree(temporary)
            temporary.rename(folder / version)
            sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return version


def digests(folder: Path) -> dict[str, FileDigest]:
    """Return the digest of every file below a folder, by relative path.

    Raises:
        ValueError: The folder holds a symbolic link.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"{path.name} is a symbolic link; an artifact holds plain files only")
        if path.is_file():
            content = path.read_bytes()
            found[path.relative_to(folder).as_posix()] = FileDigest(
                hashlib.sha256(content).hexdigest(), len(content)
            )
    return found


def sweep_temporary(root: Path, model: str) -> int:
    """Remove the files of killed writers; return their number.

    Call it only while no writer of the model runs.
    """
    folder = model_folder(root, model)
    left = list(folder.glob(f"{TEMPORARY}*")) if folder.is_dir() else []
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the model's lock for writers, across processes; it is released when its holder exits."""
    handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _next_version(root: Path, folder: Path, model: str) -> str:
    """Record and return the next name, so that the name of a removed version is not reused."""
    counter = folder / LAST_NUMBER
    try:
        last = int(counter.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    newest = max([last, *(number_of(v) for v in list_versions(root, model))])
    replace_file(counter, f"{newest + 1}\n".encode())
    return name_of(newest + 1)
