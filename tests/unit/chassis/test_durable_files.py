"""Durable writes: the old content or the new one, whatever fails in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coincast_chassis.durable_files import (
    append_line,
    remove_temporary_files,
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


def test_a_tree_is_written_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v1" / "deep").mkdir(parents=True)
    (tmp_path / "v1" / "deep" / "a").write_bytes(b"x")
    (tmp_path / "v1" / "link").symlink_to("deep")
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    sync_tree(tmp_path / "v1")
    assert [str(Path(name).relative_to(tmp_path)) for name in synced] == ["v1/deep/a", "v1/deep", "v1"]


@pytest.mark.parametrize(
    ("before", "after"), [(b"", b"new\n"), (b"a\n", b"a\nnew\n"), (b"a\nhal", b"a\nhal\nnew\n")]
)
def test_a_line_never_joins_a_partial_one(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(before)
    append_line(path, b"new")
    assert path.read_bytes() == after


def test_leftovers_of_interrupted_writes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-abc").write_bytes(b"x")
    (tmp_path / "kept").write_bytes(b"x")
    assert remove_temporary_files(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
