"""A file holds its old content or its new one, and a log no part of a line that was not written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coincast_modelkit.durable_files import (
    LONGEST_WRITE_SECONDS,
    append_durably,
    replace_file,
    replacing,
    sync_tree,
)


def test_a_file_is_created_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"one")
    replace_file(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_writer_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"one")
    with pytest.raises(OSError, match="disk full"), replacing(path) as file:
        file.write(b"tw")
        raise OSError("disk full")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"one")

    def fail(*_: object) -> None:
        raise OSError("input/output error")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="input/output"):
        replace_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_folder_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    replace_file(tmp_path / "a", b"one")
    assert [Path(name).name.startswith(".writing-") for name in synced] == [True, False]
    assert synced[1] == str(tmp_path)


def test_the_temporary_file_of_a_killed_process_is_removed_by_a_later_write(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from coincast_modelkit.durable_files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"tw")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "a.json"
    replace_file(path, b"one")
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    left = next(tmp_path.glob(".writing-*"))
    replace_file(path, b"three")
    assert left.exists()  # another process could be writing it
    made_old(left)
    replace_file(path, b"four")
    assert path.read_bytes() == b"four" and list(tmp_path.iterdir()) == [path]


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    """Folders are those of versions that are being written, which the registry removes itself."""
    names = [".writing-x.parquet", ".writing-abcdefgh.json", "writing-abcdefgh", "old.json"]
    for name in names:
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / ".writing-folder_1").mkdir()
    (tmp_path / ".writing-thelink1").symlink_to("old.json")
    for path in tmp_path.iterdir():
        made_old(path)
    before = set(tmp_path.iterdir())
    replace_file(tmp_path / "a.json", b"one")
    assert set(tmp_path.iterdir()) == {*before, tmp_path / "a.json"}


def made_old(path: Path) -> None:
    moment = time.time() - 2 * LONGEST_WRITE_SECONDS
    os.utime(path, (moment, moment), follow_symlinks=False)


def test_a_tree_is_written_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v1" / "deep").mkdir(parents=True)
    (tmp_path / "v1" / "deep" / "a").write_bytes(b"x")
    (tmp_path / "v1" / "link").symlink_to("deep")
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    sync_tree(tmp_path / "v1")
    assert [str(Path(name).relative_to(tmp_path)) for name in synced] == ["v1/deep/a", "v1/deep", "v1"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    return path


def test_what_the_disk_takes_in_parts_is_appended_whole(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:3]))
    with log.open("ab", buffering=0) as file:
        append_durably(file.fileno(), b"two and three\n")
    assert log.read_bytes() == b"one\ntwo and three\n"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failed_append_leaves_no_part_of_a_line(
    log: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real, written = os.write, 0

    def write(descriptor: int, content: bytes) -> int:
        nonlocal written
        if call == "write" and written:
            raise OSError(errno.ENOSPC, "no space left")
        written += real(descriptor, content[:3])
        return 3

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fail)
    with log.open("ab", buffering=0) as file, pytest.raises(OSError, match=r"no space|input/output"):
        append_durably(file.fileno(), b"two\n" if call == "write" else b"two")
    assert written and log.read_bytes() == b"one\n"
