"""A backup comes back whole, or not at all."""

import io
import shutil
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
    import tarfile

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


def test_a_restore_that_was_killed_is_undone_by_the_next_one(tmp_path, monkeypatch):
    system(tmp_path / "old")
    data = backup(tmp_path / "old")
    (tmp_path / "new/ledger").mkdir(parents=True)
    (tmp_path / "new/ledger/mine").write_bytes(b"3")

    def killed(root: Path) -> None:
        raise KeyboardInterrupt

    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        replaced(tmp_path / "new", data)
    monkeypatch.setattr(shutil, "rmtree", real)
    module.put_back(tmp_path / "new")
    assert held(tmp_path / "new") == {"ledger/mine": b"3"}
