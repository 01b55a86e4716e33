"""The records that training writes: anything else in their place is named once and changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from coincast_forecast.registry.live_records import SCORES_FILE, open_live_risk, open_live_scores
from coincast_modelkit.scenarios.live_record import LIVE_RISK_FILE

GOOD = {"records": [{"model": "lightgbm", "id": "", "horizon_days": 1, "skill_percent": 2.5}]}
ROW = GOOD["records"][0]
POISON: dict[str, bytes | str] = {
    "empty": b"",
    "half": b'{"records": [{"model": "li',
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "no UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "records that are none": b'{"records": 7}',
    "a row that is none": b'{"records": [7]}',
    "an infinite horizon": json.dumps({"records": [ROW | {"horizon_days": float("inf")}]}).encode(),
    "a horizon that is no number": json.dumps({"records": [ROW | {"horizon_days": None}]}).encode(),
    "a skill that is a text": json.dumps({"records": [ROW | {"skill_percent": "much"}]}).encode(),
    "a huge whole number": json.dumps({"records": [ROW | {"skill_percent": 10**400}]}).encode(),
    "a folder": "folder",
    "a pipe": "pipe",
    "a link to itself": "loop",
    "huge": "huge",
}
pytestmark = pytest.mark.timeout(30)


def place(path: Path, content: bytes | str) -> None:
    path.unlink(missing_ok=True)
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path.name),
        "huge": lambda: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 10**12),
    }
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        make[content]()


@pytest.mark.parametrize("content", POISON.values(), ids=POISON)
def test_a_poisonous_record_changes_nothing_and_is_named_once(
    tmp_path: Path, content: bytes | str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / SCORES_FILE).write_text(json.dumps(GOOD))
    scores, risk = open_live_scores(tmp_path), open_live_risk(tmp_path)
    scores.read()
    before, nothing = scores.current, risk.current
    place(tmp_path / SCORES_FILE, content)
    place(tmp_path / LIVE_RISK_FILE, content)
    for _ in range(3):
        scores.read()
        risk.read()
    assert (scores.current, risk.current) == (before, nothing)
    printed = capsys.readouterr().out
    assert printed.count("live_record_unreadable") <= 2
    assert str(tmp_path) not in printed
