"""The command: JSON for machines, one line for errors, exit codes that mean something."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from coincast_training.cli.main import app
from coincast_training.registry import registry as registry_module
from coincast_training.registry.aliases import with_alias, write_aliases
from tests.unit.training.registry.test_registry import MODEL, write
from tests.unit.training.training_fakes import registry_in

runner = CliRunner()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of `folder`, which is a copy that a test may change."""
    folder = tmp_path_factory.mktemp("artifacts")
    registry = registry_in(folder)
    for quality in ({}, {}, {"width": 3.0}):
        write(registry, **quality)
    registry.promote(MODEL, "v000001", requested_by="t")
    return folder


@pytest.fixture
def folder(tmp_path: Path, written: Path) -> Path:
    """Two good versions, the first of them production, and one that the gate refuses."""
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


def called(*words: str, folder: Path):
    return runner.invoke(app, ["registry", *words, "--artifacts", str(folder)])


def test_list_and_compare_speak_json(folder: Path):
    listed = json.loads(called("list", "--json", folder=folder).stdout)
    assert [(v["version"], v["aliases"]) for v in listed] == [
        ("v000001", ["production"]),
        ("v000002", []),
        ("v000003", []),
    ]
    compared = json.loads(called("compare", "v000001", "v000003", "--json", folder=folder).stdout)
    assert "v000001 is better" in compared["verdict"]
    assert {test["loss"] for test in compared["tests"]} == {"crps", "absolute_error"}


def test_list_tells_the_revision_and_the_share(folder: Path):
    assert (
        called("promote", "v000002", "--alias", "challenger", "--share", "0.1", folder=folder).exit_code == 0
    )
    reported = called("list", "--model", MODEL, folder=folder).stdout
    assert f"{MODEL}: aliases at revision 2" in reported
    assert "10%" in reported
    listed = json.loads(called("list", "--json", folder=folder).stdout)
    assert {(v["revision"], v["challenger_share"]) for v in listed} == {(2, 0.1)}


@pytest.mark.slow
@pytest.mark.parametrize("words", [("promote", "v000002"), ("rollback", "--reason", "bad day")])
def test_a_move_made_while_the_command_waits_is_not_undone(
    folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    table, waits = registry_in(folder).table(MODEL), threading.Event()

    class Heard(FileLock):
        def acquire(self, *args: Any, **options: Any) -> Any:
            waits.set()
            return super().acquire(*args, **options)

    monkeypatch.setattr(registry_module, "FileLock", Heard)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(folder / ".registry.lock"):
            waiting = pool.submit(called, *words, folder=folder)
            assert waits.wait(20)
            write_aliases(folder, MODEL, with_alias(table, "production", "v000003", 0.0))
        result = waiting.result()
    assert (result.exit_code, registry_in(folder).table(MODEL).production) == (5, "v000003")
    assert "at revision 2, not 1" in result.stderr


def test_a_round_of_moves(folder: Path):
    assert called("promote", "v000002", folder=folder).exit_code == 0
    assert called("rollback", "--reason", "bad day", folder=folder).exit_code == 0
    assert called("retire", "v000002", "--reason", "wrong data", folder=folder).exit_code == 0
    assert json.loads(called("clean", "--keep", "1", "--json", folder=folder).stdout)["removed"] == [
        "v000002"
    ]
    entries = json.loads(called("audit", "--json", folder=folder).stdout)
    assert [entry["action"] for entry in entries] == ["clean", "retire", "rollback", "promote", "promote"]


@pytest.mark.parametrize(
    ("words", "code", "reported"),
    [
        (("promote", "v000099"), 3, "no version"),
        (("promote", "v000003"), 4, "was not promoted"),
        (("promote", "v000003", "--force"), 2, "reason"),
        (("promote", "v000002", "--revision", "0"), 5, "revision 1, not 0"),
        (("rollback", "--revision", "0", "--reason", "bad"), 5, "revision 1, not 0"),
        (("promote", "v000002", "--alias", "champion"), 2, "alias must be one of"),
        (("retire", "v000001", "--reason", "old"), 5, "production"),
        (("rollback", "--reason", "bad"), 4, "no earlier"),
        (("rollback",), 2, "reason"),
    ],
)
def test_a_refusal_is_one_line_and_a_code(folder: Path, words: tuple[str, ...], code: int, reported: str):
    result = called(*words, folder=folder)
    assert result.exit_code == code
    assert reported in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_input_to_train_names_the_fix():
    result = runner.invoke(app, ["train", "--ids", "bitcoin", "--days", "20"])
    assert result.exit_code == 2
    assert "90 to 10000" in result.stderr


@pytest.mark.parametrize("command", ["backtest", "train"])
def test_help_tells_that_folds_of_the_ensemble_have_no_network(command: str):
    assert "lstm:off" in "".join(runner.invoke(app, [command, "--help"]).stdout.replace("│", "").split())


def test_help_tells_the_exit_codes():
    assert "Exit codes" in runner.invoke(app, ["--help"]).stdout
