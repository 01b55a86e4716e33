"""Backup and restore of what cannot be had again: archive of candles, model artifacts, ledger.

    python deploy/backup.py create --root var > coincast.tar.gz
    python deploy/backup.py verify < coincast.tar.gz
    python deploy/backup.py restore --root var < coincast.tar.gz

Runs beside a live system: every file is written by rename, so each one is whole; aliases are read first, so
every version that they name is in the backup. A list of digests closes the file; restore checks all before it
moves anything into place, and refuses folders that hold something unless told --replace.
"""

import argparse
import hashlib
import io
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

FOLDERS = ("artifacts", "archive", "ledger")
DIGESTS = "digests.json"
# As coincast_modelkit.artifact.write names it; this script runs without the packages.
LAST_NUMBER = ".last-version"


class BackupError(Exception):
    """The backup is broken or cannot be put in place; the message says why."""


def files_of(root: Path) -> Iterator[Path]:
    """Files to keep, aliases first; unfinished ones (a leading dot, .tmp) are left out, but not the highest
    version number ever given: it must not be given again.
    """
    found = [
        file
        for folder in FOLDERS
        for file in sorted((root / folder).rglob("*"))
        if file.is_file() and not _unfinished(file.relative_to(root))
    ]
    return iter(sorted(found, key=lambda file: file.name != "aliases.json"))


def _unfinished(file: Path) -> bool:
    return file.name != LAST_NUMBER and any(p.startswith(".") or p.endswith(".tmp") for p in file.parts)


def create(root: Path, out: BinaryIO) -> int:
    """Write a backup of `root`; the number of files in it."""
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=out, mode="w|gz") as archive:
        for file in files_of(root):
            try:
                data = file.read_bytes()
            except FileNotFoundError:  # cleaned away meanwhile: it was no longer needed
                continue
            name = file.relative_to(root).as_posix()
            digests[name] = hashlib.sha256(data).hexdigest()
            _add(archive, name, data, file.stat().st_mtime)
        _add(archive, DIGESTS, json.dumps(digests, indent=1).encode(), 0.0)
    return len(digests)


def _add(archive: tarfile.TarFile, name: str, data: bytes, modified: float) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, int(modified)
    archive.addfile(info, io.BytesIO(data))


def unpack(source: BinaryIO, target: Path) -> int:
    """Unpack and check a backup into an empty folder; the number of files."""
    seen: dict[str, str] = {}
    expected: dict[str, str] | None = None
    try:
        with tarfile.open(fileobj=source, mode="r|gz") as archive:
            for member in archive:
                path, content = PurePosixPath(member.name), archive.extractfile(member)
                if content is None or path.is_absolute() or ".." in path.parts:
                    raise BackupError(f"{member.name} is no plain file inside the backup")
                data = content.read()
                if member.name == DIGESTS:
                    expected = json.loads(data)
                    continue
                seen[member.name] = hashlib.sha256(data).hexdigest()
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(data)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BackupError(f"the backup cannot be read: {error}") from error
    if expected is None:
        raise BackupError("the backup is cut off: its list of digests is missing")
    if wrong := sorted(name for name in {*seen, *expected} if seen.get(name) != expected.get(name)):
        raise BackupError(f"{len(wrong)} files differ from their digests, {wrong[0]} first")
    return len(seen)


def restore(source: BinaryIO, root: Path, *, replace: bool = False) -> int:
    """Put a backup in place of what `root` holds; nothing is touched unless all of it is sound."""
    root.mkdir(parents=True, exist_ok=True)
    full = [folder for folder in FOLDERS if (root / folder).exists() and any((root / folder).iterdir())]
    if full and not replace:
        raise BackupError(f"{', '.join(full)} in {root} hold something; stop the system and give --replace")
    with tempfile.TemporaryDirectory(prefix="coincast-restore-") as name:
        count = unpack(source, Path(name))
        for folder in FOLDERS:
            _empty(root / folder)
            if (Path(name) / folder).exists():
                shutil.copytree(Path(name) / folder, root / folder, dirs_exist_ok=True)
    return count


def _empty(folder: Path) -> None:
    """Remove what is in a folder but not the folder: it may be a mounted volume."""
    folder.mkdir(exist_ok=True)
    for item in folder.iterdir():
        shutil.rmtree(item) if item.is_dir() else item.unlink()


def main(arguments: list[str]) -> int:
    """The command; 1 with one line where it fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["create", "verify", "restore"])
    parser.add_argument(
        "--root", type=Path, default=Path("var"), help="folder that holds archive, artifacts, ledger"
    )
    parser.add_argument("--replace", action="store_true", help="restore over what is there")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "create":
            count = create(options.root, sys.stdout.buffer)
        elif options.verb == "restore":
            count = restore(sys.stdin.buffer, options.root, replace=options.replace)
        else:
            with tempfile.TemporaryDirectory() as name:
                count = unpack(sys.stdin.buffer, Path(name))
    except BackupError as error:
        sys.stderr.write(f"backup: {error}\n")
        return 1
    sys.stderr.write(f"backup: {options.verb}: {count} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
