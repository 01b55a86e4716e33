"""A backup comes back whole, or not at all."""

import fcntl
import hashlib
import io
import itertools
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from deploy import backup as module
from deploy.backup import BackupError, create, main, restore, unpack


def system(root: Path) -> dict[str, bytes]:
    files = {
        "artifacts/lightgbm/aliases.json": b'{"production": "v000001"}',
        # The highest number given, though its version may be gone: it must not be given again.
        "artifacts/lightgbm/.last-version": b"7",
        "artifacts/lightgbm/v000001/manifest.json": b"{}",
        "artifacts/lightgbm/v000001/model.txt": b"tree" * 1000,
        "archive/usd/bitcoin.parquet": bytes(range(256)),
        "ledger/2026-11.parquet": b"",
    }
    for name, data in {**files, "artifacts/lightgbm/.tmp-1/model.txt": b"half", "redis/x.aof": b"no"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return files


def held(root: Path) -> dict[str, bytes]:
    return {f.relative_to(root).as_posix(): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def backup(root: Path) -> bytes:
    out = io.BytesIO()
    create(root, out)
    return out.getvalue()


def test_a_backup_comes_back_whole_without_what_was_unfinished(tmp_path):
    files = system(tmp_path / "old")
    assert restore(io.BytesIO(backup(tmp_path / "old")), tmp_path / "new") == len(files)
    assert held(tmp_path / "new") == files


def test_a_backup_replaces_what_is_there_only_with_the_option(tmp_path):
    files = system(tmp_path / "old")
    data = backup(tmp_path / "old")
    (tmp_path / "new/ledger").mkdir(parents=True)
    (tmp_path / "new/ledger/other").write_bytes(b"mine")
    with pytest.raises(BackupError, match="--replace"):
        restore(io.BytesIO(data), tmp_path / "new")
    assert held(tmp_path / "new") == {"ledger/other": b"mine"}
    restore(io.BytesIO(data), tmp_path / "new", replace=True)
    assert held(tmp_path / "new") == files


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_backup_touches_nothing(tmp_path, share):
    system(tmp_path / "old")
    data = backup(tmp_path / "old")
    (tmp_path / "new/ledger").mkdir(parents=True)
    (tmp_path / "new/ledger/other").write_bytes(b"mine")
    with pytest.raises(BackupError):
        restore(io.BytesIO(data[: int(len(data) * share)]), tmp_path / "new", replace=True)
    assert held(tmp_path / "new") == {"ledger/other": b"mine"}


def test_a_backup_cannot_write_outside(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("../evil")
        archive.addfile(info, io.BytesIO())
    with pytest.raises(BackupError, match="evil"):
        unpack(io.BytesIO(out.getvalue()), tmp_path)
    assert not (tmp_path.parent / "evil").exists()


def replaced(root: Path, data: bytes) -> None:
    restore(io.BytesIO(data), root, replace=True)


@pytest.mark.parametrize("linked", ["archive", "archive/usd", "archive/usd/bitcoin.parquet"])
def test_links_are_followed(tmp_path, linked):
    files = system(tmp_path / "old")
    (tmp_path / "old" / linked).rename(tmp_path / "elsewhere")
    (tmp_path / "old" / linked).symlink_to(tmp_path / "elsewhere")
    restore(io.BytesIO(backup(tmp_path / "old")), tmp_path / "new")
    assert held(tmp_path / "new") == files


@pytest.mark.parametrize("target", ["..", "nowhere"])
def test_a_link_that_leads_round_or_nowhere_is_refused(tmp_path, target):
    system(tmp_path / "old")
    (tmp_path / "old/archive/usd/link").symlink_to(target)
    with pytest.raises(BackupError, match="remove"):
        backup(tmp_path / "old")


def test_nothing_to_back_up_fails_and_names_where_the_state_is(tmp_path, capsys):
    system(tmp_path / "var/sandbox/simulated")
    assert main(["create", "--root", str(tmp_path / "var")]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "var/archive") in said
    assert str(tmp_path / "var/sandbox/simulated") in said
    assert main(["create", "--root", str(tmp_path / "missing")]) == 1


def test_a_file_that_cannot_be_read_fails_the_backup(tmp_path, monkeypatch):
    system(tmp_path / "old")
    real = Path.open

    def fail(self, *args, **rest):
        if self.name == "bitcoin.parquet":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **rest)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(BackupError, match=r"bitcoin.parquet cannot be read"):
        backup(tmp_path / "old")


def test_a_record_that_is_being_appended_is_cut_at_its_last_whole_line(tmp_path):
    system(tmp_path / "old")
    (tmp_path / "old/artifacts/lightgbm/audit.jsonl").write_bytes(b'{"a": 1}\n{"b"')
    restore(io.BytesIO(backup(tmp_path / "old")), tmp_path / "new")
    assert (tmp_path / "new/artifacts/lightgbm/audit.jsonl").read_bytes() == b'{"a": 1}\n'


def test_an_alias_without_its_version_is_noticed(tmp_path):
    system(tmp_path / "old")
    (tmp_path / "old/artifacts/lightgbm/v000001/manifest.json").unlink()
    with pytest.raises(BackupError, match="names v000001, which the backup does not hold"):
        restore(io.BytesIO(backup(tmp_path / "old")), tmp_path / "new")


def test_verify_compares_with_a_live_folder(tmp_path, monkeypatch, capsys):
    system(tmp_path / "old")
    data = backup(tmp_path / "old")

    def verify() -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return main(["verify", "--root", str(tmp_path / "old")])

    assert verify() == 0
    assert "6 files: artifacts 4, archive 1, ledger 1" in capsys.readouterr().err
    (tmp_path / "old/archive/usd/ethereum.parquet").write_bytes(b"new")
    assert verify() == 1
    assert "archive/usd/ethereum.parquet first" in capsys.readouterr().err


@pytest.mark.parametrize("failing", range(1, 12))
def test_a_restore_that_cannot_finish_leaves_the_old_state(tmp_path, monkeypatch, failing):
    system(tmp_path / "old")
    data = backup(tmp_path / "old")
    mine = {
        "archive/usd/mine": b"1",
        "archive/other": b"2",
        "ledger/mine": b"3",
        "artifacts/x/aliases.json": b"{}",
    }
    for name, content in mine.items():
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / name).write_bytes(content)
    calls = 0
    real = Path.rename

    def rename(self, target):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    if failing <= 7:  # Four old items are moved away and three new ones moved in.
        with pytest.raises(BackupError, match="old state was left in place"):
            replaced(tmp_path / "new", data)
        assert held(tmp_path / "new") == mine
    else:
        replaced(tmp_path / "new", data)
        assert "archive/usd/mine" not in held(tmp_path / "new")


# Run in a process of its own, which exits at the n-th rename or removal, as after kill -9.
KILLED = """
import os, shutil, sys
from pathlib import Path
from deploy.backup import main

left = int(sys.argv[1])

def limited(real):
    def step(*args, **rest):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return real(*args, **rest)
    return step

Path.rename = limited(Path.rename)
shutil.rmtree = limited(shutil.rmtree)
sys.exit(main(sys.argv[2:]))
"""


def run_killed(step: int, verb: str, root: Path, given: bytes = b"") -> int:
    arguments = [sys.executable, "-c", KILLED, str(step), verb, "--root", str(root)]
    done = subprocess.run(
        [*arguments, *(["--replace"] if verb == "restore" else [])],
        input=given,
        capture_output=True,
        cwd=Path(__file__).parents[3],
        timeout=60,
        check=False,
    )
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    "mine",
    [
        {},
        {
            "archive/usd/bitcoin.parquet": b"old",
            "archive/line\nbreak": b"2",
            "ledger/mine": b"3",
            "ledger/2026-11.parquet": b"old",
        },
    ],
    ids=["nothing", "other files, some of the same names"],
)
def test_a_restore_that_was_killed_at_any_step_is_undone_or_finished(tmp_path, mine):
    files = system(tmp_path / "old")
    (tmp_path / "old/archive/odd\nname").write_bytes(b"odd")
    files["archive/odd\nname"] = b"odd"
    data = backup(tmp_path / "old")
    outcomes = set()
    for step in range(1, 40):
        new = tmp_path / f"new{step}"
        for name, content in mine.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(content)
        if run_killed(step, "restore", new, data) == 0:
            break
        # The first attempt to undo it is killed as well, at a step that differs from case to case.
        run_killed(1 + step % 4, "undo", new)
        assert main(["undo", "--root", str(new)]) == 0
        assert held(new) in (mine, files), f"mixed after a kill at step {step}"
        outcomes.add(held(new) == files)
    else:
        raise AssertionError("the restore never came to its end")
    assert outcomes == {False, True}


def test_an_interrupted_restore_puts_the_old_state_back(tmp_path, monkeypatch):
    system(tmp_path / "old")
    data = backup(tmp_path / "old")
    for interrupted in range(1, 5):
        new = tmp_path / f"new{interrupted}"
        (new / "ledger").mkdir(parents=True)
        (new / "ledger/mine").write_bytes(b"3")
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", failing_at(interrupted, KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                replaced(new, data)
        assert held(new) == {"ledger/mine": b"3"}


@pytest.mark.parametrize("failing", range(1, 4))
def test_a_first_restore_that_cannot_finish_leaves_nothing(tmp_path, monkeypatch, failing):
    system(tmp_path / "old")
    data = backup(tmp_path / "old")
    monkeypatch.setattr(Path, "rename", failing_at(failing, OSError(28, "No space left on device")))
    with pytest.raises(BackupError, match="old state was left in place"):
        restore(io.BytesIO(data), tmp_path / "new")
    assert held(tmp_path / "new") == {}


def failing_at(step: int, error: BaseException):
    """A rename that fails at one call only."""
    real, calls = Path.rename, itertools.count(1)

    def rename(self, target):
        if next(calls) == step:
            raise error
        return real(self, target)

    return rename


def test_a_restore_below_a_running_service_is_refused(tmp_path):
    files = system(tmp_path / "old")
    data = backup(tmp_path / "old")
    system(tmp_path / "new")
    with (tmp_path / "new/archive/.writer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BackupError, match="stop the system first"):
            replaced(tmp_path / "new", data)
    replaced(tmp_path / "new", data)
    assert held(tmp_path / "new") == files | {"redis/x.aof": b"no"}


def test_the_folder_of_the_file_system_is_passed_by(tmp_path, monkeypatch):
    files = system(tmp_path / "old")
    for root in ("old", "new"):
        for folder in ("archive", "ledger"):
            (tmp_path / root / folder / "lost+found").mkdir(parents=True)
            (tmp_path / root / folder / "lost+found/of-root").write_bytes(b"not ours")
    data = backup(tmp_path / "old")
    assert restore(io.BytesIO(data), tmp_path / "new") == len(files)
    theirs = {f"{folder}/lost+found/of-root": b"not ours" for folder in ("archive", "ledger")}
    assert held(tmp_path / "new") == files | theirs
    assert module.missing_from(unpack(io.BytesIO(data), tmp_path / "x"), tmp_path / "old") == []


@pytest.mark.parametrize("name", ["archive/sandbox/.quality.json", "artifacts/m/.last-version"])
def test_hidden_state_is_in_the_backup(tmp_path, name):
    files = system(tmp_path / "old")
    (tmp_path / "old" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "old" / name).write_bytes(b"[]")
    for unfinished in ("archive/.inbox/order/order.json", "ledger/incoming/.b.parquet.7.tmp", "ledger/x.tmp"):
        (tmp_path / "old" / unfinished).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "old" / unfinished).write_bytes(b"half")
    restore(io.BytesIO(backup(tmp_path / "old")), tmp_path / "new")
    assert held(tmp_path / "new") == files | {name: b"[]"}


@pytest.mark.parametrize("writer", ["writes meanwhile", "was killed"])
def test_a_database_is_copied_as_its_last_transaction_left_it(tmp_path, writer):
    system(tmp_path / "old")
    path = tmp_path / "old/ledger/risk.sqlite"
    source = tmp_path / "risk.sqlite" if writer == "was killed" else path
    database = sqlite3.connect(source, isolation_level=None)
    database.execute("CREATE TABLE rows (n INTEGER, text TEXT)")
    database.execute("INSERT INTO rows VALUES (1, 'one')")
    database.execute("PRAGMA cache_size = 2")
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO rows VALUES (2, 'two')")
    if writer == "was killed":
        # So many rows that a part of them reaches the file before the end of the transaction.
        database.executemany("INSERT INTO rows VALUES (?, ?)", [(n, "x" * 500) for n in range(2000)])
        assert source.stat().st_size > 500_000
        for name in ("risk.sqlite", "risk.sqlite-journal"):
            shutil.copyfile(tmp_path / name, path.parent / name)
    data = backup(tmp_path / "old")
    database.execute("ROLLBACK")
    database.close()
    restore(io.BytesIO(data), tmp_path / "new")
    copy = sqlite3.connect(tmp_path / "new/ledger/risk.sqlite")
    assert copy.execute("SELECT * FROM rows").fetchall() == [(1, "one")]
    copy.close()
    assert sorted(p.name for p in (tmp_path / "new/ledger").iterdir()) == ["2026-11.parquet", "risk.sqlite"]


def test_a_file_that_only_looks_like_a_database_is_copied_as_it_is(tmp_path):
    system(tmp_path / "old")
    (tmp_path / "old/ledger/notes.sqlite").write_bytes(b"no database")
    restore(io.BytesIO(backup(tmp_path / "old")), tmp_path / "new")
    assert held(tmp_path / "new")["ledger/notes.sqlite"] == b"no database"


def score_a_batch(root: Path) -> None:
    """What the ledger does in a cycle: write the scores, then the waiting list, then delete the batch."""
    if (root / "ledger/incoming/1.parquet").exists():
        (root / "ledger/scored/2026-11-28").mkdir(parents=True)
        (root / "ledger/scored/2026-11-28/a.parquet").write_bytes(b"first half, scored")
        (root / "ledger/waiting.parquet").write_bytes(b"second half")
        (root / "ledger/incoming/1.parquet").unlink()


def replace_a_history(root: Path) -> None:
    path = root / "archive/sandbox/revisions/usd/bitcoin/1.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True)
        path.write_bytes((root / "archive/usd/bitcoin.parquet").read_bytes())
        (root / "archive/usd/bitcoin.parquet").write_bytes(b"new history")


def promote(root: Path) -> None:
    version = root / "artifacts/lightgbm/v000002"
    version.mkdir(exist_ok=True)
    (version / "manifest.json").write_bytes(b"{}")
    (root / "artifacts/lightgbm/aliases.json").write_bytes(b'{"production": "v000002"}')


@pytest.mark.parametrize("change", [score_a_batch, replace_a_history, promote], ids=lambda c: c.__name__)
@pytest.mark.parametrize("moment", range(12))
def test_what_a_writer_moves_during_a_backup_is_in_it(tmp_path, monkeypatch, change, moment):
    root = tmp_path / "old"
    system(root)
    (root / "ledger/incoming").mkdir()
    (root / "ledger/incoming/1.parquet").write_bytes(b"both halves")
    real, calls = Path.open, itertools.count()

    def changed_before(self, *args, **rest):
        if next(calls) == moment:
            with monkeypatch.context() as unpatched:
                unpatched.setattr(Path, "open", real)
                change(root)
        return real(self, *args, **rest)

    monkeypatch.setattr(Path, "open", changed_before)
    data = backup(root)
    monkeypatch.setattr(Path, "open", real)
    restore(io.BytesIO(data), tmp_path / "new")
    files = held(tmp_path / "new")
    ledger = {files.get(f"ledger/{name}") for name in ("waiting.parquet", "scored/2026-11-28/a.parquet")}
    assert files.get("ledger/incoming/1.parquet") or ledger == {b"second half", b"first half, scored"}
    history = {files["archive/usd/bitcoin.parquet"]}
    history.add(files.get("archive/sandbox/revisions/usd/bitcoin/1.parquet", b""))
    assert bytes(range(256)) in history, "the history before its replacement is lost"


POISONOUS = {
    "digests.json is a list": {"digests.json": b"[]"},
    "digests.json is a number": {"digests.json": b"7"},
    "digests.json is deep": {"digests.json": b"[" * 100_000},
    "digests.json is no UTF-8": {"digests.json": b"\xff\xfe\x00"},
    "a file and a folder of one name": {"archive/a": b"", "archive/a/b": b""},
    "a file in the place of a folder": {"archive": b""},
    "a name of dots": {".": b"x"},
    "an absolute name": {"/etc/x": b""},
    "a folder of another kind": {"redis/x": b""},
    "an empty name": {"": b"x"},
}


@pytest.mark.parametrize("members", POISONOUS.values(), ids=POISONOUS)
def test_a_poisonous_backup_is_refused_in_one_line(tmp_path, monkeypatch, capsys, members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger/mine").write_bytes(b"3")
    for verb in (["verify"], ["restore", "--replace", "--root", str(tmp_path)]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(out.getvalue())))
        assert main(verb) == 1
        said = capsys.readouterr().err
        assert said.startswith("backup: ") and said.count("\n") == 1
    assert held(tmp_path) == {"ledger/mine": b"3"}


MANIFEST_FILES = {"model.txt": {"sha256": hashlib.sha256(b"tree" * 1000).hexdigest(), "size_bytes": 4000}}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"artifacts/lightgbm/v000001/model.txt": b""}, "model.txt is missing or differs"),
        ({"artifacts/lightgbm/v000001/model.txt": None}, "model.txt is missing or differs"),
        ({"artifacts/lightgbm/aliases.json": b"[[["}, ""),
        ({"artifacts/lightgbm/aliases.json": b"[" * 100_000}, ""),
        ({"artifacts/lightgbm/aliases.json": b'{"production": 7, "shadow": ["v000009"]}'}, ""),
        ({"artifacts/lightgbm/v000001/manifest.json": b""}, ""),
        ({"artifacts/lightgbm/v000001/manifest.json": b'{"files": ["model.txt"]}'}, ""),
    ],
)
def test_a_version_in_use_is_whole_in_the_backup(tmp_path, damage, message):
    system(tmp_path / "old")
    manifest = json.dumps({"files": MANIFEST_FILES}).encode()
    (tmp_path / "old/artifacts/lightgbm/v000001/manifest.json").write_bytes(manifest)
    backup(tmp_path / "old")
    for name, content in damage.items():
        if content is None:
            (tmp_path / "old" / name).unlink()
        else:
            (tmp_path / "old" / name).write_bytes(content)
    if message:
        with pytest.raises(BackupError, match=message):
            backup(tmp_path / "old")
    else:
        backup(tmp_path / "old")


@pytest.mark.parametrize("root", ["missing", "a-file"])
def test_a_folder_that_is_none_is_named(tmp_path, monkeypatch, capsys, root):
    system(tmp_path / "old")
    data = backup(tmp_path / "old")
    (tmp_path / "a-file").write_bytes(b"")
    for verb in ("verify", "restore") if root == "a-file" else ("verify",):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main([verb, "--root", str(tmp_path / root)]) == 1
        assert str(tmp_path / root) in capsys.readouterr().err
    assert main(["create", "--root", str(tmp_path / root)]) == 1


@pytest.mark.parametrize("state", ["var/sandbox/simulated", "var/coingecko", "var"])
def test_every_place_of_the_state_comes_back(tmp_path, state):
    files = system(tmp_path / state)
    if state == "var":  # What the sandbox keeps below it is no part of it.
        system(tmp_path / "var/sandbox/simulated")
    else:
        with pytest.raises(BackupError, match=state):
            backup(tmp_path / "var")
    assert restore(io.BytesIO(backup(tmp_path / state)), tmp_path / "new" / state) == len(files)
    assert held(tmp_path / "new" / state) == files


@pytest.mark.parametrize("odd", ["pipe", "socket", "line\nbreak", "\udcff", "with space and ü"])
def test_odd_entries_do_not_stop_a_backup(tmp_path, odd):
    files = system(tmp_path / "old")
    path = tmp_path / "old/archive/usd" / odd
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "socket":
        # Bound by a short name: the path of a socket has at most 108 characters.
        short = Path(tempfile.mkdtemp(dir="/tmp"))
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(short / "s"))
        (short / "s").rename(path)
        short.rmdir()
    else:
        path.write_bytes(b"odd")
        files[path.relative_to(tmp_path / "old").as_posix()] = b"odd"
    assert restore(io.BytesIO(backup(tmp_path / "old")), tmp_path / "new") == len(files)
    assert held(tmp_path / "new") == files
