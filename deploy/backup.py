"""Back up and restore what cannot be regenerated: archive of candles, model artifacts, prediction log.

    python deploy/backup.py create --root var > coincast.tar.gz
    python deploy/backup.py verify [--root var] < coincast.tar.gz
    python deploy/backup.py restore --root var < coincast.tar.gz

`make run` keeps its state in `var` with CoinGecko, in `var/sandbox/<name>` with the sandbox: give that folder
as --root.

`create` may run while the system runs. The services replace files by rename, so every file is read whole;
SQLite files are copied in a transaction. Files whose content moves to other files are read before those, so
that nothing is missed. Symbolic links are followed. The last file of the backup is a list of digests.

`verify` checks the digests, that the backup has every version that an alias names with all files of its
manifest, and, with --root, that it has every file of that folder. `restore` checks the whole backup before it
moves a file. If it cannot finish, it puts the old state back; if it was killed, the next restore does, or
`python deploy/backup.py undo --root var`.
"""

# It runs in a container without the packages: standard library only.
from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
import tarfile
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NoReturn
from urllib.parse import quote

FOLDERS = ("artifacts", "archive", "ledger")
DIGESTS = "digests.json"
# Files with a leading dot that are backed up: the highest version number, as coincast_modelkit.artifact.write
# names it (without it a number could be used twice), and the data-quality log of the archive.
LAST_NUMBER = ".last-version"
HIDDEN_STATE = (LAST_NUMBER, ".quality.json")
# The folder that ext4 has at the root of each volume. It belongs to root and is no part of the state.
FOREIGN = "lost+found"
SQLITE = ".sqlite"
# SQLite's own files beside a database, which are part of the copy that a transaction makes.
SQLITE_BESIDE = (".sqlite-journal", ".sqlite-wal", ".sqlite-shm")
SQLITE_WAIT_SECONDS = 30
# The lock that market-data holds in each archive that it writes.
WRITER_LOCK = ".writer.lock"
STAGING = ".restore-"
MOVED_IN = "moved-in.json"
# Written into the staging folder of the first of FOLDERS once all folders have the restored files.
COMPLETE = "complete"


class BackupError(Exception):
    """The backup is damaged or incomplete, or cannot be made or restored; the message says why."""


def files_of(root: Path) -> Iterator[Path]:
    """Yield the files to back up, in the order in which a running system must be read.

    Each part is listed when it is reached. Writers delete a file only after its content is in a file of a
    later part, so nothing is missed between two parts.

    Unfinished files (a leading dot, or .tmp at the end) are left out, except HIDDEN_STATE.
    """
    archive, ledger = root / "archive", root / "ledger"
    artifacts = _files(root, "artifacts")
    # Aliases first: the versions that they name are listed after they were read.
    yield from (file for file in artifacts if file.name == "aliases.json")
    yield from (file for file in _files(root, "artifacts") if file.name != "aliases.json")
    # A replaced history is written as a revision first.
    yield from (file for file in _files(root, "archive") if not _is_revision(file, archive))
    yield from (file for file in _files(root, "archive") if _is_revision(file, archive))
    # A batch of forecasts moves from `incoming` to `waiting.parquet` and to `scored`; the last is written
    # first, and the batch is deleted last.
    for part in ("incoming", "", "scored"):
        yield from (file for file in _files(root, "ledger") if _part_of_ledger(file, ledger) == part)


def _files(root: Path, folder: str) -> list[Path]:
    return sorted(file for file in _walk(root / folder) if not _is_left_out(file.relative_to(root)))


def _is_revision(file: Path, archive: Path) -> bool:
    return "revisions" in file.relative_to(archive).parts


def _part_of_ledger(file: Path, ledger: Path) -> str:
    first = file.relative_to(ledger).parts[0]
    return first if first in ("incoming", "scored") else ""


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, following links.

    Raises:
        BackupError: A link points to a folder that contains it or to nothing, or a folder cannot be read.
    """
    for name, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        here = Path(name)
        with contextlib.suppress(ValueError):
            folders.remove(FOREIGN)
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


def _is_left_out(file: Path) -> bool:
    folders, name = file.parts[:-1], file.name
    if any(_is_unfinished(part) for part in folders) or name.endswith(SQLITE_BESIDE):
        return True
    return name not in HIDDEN_STATE and _is_unfinished(name)


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith(".tmp")


def create(root: Path, out: BinaryIO) -> int:
    """Write a backup of `root`.

    Returns:
        The number of files in it.

    Raises:
        BackupError: There is nothing to back up, or a file cannot be read.
    """
    digests: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    files = files_of(root)
    first = next(files, None)
    if first is None:
        raise BackupError(_nothing_found(root))
    with tarfile.open(fileobj=out, mode="w|gz") as archive:
        for file in itertools.chain([first], files):
            try:
                data, modified = _content(file)
            except FileNotFoundError:  # A cleaning has removed it meanwhile, so it is not needed.
                continue
            except (OSError, sqlite3.Error) as error:
                reason = getattr(error, "strerror", None) or error
                raise BackupError(f"{file} cannot be read: {reason}") from error
            name = file.relative_to(root).as_posix()
            digests[name] = hashlib.sha256(data).hexdigest()
            if _names_others(name):
                kept[name] = data
            _add(archive, name, data, modified=modified)
        _add(archive, DIGESTS, json.dumps(digests, indent=1).encode(), modified=0.0)
    _check_versions(kept, digests)
    return len(digests)


def _content(file: Path) -> tuple[bytes, float]:
    """Return the content of a file, and when it was changed."""
    with file.open("rb") as opened:
        data, modified = opened.read(), os.fstat(opened.fileno()).st_mtime
    if file.suffix == SQLITE and data.startswith(b"SQLite format 3"):
        data = _copy_of_database(file)
    elif file.suffix == ".jsonl":  # The last line may be incomplete: leave it out.
        data = data[: data.rfind(b"\n") + 1]
    return data, modified


def _copy_of_database(file: Path) -> bytes:
    """Return a database as its last finished transaction left it, while others may write to it."""
    # Opened for writing where that is allowed, since what a killed writer left must be rolled back first.
    source = sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=SQLITE_WAIT_SECONDS)
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        return copy.serialize()


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
        target: An empty folder, or a function that returns the path to write for a name in the backup.

    Returns:
        The digest of each file by its name.

    Raises:
        BackupError: The backup is cut off, damaged or incomplete, or has files outside of its folders.
    """
    place = target if callable(target) else target.joinpath
    seen: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    expected: Any = None
    try:
        with tarfile.open(fileobj=source, mode="r|gz") as archive:
            for member in archive:
                path, content = PurePosixPath(member.name), archive.extractfile(member)
                if content is None or path.is_absolute() or ".." in path.parts or not path.parts:
                    raise BackupError(f"{member.name} is no plain file inside the backup")
                data = content.read()
                if member.name == DIGESTS:
                    expected = json.loads(data)
                    continue
                if path.parts[0] not in FOLDERS:
                    raise BackupError(f"{member.name} belongs to none of {', '.join(FOLDERS)}")
                if _names_others(member.name):
                    kept[member.name] = data
                seen[member.name] = hashlib.sha256(data).hexdigest()
                place(path).parent.mkdir(parents=True, exist_ok=True)
                place(path).write_bytes(data)
    except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError) as error:
        raise BackupError(f"the backup cannot be read or unpacked: {error}") from error
    if expected is None:
        raise BackupError("the backup is cut off: its list of digests is missing")
    if not isinstance(expected, dict):
        raise BackupError(f"the backup is damaged: {DIGESTS} is no table of digests")
    if wrong := sorted(name for name in {*seen, *expected} if seen.get(name) != expected.get(name)):
        raise BackupError(f"{len(wrong)} files differ from their digests, {wrong[0]} first")
    if not seen:
        raise BackupError("the backup holds no file")
    _check_versions(kept, seen)
    return seen


def _names_others(name: str) -> bool:
    """Return whether a file names others that must be in the backup: an alias table or a manifest."""
    return name.startswith("artifacts/") and name.endswith(("/aliases.json", "/manifest.json"))


def _check_versions(kept: dict[str, bytes], digests: dict[str, str]) -> None:
    """Check that every version that an alias names is there, with each file of its manifest.

    Files that are no alias table or manifest are passed over, as the services do.

    Args:
        kept: The content of alias tables and manifests by name.
        digests: The digests of all files of the backup by name.

    Raises:
        BackupError: A version or one of its files is not in the backup.
    """
    for name, folder in ((n, PurePosixPath(n).parent) for n in kept if n.endswith("/aliases.json")):
        for version in filter(_is_version, _table(kept[name]).values()):
            manifest = f"{folder}/{version}/manifest.json"
            if manifest not in digests:
                raise BackupError(f"{name} names {version}, which the backup does not hold; make another one")
            files = _table(kept[manifest]).get("files")
            for file, digest in (files if isinstance(files, dict) else {}).items():
                stated = digest.get("sha256") if isinstance(digest, dict) else digest
                if digests.get(f"{folder}/{version}/{file}") != stated:
                    raise BackupError(
                        f"{folder}/{version}/{file} is missing or differs from its manifest, and {name} names"
                        f" {version}; make another backup, or roll back to an undamaged version first"
                    )


def _table(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_version(value: object) -> bool:
    return isinstance(value, str) and value.startswith("v")


def missing_from(seen: dict[str, str], root: Path) -> list[str]:
    """Return the names of files below `root` that are not in a backup; `seen` has its digests by name."""
    return [name for file in files_of(root) if (name := file.relative_to(root).as_posix()) not in seen]


def restore(source: BinaryIO, root: Path, *, replace: bool = False) -> int:
    """Replace the folders below `root` by those of a backup.

    The backup is unpacked beside the old state and checked. Then both are exchanged by renames. If this
    fails, the old state stays or is put back.

    Args:
        source: The backup.
        root: The folder that has archive, artifacts and ledger.
        replace: Whether existing files are replaced.

    Returns:
        The number of files restored.

    Raises:
        BackupError: The backup is damaged, a folder has files and `replace` is False, or the disk failed.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(f"{root} cannot be used as a folder: {error.strerror}") from error
    _check_stopped(root)
    put_back(root)
    full = [folder for folder in FOLDERS if any(True for _ in _items(root / folder))]
    if full and not replace:
        raise BackupError(f"{', '.join(full)} in {root} hold something; stop the system and give --replace")
    # Unpacked inside each folder: it may be a volume or a link, and a rename cannot cross file systems.
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
            _write(
                root / folder / staging / MOVED_IN,
                json.dumps([os.fsdecode(item.name) for item in _items(new)]),
            )
            _move_all(new, root / folder)
        _write(root / FOLDERS[0] / staging / COMPLETE, "")
    except BaseException as error:  # Ctrl-C and SIGTERM as well
        put_back(root)
        if isinstance(error, OSError):
            raise BackupError(f"the old state was left in place: {error}") from error
        raise
    _remove_stagings(root)
    return count


def _check_stopped(root: Path) -> None:
    """Check that no market-data service writes an archive of this folder.

    Raises:
        BackupError: One does: what is restored below a running service would be overwritten.
    """
    for path in (root / "archive").glob(f"**/{WRITER_LOCK}"):
        with contextlib.suppress(OSError), path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"a service writes {path.parent}; stop the system first") from None


def put_back(root: Path) -> bool:
    """Undo an unfinished restore: move the old state back and remove the unpacked files.

    A restore that was killed after its last move is finished instead. Nothing is deleted before the old state
    is whole, so this may be interrupted and called again.

    Returns:
        Whether there was something to undo.

    Raises:
        BackupError: The disk failed.
    """
    try:
        stagings = [path for folder in FOLDERS for path in (root / folder).glob(f"{STAGING}*")]
        complete = {path.name for path in stagings if (path / COMPLETE).exists()}
        undone = [path for path in stagings if path.name not in complete]
        for path in undone:
            folder, new, old = path.parent, path / "new", path / "old"
            # A listed item that is no longer in `new` was moved into the folder, so it is moved out again.
            for name in _moved_in(path):
                if _exists(folder / name) and not _exists(new / name):
                    (folder / name).rename(new / name)
            if old.is_dir():
                _move_all(old, folder)
        _remove_stagings(root)
    except OSError as error:
        raise BackupError(
            f"the old state is in the folders {STAGING}*/old of {root}, and moving it back failed: {error};"
            f" mend that, then run: backup.py undo --root {root}"
        ) from error
    return bool(undone)


def _moved_in(staging: Path) -> list[str]:
    try:
        names = json.loads((staging / MOVED_IN).read_bytes())
    except (FileNotFoundError, ValueError):  # It is written before the first item is moved in.
        return []
    return [str(name) for name in names]


def _remove_stagings(root: Path) -> None:
    # The first folder has the mark that the restore is complete, so its staging is removed last.
    for folder in reversed(FOLDERS):
        for path in (root / folder).glob(f"{STAGING}*"):
            shutil.rmtree(path, ignore_errors=True)


def _items(folder: Path) -> Iterator[Path]:
    """Yield the items of a folder that are state: without unpacked files and FOREIGN."""
    if folder.is_dir():
        for item in list(folder.iterdir()):
            if not item.name.startswith(STAGING) and item.name != FOREIGN:
                yield item


def _move_all(source: Path, target: Path) -> None:
    """Move the items of a folder; the folder itself stays, since it may be a mounted volume."""
    for item in _items(source):
        item.rename(target / item.name)


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _summary(seen: dict[str, str]) -> str:
    counts = Counter(name.split("/", 1)[0] for name in seen)
    return f"{len(seen)} files: " + ", ".join(f"{folder} {counts[folder]}" for folder in FOLDERS)


def _verify(source: BinaryIO, root: Path | None) -> str:
    with tempfile.TemporaryDirectory() as name:
        seen = unpack(source, Path(name))
    if root is not None and not root.is_dir():
        raise BackupError(f"{root} is no folder, so the backup cannot be compared with it")
    if root is not None and (missing := missing_from(seen, root)):
        raise BackupError(f"{len(missing)} files of {root} are not in the backup, {missing[0]} first")
    return _summary(seen)


def _stop(*_: object) -> NoReturn:
    raise SystemExit(1)


def main(arguments: list[str]) -> int:
    """Run the command; if it fails, print one line to stderr and return 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["create", "verify", "restore", "undo"])
    parser.add_argument(
        "--root", type=Path, help="folder that holds archive, artifacts, ledger (default: var)"
    )
    parser.add_argument("--replace", action="store_true", help="with restore: replace existing files")
    options = parser.parse_args(arguments)
    root = options.root or Path("var")
    try:
        if options.verb == "create":
            done = f"{create(root, sys.stdout.buffer)} files"
        elif options.verb == "restore":
            # Docker stops a container with SIGTERM; the old state is put back then, too.
            signal.signal(signal.SIGTERM, _stop)
            done = f"{restore(sys.stdin.buffer, root, replace=options.replace)} files"
        elif options.verb == "undo":
            done = "the old state is back" if put_back(root) else "no unfinished restore was found"
        else:
            done = _verify(sys.stdin.buffer, options.root)
    except BackupError as error:
        sys.stderr.write(f"backup: {error}\n")
        return 1
    sys.stderr.write(f"backup: {options.verb}: {done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
