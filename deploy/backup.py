"""Back up and restore what cannot be regenerated: archive of candles, model artifacts, prediction log.

    python deploy/backup.py create --root var > coincast.tar.gz
    python deploy/backup.py verify [--root var] < coincast.tar.gz
    python deploy/backup.py restore --root var < coincast.tar.gz

`make run` keeps its state in `var` with CoinGecko, in `var/sandbox/<name>` with the sandbox: give that folder
as --root.

`create` may run while the system runs. The services replace files by rename, so every file is read whole.
Aliases are read first, so that the versions that they name are in the backup. Symbolic links are followed.
The last file of the backup is a list of digests.

`verify` checks the digests, that the backup has every version that an alias names, and, with --root, that it
has every file of that folder. `restore` checks the whole backup before it moves a file, and leaves the old
state in place if it cannot finish.
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
# The file of the highest version number, as coincast_modelkit.artifact.write names it.
LAST_NUMBER = ".last-version"
STAGING = ".restore-"
MOVED_IN = "moved-in"


class BackupError(Exception):
    """The backup is damaged or incomplete, or cannot be made or restored; the message says why."""


def files_of(root: Path) -> list[Path]:
    """Return the files to back up, aliases first.

    Unfinished files (a leading dot, or .tmp at the end) are left out, except the file of the highest version
    number: without it a number could be used twice.
    """
    found = [
        file
        for folder in FOLDERS
        for file in _walk(root / folder)
        if not _is_unfinished(file.relative_to(root))
    ]
    return sorted(found, key=lambda file: (file.name != "aliases.json", file))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, following links.

    Raises:
        BackupError: A link points to a folder that contains it or to nothing, or a folder cannot be read.
    """
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
            except FileNotFoundError:  # A cleaning has removed it meanwhile, so it is not needed.
                continue
            except OSError as error:
                raise BackupError(f"{file} cannot be read: {error.strerror}") from error
            if file.suffix == ".jsonl":  # The last line may be incomplete: leave it out.
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
        target: An empty folder, or a function that returns the path to write for a name in the backup.

    Returns:
        The digest of each file by its name.

    Raises:
        BackupError: The backup is cut off, damaged or incomplete, or has files outside of its folders.
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
    root.mkdir(parents=True, exist_ok=True)
    put_back(root)
    full = [folder for folder in FOLDERS if (root / folder).exists() and any((root / folder).iterdir())]
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
    """Undo an unfinished restore: move the old state back and remove the unpacked files."""
    stagings = [path for folder in FOLDERS for path in (root / folder).glob(f"{STAGING}*")]
    if not any((path / "old").is_dir() and any((path / "old").iterdir()) for path in stagings):
        for path in stagings:
            shutil.rmtree(path, ignore_errors=True)
        return
    # A listed item that is no longer in `new` was moved into the folder, so it is removed from there.
    for path in stagings:
        folder, old, listed = path.parent, path / "old", path / MOVED_IN
        for name in listed.read_text().splitlines() if listed.exists() else ():
            if (folder / name).exists() and not (path / "new" / name).exists():
                _remove(folder / name)
        if old.is_dir():
            _move_all(old, folder)
        shutil.rmtree(path, ignore_errors=True)


def _move_all(source: Path, target: Path) -> None:
    """Move the items of a folder; the folder itself stays, since it may be a mounted volume."""
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
    """Run the command; if it fails, print one line to stderr and return 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["create", "verify", "restore"])
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
