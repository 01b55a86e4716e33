"""The state file: there while the stack runs, and never another stack's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from coincast_stack.state_file import (
    NAME,
    RunningStack,
    published,
    published_for_user,
    read_state_file,
    user_state_dir,
)

RUNNING = RunningStack(
    pid=os.getpid(),
    gateway_url="http://127.0.0.1:8000",
    market_target="127.0.0.1:1",
    forecast_target="127.0.0.1:2",
    training_target="127.0.0.1:3",
    upstream="sandbox",
    state_dir="var/sandbox",
)


def test_it_is_there_while_the_stack_runs(tmp_path: Path) -> None:
    with published(tmp_path, RUNNING):
        assert read_state_file(tmp_path) == RUNNING
    assert read_state_file(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_make_run_is_found_in_the_users_folder_while_it_runs(tmp_path: Path) -> None:
    folder = user_state_dir({"XDG_STATE_HOME": str(tmp_path)})
    assert folder == tmp_path / "coincast"
    own = f"running-{os.getpid()}.json"
    with published_for_user(RUNNING, folder):
        assert read_state_file(folder, name=own) == RUNNING
        assert folder.stat().st_mode & 0o077 == 0
    assert list(folder.iterdir()) == []
    assert user_state_dir({}) == Path.home() / ".local" / "state" / "coincast"


def test_a_stack_that_ends_leaves_the_others_to_be_found(tmp_path: Path) -> None:
    other = replace(RUNNING, pid=os.getppid(), gateway_url="http://127.0.0.1:9000")
    (tmp_path / "running-999999999.json").write_text("{}")
    with published_for_user(other, tmp_path):
        with published_for_user(RUNNING, tmp_path):
            assert len(list(tmp_path.iterdir())) == 2
        (left,) = tmp_path.iterdir()
        assert read_state_file(tmp_path, name=left.name) == other


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    served = False
    with published_for_user(RUNNING, tmp_path / "file" / "coincast"):
        served = True
    assert served
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_file_of_another_stack_stays(tmp_path: Path) -> None:
    other = replace(RUNNING, pid=1, gateway_url="http://127.0.0.1:9000")
    with published(tmp_path, RUNNING), published(tmp_path, RUNNING):
        (tmp_path / NAME).write_text((tmp_path / NAME).read_text().replace(str(os.getpid()), "1"))
    found = read_state_file(tmp_path)
    assert found is not None
    assert found.pid == other.pid


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1, "unknown": 2}'])
def test_a_file_that_cannot_be_read_counts_as_absent(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_state_file(tmp_path) is None


def test_a_file_without_a_process_id_counts_as_absent(tmp_path: Path) -> None:
    with published(tmp_path, RUNNING) as path:
        path.write_text(path.read_text().replace(str(os.getpid()), '"one"'))
        assert read_state_file(tmp_path) is None


def test_the_file_of_a_killed_stack_counts_as_absent(tmp_path: Path) -> None:
    with published(tmp_path, replace(RUNNING, pid=2**22 + 1)):
        assert read_state_file(tmp_path) is None
        assert read_state_file(tmp_path, check_process=False) is not None
