"""A backup comes back whole, or not at all."""

import io
from pathlib import Path

import pytest

from deploy.backup import BackupError, create, restore, unpack


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


def test_a_backup_replaces_what_is_there_only_when_told(tmp_path):
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
