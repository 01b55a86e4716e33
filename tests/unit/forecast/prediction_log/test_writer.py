"""The spool: what was confirmed is read back, whatever became of the process, or of Redis."""

from __future__ import annotations

import contextlib
import fcntl
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_forecast.prediction_log import writer
from coincast_forecast.prediction_log.writer import (
    MAX_UNSAFE_BYTES,
    UNSAFE_SECONDS,
    SpoolFolder,
    UnsafeLines,
    orphans,
    read_segment,
)

LINES = [json.dumps({"n": n, "text": "x" * (n % 7)}) for n in range(20)]


Claim = Callable[[Path, str], SpoolFolder]


@pytest.fixture
def claim_own() -> Iterator[Claim]:
    """Claims folders, and lets go of them at the end."""
    with contextlib.ExitStack() as held:

        def claim(root: Path, replica: str) -> SpoolFolder:
            folder = writer.claim_own(root, replica)
            held.callback(folder.release)
            return folder

        yield claim


@settings(deadline=None)
@given(cut=st.integers(min_value=0, max_value=2000))
def test_a_segment_cut_anywhere_gives_whole_lines_only(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    segment = tmp_path_factory.mktemp("spool") / "1.jsonl"
    data = "".join(f"{line}\n" for line in LINES).encode()
    segment.write_bytes(data[:cut])
    found = read_segment(segment)
    assert found == LINES[: len(found)]
    assert len(found) == data[:cut].count(b"\n")


def test_what_was_appended_is_there_for_the_next_process(tmp_path: Path, claim_own: Claim) -> None:
    first = claim_own(tmp_path, "a")
    first.append(LINES[:3])
    first.append(LINES[3:5])
    first.release()
    again = claim_own(tmp_path, "a")
    assert again.waiting == 5
    assert [line for segment in again.seal() for line in read_segment(segment)] == LINES[:5]


def test_a_sealed_segment_never_grows(tmp_path: Path, claim_own: Claim) -> None:
    folder = claim_own(tmp_path, "a")
    folder.append(LINES[:1])
    [sealed] = folder.seal()
    folder.append(LINES[1:2])
    assert read_segment(sealed) == LINES[:1]
    folder.remove(sealed, 1)
    assert folder.waiting == 1
    assert [read_segment(segment) for segment in folder.seal()] == [LINES[1:2]]


def test_two_processes_of_one_name_have_two_folders(tmp_path: Path, claim_own: Claim) -> None:
    first, second = claim_own(tmp_path, "a"), claim_own(tmp_path, "a")
    assert first.folder != second.folder
    assert list(orphans(tmp_path, [second.folder])) == []


def test_the_folder_of_the_dead_is_claimed_and_removed_once_empty(tmp_path: Path, claim_own: Claim) -> None:
    dead, alive = claim_own(tmp_path, "dead"), claim_own(tmp_path, "alive")
    dead.append(LINES[:2])
    dead.release()
    [claimed] = orphans(tmp_path, [alive.folder])
    for segment in claimed.seal():
        claimed.remove(segment, 2)
    claimed.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["alive"]


def test_a_folder_removed_before_its_lock_is_taken_is_made_again(
    tmp_path: Path, claim_own: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving, really = claim_own(tmp_path, "a"), fcntl.flock

    def too_late(file: int, how: int) -> None:
        monkeypatch.undo()
        leaving.discard()
        really(file, how)

    monkeypatch.setattr(fcntl, "flock", too_late)
    claimed = claim_own(tmp_path, "a")
    claimed.append(LINES[:2])
    assert SpoolFolder.claim(tmp_path / "a") is None
    assert [line for segment in claimed.seal() for line in read_segment(segment)] == LINES[:2]


@pytest.mark.slow
def test_the_holder_of_a_removed_folder_can_still_write_there(tmp_path: Path) -> None:
    """Three at once claim, fill, empty and remove one folder, again and again."""
    wrong: list[str] = []
    alone, turns = threading.Lock(), [0] * 3

    def take_turns(number: int) -> None:
        while turns[number] < 100 and not wrong:
            if (held := SpoolFolder.claim(tmp_path / "a")) is None:
                continue
            turns[number] += 1
            try:
                _fill_and_empty(held, alone)
            except Exception as error:  # passed to the test, which ends the others
                wrong.append(repr(error))

    threads = [threading.Thread(target=take_turns, args=(number,)) for number in range(len(turns))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert turns == [100] * 3


def _fill_and_empty(held: SpoolFolder, alone: threading.Lock) -> None:
    if not alone.acquire(blocking=False):
        raise RuntimeError("two hold the folder")
    try:
        held.append(LINES[:2])
        [segment] = held.seal()
        if read_segment(segment) != LINES[:2]:
            raise RuntimeError("the segment holds other lines")
        held.remove(segment, 2)
    finally:
        alone.release()
        held.discard()


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path, claim_own: Claim) -> None:
    folder = claim_own(tmp_path, "a")
    folder.append(LINES[:1])
    with pytest.raises(OSError, match="too large"):
        _append_within(folder, 1000)
    folder.append(LINES[1:2])
    assert [line for segment in folder.seal() for line in read_segment(segment)] == LINES[:2]


def _append_within(folder: SpoolFolder, limit_bytes: int) -> None:
    """Append more than a file may hold (the kernel's limit stands in for a full disk)."""
    import resource
    import signal

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        folder.append(["y" * (2 * limit_bytes)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_forgotten_once_redis_has_run_on_for_the_time() -> None:
    clock = Clock()
    lines = UnsafeLines(clock)
    lines.add(["early"])
    clock.now += 4
    lines.add(["late"])
    lines.forget(100 + UNSAFE_SECONDS - 0.1)
    lines.forget(100 + UNSAFE_SECONDS)
    assert lines.take() == ["late"]
    assert lines.take() == []


def test_lines_are_taken_in_their_order() -> None:
    lines = UnsafeLines()
    lines.add(["a", "b"])
    lines.add([])
    lines.add(["c"])
    assert lines.take() == ["a", "b", "c"]


def test_what_is_kept_is_bounded_in_bytes() -> None:
    clock = Clock()
    lines = UnsafeLines(clock)
    lines.add(["x" * (MAX_UNSAFE_BYTES - 1)])
    found = [lines.full]
    lines.add(["y"])
    found.append(lines.full)
    lines.forget(clock.now + UNSAFE_SECONDS)
    found.append(lines.full)
    assert found == [False, True, False]
