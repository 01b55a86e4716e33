"""The versions that may replace a refused one, whatever lies in the place of the audit log."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from coincast_forecast.registry.fallback_versions import list_fallback_versions

MODEL = "lightgbm"
pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(1, 6):
        folder = tmp_path / MODEL / f"v{number:06d}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    return tmp_path


def entry(version: str) -> str:
    return json.dumps({"model": MODEL, "alias": "production", "to_version": version})


def test_those_that_served_come_first_and_later_ones_never(root: Path) -> None:
    (root / "audit.jsonl").write_text("\n".join(map(entry, ["v000001", "v000003", "v000005"])))
    assert list_fallback_versions(root, MODEL, "v000004") == ["v000003", "v000001"]


@pytest.mark.parametrize(
    "kind", ["absent", "empty", "folder", "pipe", "huge", "no UTF-8", "deep", "other rows"]
)
def test_without_a_log_older_versions_are_taken(root: Path, kind: str) -> None:
    path = root / "audit.jsonl"
    match kind:
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "huge":
            with path.open("wb") as file:
                file.truncate(10**12)
        case "no UTF-8":
            path.write_bytes(b"\xff\xfe\x00\n")
        case "deep":
            path.write_text("[" * 100_000 + "\n")
        case "other rows":
            path.write_text('null\n7\n[]\n"x"\n{}\n{"model": ["lightgbm"], "alias": 3}\n')
    assert list_fallback_versions(root, MODEL, "v000004") == ["v000003", "v000002", "v000001"]


def test_stray_entries_beside_the_versions_are_no_versions(root: Path) -> None:
    (root / MODEL / "v000009").mkdir()
    (root / MODEL / "v000002x").mkdir()
    (root / MODEL / "v000006").write_text("a file")
    (root / MODEL / "line\nbreak").mkdir()
    os.mkfifo(root / MODEL / "v000007")
    (root / MODEL / "v000008").symlink_to("nowhere")
    assert list_fallback_versions(root, MODEL, "v000099") == ["v000005", "v000004", "v000003"]
