"""A file holds its old content or its new one; what is no plain file is recognised and named once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from coincast_chassis.files import (
    NotAPlainFileError,
    StrayLog,
    append_line,
    check_plain_file,
    read_plain_file,
    remove_temporary_files,
    replace_file,
    replacing,
    set_aside,
    sync_tree,
)
from coincast_chassis.observability.error_text import without_path


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


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "huge", "link to a folder"])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "entry"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "huge":
            with path.open("wb") as file:
                file.truncate(10**12)
        case _:
            path.symlink_to(tmp_path)
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    messages = set()
    for use in (check_plain_file, read_plain_file) * 3:
        with pytest.raises(NotAPlainFileError) as raised:
            use(path, max_bytes=1000)
        messages.add(str(raised.value))
        assert str(tmp_path) not in without_path(raised.value)
    assert len(messages) == 1, "the same message each time, so that it is named once"
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


@pytest.mark.parametrize("linked", [False, True])
def test_a_plain_file_is_read_through_a_link_as_well(tmp_path: Path, linked: bool) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    path = tmp_path / ("link" if linked else "file")
    assert read_plain_file(path, max_bytes=7) == b"content"
    check_plain_file(path, max_bytes=7)
    with pytest.raises(FileNotFoundError):
        read_plain_file(tmp_path / "nothing", max_bytes=7)


def test_nothing_is_overwritten_by_what_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.unreadable").mkdir()
    (tmp_path / "a.unreadable-2").symlink_to("nowhere")
    for content in ("first", "second"):
        (tmp_path / "a.parquet").write_text(content)
        assert set_aside(tmp_path / "a.parquet")
    assert (tmp_path / "a.unreadable-3").read_text() == "first"
    assert (tmp_path / "a.unreadable-4").read_text() == "second"
    assert not set_aside(tmp_path / "nothing")


def test_each_entry_is_named_once_and_memory_is_bounded(tmp_path: Path) -> None:
    strays = StrayLog("entry_skipped", max_entries=100)
    with capture_logs() as logs:
        for _ in range(3):
            for n in range(20_000):
                strays.name(tmp_path / f"entry {n}", "it is a folder")
    assert [line["name"] for line in logs] == [f"entry {n}" for n in range(100)]
    assert str(tmp_path) not in str(logs)
