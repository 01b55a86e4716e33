"""Writing a version: temporary folder, sync, rename. A version's number is never used twice."""

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

from coincast_modelkit.artifact.durable_fs import replace_file, sync_folder, sync_tree
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

LAST_NUMBER = ".last-version"
LOCK = ".lock"


def write_artifact(
    root: Path, manifest: Manifest, save: Callable[[Path], None], *, key: bytes | None = None
) -> str:
    """Write a new version and return its name. Nothing is seen under that name until all of it is on disk.

    save(folder) writes the model's files (and the golden file) into a temporary folder. With a key the
    manifest is signed. Whatever fails, OSError for a full disk included, leaves the versions as they were.

    Args:
        root: Folder of all artifacts.
        manifest: The manifest; version and files are filled in.
        save: Writes the files of the model into a folder.
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
    """Remove what killed writers left behind; how many. Call it where no writer of the model runs."""
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
    """Yield one writer of a model at a time, over processes; the lock dies with its holder."""
    handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _next_version(root: Path, folder: Path, model: str) -> str:
    """Return the next name after recording it, so that the name of a removed version is not reused."""
    counter = folder / LAST_NUMBER
    try:
        last = int(counter.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    newest = max([last, *(number_of(v) for v in list_versions(root, model))])
    replace_file(counter, f"{newest + 1}\n".encode())
    return name_of(newest + 1)
