"""An entry that is no plain file is recognised, and named once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import (
    NotAPlainFileError,
    StrayLog,
    check_plain_file,
    read_plain_file,
    set_aside,
)


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
