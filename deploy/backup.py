"""Back up and restore what cannot be regenerated: archive of candles, model artifacts, prediction log.

    python deploy/backup.py create --root var > coincast.tar.gz
    python deploy/backup.py verify [--root var] < coincast.tar.gz
    python deploy/backup.py restore --root var < coincast.tar.gz

`make run` keeps its state in `var` with CoinGecko, in `var/sandbox/<name>` with the sandbox: give that folder
as --root.

It runs beside a live system. Files are replaced by rename, so each one read is whole; aliases are read
first, so that the versions they name are in the backup. Symbolic links are followed. A list of digests ends
the file. Verify checks it, that every version an alias names is there, and, with --root, that nothing of a
live folder is missing. Restore checks everything before it moves anything, and leaves the old state in
place if it cannot finish.
"""

# It runs in a container without the packages: standard library only.
from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

FOLDERS = ("artifacts", "archive", "ledger")
DIGESTS = "digests.json"
# As coincast_modelkit.artifact.write names it.
LAST_NUMBER = ".last-version"
STAGING = ".restore-"
MOVED_IN = "moved-in"


class BackupError(Exception):
    """The backup is broken, incomplete or cannot be put in place; the message says why."""


def files_of(root: Path) -> list[Path]:
    """Return the files to back up, aliases first.

    Unfinished files (a leading dot, .tmp) are left out, except the highest version number, which must not be
    given again.
    """
    found = [
        file
        for folder in FOLDERS
        for file in _walk(root / folder)
        if not _is_unfinished(file.relative_to(root))
    ]
    return sorted(found, key=lambda file: (file.name != "aliases.json", file))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, following links; a link to a folder above itself is an error."""
    for name, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        here = Path(name)
        above = {here.resolve()} | {parent.resolve() for parent in here.parents}
        for child in folders:
            link = here / child
            if link.is_symlink() and link.resolve() in above:
                raise BackupError(f"{link} links to a folder that contains it; remove the link")
        for file in files:
            path = here / file
            if path.is_symlink() and not path.exists():
                raise BackupError(f"{path} is a link to nothing; remove it or restore its target")
            if path.is_file():
                yield path


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise BackupError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_unfinished(file: Path) -> bool:
    return file.name != LAST_NUMBER and any(p.startswith(".") or p.endswith(".tmp") for p in file.parts)


def create(root: Path, out: BinaryIO) -> int:
    """Write a backup of `root`.

    Returns:
        The number of files in it.

    Raises:
        BackupError: There is nothing to back up, or a file cannot be read.
    """
    files = files_of(root)
    if not files:
        raise BackupError(_nothing_found(root))
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=out, mode="w|gz") as archive:
        for file in files:
            try:
                with file.open("rb") as opened:
                    data, modified = opened.read(), os.fstat(opened.fileno()).st_mtime
            except FileNotFoundError:  # Removed meanwhile by a cleaning: it is no longer needed.
                continue
            except OSError as error:
                raise BackupError(f"{file} cannot be read: {error.strerror}") from error
            if file.suffix == ".jsonl":  # The last record may still be growing: leave it out.
                data = data[: data.rfind(b"\n") + 1]
            name = file.relative_to(root).as_posix()
            digests[name] = hashlib.sha256(data).hexdigest()
            _add(archive, name, data, modified=modified)
        _add(archive, DIGESTS, json.dumps(digests, indent=1).encode(), modified=0.0)
    return len(digests)


def _nothing_found(root: Path) -> str:
    looked = ", ".join(str(root / folder) for folder in FOLDERS)
    holders = {path.parent for folder in FOLDERS for path in root.glob(f"**/{folder}") if any(_walk(path))}
    hint = (
        f"; there is state in {', '.join(sorted(map(str, holders)))}: give that as --root" if holders else ""
    )
    return f"nothing to back up: no file in {looked}{hint}"


def _add(archive: tarfile.TarFile, name: str, data: bytes, *, modified: float) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, int(modified)
    archive.addfile(info, io.BytesIO(data))


def unpack(source: BinaryIO, target: Path | Callable[[PurePosixPath], Path]) -> dict[str, str]:
    """Unpack and check a backup.

    Args:
        source: The backup.
        target: An empty folder, or a function from a name in the backup to the path to write.

    Returns:
        The digest of each file by its name.

    Raises:
        BackupError: The backup is cut off, damaged, incomplete, or names files outside of its folders.
    """
    place = target if callable(target) else target.joinpath
    seen: dict[str, str] = {}
    aliases: dict[str, bytes] = {}
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
                if path.parts[0] not in FOLDERS:
                    raise BackupError(f"{member.name} belongs to none of {', '.join(FOLDERS)}")
                if path.name == "aliases.json":
                    aliases[member.name] = data
                seen[member.name] = hashlib.sha256(data).hexdigest()
                place(path).parent.mkdir(parents=True, exist_ok=True)
                place(path).write_bytes(data)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise BackupError(f"the backup cannot be read or unpacked: {error}") from error
    if expected is None:
        raise BackupError("the backup is cut off: its list of digests is missing")
    if wrong := sorted(name for name in {*seen, *expected} if seen.get(name) != expected.get(name)):
        raise BackupError(f"{len(wrong)} files differ from their digests, {wrong[0]} first")
    if not seen:
        raise BackupError("the backup holds no file")
    _check_aliases(aliases, seen)
    return seen


def _check_aliases(aliases: dict[str, bytes], seen: dict[str, str]) -> None:
    for name, data in aliases.items():
        folder = PurePosixPath(name).parent
        with contextlib.suppress(ValueError):
            named = json.loads(data)
            values = (
                [value for value in named.values() if isinstance(value, str)]
                if isinstance(named, dict)
                else []
            )
            for version in values:
                if version.startswith("v") and f"{folder}/{version}/manifest.json" not in seen:
                    raise BackupError(
                        f"{name} names {version}, which the backup does not hold; make another one"
                    )


def missing_from(seen: dict[str, str], root: Path) -> list[str]:
    """Return the files of a folder that a backup does not hold."""
    return [name for file in files_of(root) if (name := file.relative_to(root).as_posix()) not in seen]


def restore(source: BinaryIO, root: Path, *, replace: bool = False) -> int:
    """Put a backup in place of what `root` holds.

    Everything is unpacked beside the old state and checked, then swapped by renames. If anything fails, the
    old state stays or is put back.

    Returns:
        The number of files restored.

    Raises:
        BackupError: The backup is not sound, a folder holds something and `replace` is False, or the disk
            failed.
    """
    root.mkdir(parents=True, exist_ok=True)
    put_back(root)
    full = [folder for folder in FOLDERS if (root / folder).exists() and any((root / folder).iterdir())]
    if full and not replace:
        raise BackupError(f"{', '.join(full)} in {root} hold something; stop the system and give --replace")
    # Unpack inside each folder, which may be a volume or a link: a rename cannot cross file systems.
    staging = f"{STAGING}{uuid.uuid4().hex}"

    def staged(path: PurePosixPath) -> Path:
        return root / path.parts[0] / staging / "new" / PurePosixPath(*path.parts[1:])

    try:
        for folder in FOLDERS:
            (root / folder / staging / "new").mkdir(parents=True)
            (root / folder / staging / "old").mkdir()
        count = len(unpack(source, staged))
        for folder in FOLDERS:
            _move_all(root / folder, root / folder / staging / "old")
        for folder in FOLDERS:
            new = root / folder / staging / "new"
            (root / folder / staging / MOVED_IN).write_text(
                "".join(f"{item.name}\n" for item in new.iterdir())
            )
            _move_all(new, root / folder)
    except (OSError, BackupError) as error:
        put_back(root)
        if isinstance(error, BackupError):
            raise
        raise BackupError(f"the old state was left in place: {error}") from error
    for folder in FOLDERS:
        shutil.rmtree(root / folder / staging)
    return count


def put_back(root: Path) -> None:
    """Undo a restore that did not finish: bring the old state back and remove what was unpacked."""
    stagings = [path for folder in FOLDERS for path in (root / folder).glob(f"{STAGING}*")]
    if not any((path / "old").is_dir() and any((path / "old").iterdir()) for path in stagings):
        for path in stagings:
            shutil.rmtree(path, ignore_errors=True)
        return
    # Items on the list that `new` no longer holds were moved into the folder: remove them again.
    for path in stagings:
        folder, old, listed = path.parent, path / "old", path / MOVED_IN
        for name in listed.read_text().splitlines() if listed.exists() else ():
            if (folder / name).exists() and not (path / "new" / name).exists():
                _remove(folder / name)
        if old.is_dir():
            _move_all(old, folder)
        shutil.rmtree(path, ignore_errors=True)


def _move_all(source: Path, target: Path) -> None:
    """Move what a folder holds, but not the folder: it may be a mounted volume."""
    for item in list(source.iterdir()):
        if not item.name.startswith(STAGING):
            item.rename(target / item.name)


def _remove(item: Path) -> None:
    if item.is_dir() and not item.is_symlink():
        shutil.rmtree(item)
    else:
        item.unlink()


def _summary(seen: dict[str, str]) -> str:
    counts = Counter(name.split("/", 1)[0] for name in seen)
    return f"{len(seen)} files: " + ", ".join(f"{folder} {counts[folder]}" for folder in FOLDERS)


def _verify(source: BinaryIO, root: Path | None) -> str:
    with tempfile.TemporaryDirectory() as name:
        seen = unpack(source, Path(name))
    if root is not None and (missing := missing_from(seen, root)):
        raise BackupError(f"{len(missing)} files of {root} are not in the backup, {missing[0]} first")
    return _summary(seen)


def main(arguments: list[str]) -> int:
    """Run the command; return 1 after a line on stderr if it fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["create", "verify", "restore"])
    parser.add_argument(
        "--root", type=Path, help="folder that holds archive, artifacts, ledger (default: var)"
    )
    parser.add_argument("--replace", action="store_true", help="restore over what is there")
    options = parser.parse_args(arguments)
    root = options.root or Path("var")
    try:
        if options.verb == "create":
            done = f"{create(root, sys.stdout.buffer)} files"
        elif options.verb == "restore":
            done = f"{restore(sys.stdin.buffer, root, replace=options.replace)} files"
        else:
            done = _verify(sys.stdin.buffer, options.root)
    except BackupError as error:
        sys.stderr.write(f"backup: {error}\n")
        return 1
    sys.stderr.write(f"backup: {options.verb}: {done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
