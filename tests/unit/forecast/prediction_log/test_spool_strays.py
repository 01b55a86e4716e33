"""Files and folders that are not part of a spool: skipped, left as they are, named once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from coincast_forecast.prediction_log.writer import SpoolFolder, claim_own, orphans, read_segment

LINE = '{"n": 1}'


def make_file(root: Path) -> None:
    (root / "notes.txt").write_text("hello")


def make_folder(root: Path) -> None:
    (root / "lost+found").mkdir()


def make_link(root: Path) -> None:
    (root / "link").symlink_to("/")


def make_dangling(root: Path) -> None:
    (root / "dangling").symlink_to(root / "nowhere")


def make_lock_folder(root: Path) -> None:
    (root / "odd" / ".lock").mkdir(parents=True)


def make_odd_names(root: Path) -> None:
    folder = root / "gone"
    (folder / "backup.jsonl").write_text("not a segment\n")
    (folder / f"{5:020d}.jsonl").mkdir()


def make_binary_segment(root: Path) -> None:
    (root / "gone" / f"{7:020d}.jsonl").write_bytes(os.urandom(64) + b"\n[1]\nnull\n")


STRAYS: list[Callable[[Path], None]] = [
    make_file,
    make_folder,
    make_link,
    make_dangling,
    make_lock_folder,
    make_odd_names,
    make_binary_segment,
]


@pytest.mark.parametrize("make", STRAYS)
def test_strays_do_not_stop_the_rest_and_are_named_once(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = SpoolFolder.claim(tmp_path / "gone")
    assert gone is not None
    gone.append([LINE])
    gone.release()
    make(tmp_path)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    own = claim_own(tmp_path, "me")
    for _ in range(3):
        [found] = orphans(tmp_path, [own.folder])
        lines = [line for segment in found.seal() for line in read_segment(segment)]
        assert lines == [LINE]
        assert found.oldest_age_seconds(0.0) >= 0
        found.release()
    own.release()
    assert set(before) <= {str(path) for path in tmp_path.rglob("*")}
    assert capsys.readouterr().out.count("spool_entry_skipped") <= 2
