"""Promote, roll back, retire, compare, clean."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from coincast_chassis.errors import Conflict, InvalidInput, NotFound, NotReady
from coincast_modelkit.artifact import Record
from coincast_training.domain import TrainingSpec
from coincast_training.pipeline.artifact import write_version
from coincast_training.pipeline.dataset import training_data_of
from coincast_training.pipeline.metrics import measure
from coincast_training.ports import History
from coincast_training.registry.paired_tests import diebold_mariano
from coincast_training.registry.registry import Registry
from coincast_training.trainers.base import FittedModel, WalkForward
from tests.unit.training.training_fakes import SpokenModel, panel_of, registry_in, walk_forward_of

MODEL = "lightgbm"
PANEL = panel_of(("bitcoin", "ethereum"), days=500)


@cache
def measured(**quality: Any) -> tuple[WalkForward, Record]:
    """Return forecasts of the given width and bias, and how they did."""
    walk = walk_forward_of(PANEL, **quality)
    return walk, measure(walk, PANEL, measured_at=1.0)


def write(registry: Registry, **quality: Any) -> str:
    """A version whose forecasts have the given width and bias."""
    walk, record = measured(**quality)
    return write_version(
        registry,
        spec=TrainingSpec(model=MODEL, ids=tuple(PANEL)),
        fitted=FittedModel(model=SpokenModel("words"), walk_forward=walk, parameters=quality),
        data=training_data_of(History(panel=PANEL, source="archive"), tuple(PANEL), 90),
        record=record,
        seed=7,
        parent=None,
        created_at=1.0,
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_in(tmp_path / "artifacts")


def promote(registry: Registry, version: str, **options):
    return registry.promote(MODEL, version, requested_by="test", **options)


def test_promotion_raises_the_revision_and_is_audited(registry: Registry):
    version = write(registry)
    moved = promote(registry, version)
    assert (moved.table.production, moved.table.revision) == (version, 1)
    (entry,) = registry.audit.entries(MODEL)
    assert (entry.action, entry.alias, entry.from_version, entry.to_version) == (
        "promote",
        "production",
        "",
        version,
    )
    assert (entry.requested_by, entry.revision, entry.forced) == ("test", 1, False)
    assert entry.reason


@pytest.mark.parametrize("quality", [{"width": 3.0}, {"bias": 0.05}])
def test_the_gate_refuses_what_is_worse_than_the_random_walk(registry: Registry, quality):
    version = write(registry, **quality)
    with pytest.raises(NotReady, match="below the bound"):
        promote(registry, version)
    assert registry.table(MODEL).revision == 0
    with pytest.raises(InvalidInput):
        promote(registry, version, force=True)
    assert promote(registry, version, force=True, reason="an experiment").table.production == version
    assert [entry.forced for entry in registry.audit.entries(MODEL)] == [True]


def test_the_gate_refuses_what_is_worse_than_production(registry: Registry):
    good, worse = write(registry), write(registry, width=1.18)
    promote(registry, good)
    with pytest.raises(NotReady, match="worse than that of production"):
        promote(registry, worse)
    promote(registry, worse, alias="challenger", share=0.1)
    assert registry.table(MODEL).challenger_share == 0.1


def test_a_stale_revision_is_refused(registry: Registry):
    first, second = write(registry), write(registry)
    promote(registry, first, expected_revision=0)
    with pytest.raises(Conflict, match="revision 1, not 0"):
        promote(registry, second, expected_revision=0)


def test_a_challenger_that_wins_ends_its_trial(registry: Registry):
    first, second = write(registry), write(registry)
    promote(registry, first)
    promote(registry, second, alias="challenger", share=0.5)
    table = promote(registry, second).table
    assert (table.production, table.challenger, table.challenger_share) == (second, "", 0.0)


def test_rollback_goes_further_back_each_time(registry: Registry):
    versions = [write(registry) for _ in range(3)]
    for version in versions:
        promote(registry, version)
    back = [registry.rollback(MODEL, reason="bad day", requested_by="t").production for _ in range(2)]
    assert back == [versions[1], versions[0]]
    with pytest.raises(NotReady, match="no earlier"):
        registry.rollback(MODEL, reason="worse day", requested_by="t")


def test_rollback_skips_what_was_retired_or_removed(registry: Registry):
    versions = [write(registry) for _ in range(3)]
    for version in versions:
        promote(registry, version)
    registry.retire(MODEL, versions[1], reason="wrong data", requested_by="t")
    assert registry.rollback(MODEL, reason="bad day", requested_by="t").production == versions[0]


def test_an_audit_entry_whose_move_never_came_is_passed_over(registry: Registry):
    versions = [write(registry) for _ in range(2)]
    promote(registry, versions[0])
    before = (registry.root / MODEL / "aliases.json").read_bytes()
    promote(registry, versions[1])
    (registry.root / MODEL / "aliases.json").write_bytes(before)  # the crash came between the two
    with pytest.raises(NotReady):
        registry.rollback(MODEL, reason="bad day", requested_by="t")
    promote(registry, versions[1])
    assert registry.rollback(MODEL, reason="bad day", requested_by="t").production == versions[0]


def test_a_revision_that_another_alias_took_was_no_production(registry: Registry):
    versions = [write(registry) for _ in range(4)]
    promote(registry, versions[0])
    promote(registry, versions[1])
    last = list(registry.audit.entries(MODEL))[-1]
    registry.audit.append(replace(last, to_version=versions[2], revision=3))  # and then the process died
    promote(registry, versions[2], alias="shadow")
    promote(registry, versions[3])
    assert registry.table(MODEL).revision == 4
    assert registry.rollback(MODEL, reason="bad day", requested_by="t").production == versions[1]


def test_a_disk_that_refuses_is_a_sentence(registry: Registry):
    version = write(registry)
    (registry.root / "audit.jsonl").mkdir()  # no line can be written
    with pytest.raises(NotReady, match="disk under the registry refused the write: Is a directory"):
        promote(registry, version)
    assert registry.table(MODEL).production == ""


POISON: dict[str, bytes | str] = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"v000001"',
    "half": b'{"production": "v0',
    "deep": b"[" * 100_000,
    "no UTF-8": b"\xff\xfe\x00",
    "a number as version": b'{"production": 7}',
    "a list as version": b'{"shadow": ["v000001"]}',
    "a text as revision": b'{"revision": "3"}',
    "a huge revision": b'{"revision": 99999999999}',
    "null as revision": b'{"revision": null}',
    "a share of 7": b'{"challenger_share": 7}',
    "a folder": "folder",
    "a pipe": "pipe",
    "a link to itself": "loop",
}


def poison(path: Path, content: bytes | str) -> None:
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("content", POISON.values(), ids=POISON)
def test_poisonous_aliases_are_an_error_without_a_path(registry: Registry, content: bytes | str) -> None:
    promote(registry, write(registry))
    poison(registry.root / MODEL / "aliases.json", content)
    with pytest.raises(NotReady, match=r"The aliases of lightgbm cannot be read") as refused:
        registry.table(MODEL)
    assert str(registry.root) not in refused.value.message
    assert registry.versions.list(MODEL)
    assert registry.table("ml_ensemble").production == ""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("content", POISON.values(), ids=POISON)
def test_poisonous_lists_beside_the_versions_hide_none(registry: Registry, content: bytes | str) -> None:
    version = write(registry)
    promote(registry, version)
    for name in ("audit.jsonl", f"{MODEL}/retired.json"):
        poison(registry.root / name, content)
    with capture_logs() as logs:
        for _ in range(2):
            assert [one.version for one in registry.versions.list(MODEL)] == [version]
            assert list(registry.audit.entries(MODEL)) == []
    assert len(logs) <= 2
    assert str(registry.root) not in str(logs)


ENTRY = {
    "at": 1.0, "requested_by": "x", "model": MODEL, "action": "promote", "alias": "production",
    "from_version": "", "to_version": "v000001", "reason": "", "revision": 1, "forced": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": "yesterday"}, {"at": -1}, {"at": 1e30}, {"at": None}, {"at": float("nan")}, {"model": 5},
        {"revision": "1"}, {"revision": 2**40}, {"revision": 1.5}, {"forced": "yes"}, {"reason": ["x"]},
        {"to_version": None}, {"more": 1},
    ],
)  # fmt: skip
def test_a_line_of_wrong_types_is_no_entry(registry: Registry, wrong: dict[str, object]) -> None:
    promote(registry, write(registry))
    with (registry.root / "audit.jsonl").open("a") as file:
        file.write(json.dumps(ENTRY | wrong) + "\n")
        file.write("x" * 300_000 + "\n" + json.dumps(ENTRY | {"revision": 9}) + "\n")
    assert [entry.revision for entry in registry.audit.entries(MODEL)] == [1, 9]


def test_a_torn_audit_line_loses_only_that_line(registry: Registry):
    promote(registry, write(registry))
    with (registry.root / "audit.jsonl").open("a") as file:
        file.write('{"at": 1.0, "requested_by": "x')
    promote(registry, write(registry))
    assert [entry.revision for entry in registry.audit.entries(MODEL)] == [1, 2]


def test_a_version_in_use_is_not_retired(registry: Registry):
    version = write(registry)
    promote(registry, version)
    with pytest.raises(Conflict, match="production"):
        registry.retire(MODEL, version, reason="old", requested_by="t")
    other = write(registry)
    assert registry.retire(MODEL, other, reason="old", requested_by="t").retired
    with pytest.raises(NotReady, match="retired"):
        promote(registry, other)


@pytest.mark.slow
def test_cleaning_keeps_aliases_the_newest_and_the_way_back(registry: Registry):
    versions = [write(registry) for _ in range(7)]
    for version in versions[:3]:
        promote(registry, version)
    promote(registry, versions[0], alias="shadow")
    removed = registry.clean(MODEL, keep=2, requested_by="t")
    assert removed == versions[3:5]
    assert registry.versions.names(MODEL) == [*versions[:3], *versions[5:]]
    assert write(registry) == "v000008"


def test_compare_tells_better_from_worse_and_equal_from_unequal(registry: Registry):
    good, same, bad = write(registry), write(registry), write(registry, width=2.0)
    comparison = registry.compare(MODEL, good, bad)
    assert f"{good} is better" in comparison.verdict
    assert all(test.statistic < -2 for test in comparison.tests if test.loss == "crps")
    assert "is not significant" in registry.compare(MODEL, good, same).verdict


def test_an_unknown_version_names_those_there_are(registry: Registry):
    version = write(registry)
    with pytest.raises(NotFound) as missing:
        promote(registry, "v000099")
    assert missing.value.suggestions == (version,)


@pytest.mark.parametrize("name", ["../../etc", "v1", ""])
def test_a_version_is_no_path(registry: Registry, name: str):
    with pytest.raises(NotFound):
        promote(registry, name)


def test_a_damaged_version_is_neither_promoted_nor_compared(registry: Registry):
    version = write(registry)
    path = registry.root / MODEL / version / "model.txt"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(NotReady, match="digest"):
        promote(registry, version)


def test_a_reader_can_be_configured_to_refuse_unsigned_versions(tmp_path: Path):
    unsigned = write(registry_in(tmp_path))
    strict = registry_in(tmp_path, key=b"secret", require_signature=True)
    with pytest.raises(NotReady, match="unsigned"):
        promote(strict, unsigned)
    signed = write(strict)
    assert promote(strict, signed).table.production == signed
    with pytest.raises(NotReady, match="another key"):
        registry_in(tmp_path, key=b"other", require_signature=True).versions.get(MODEL, signed)


@pytest.mark.slow
def test_two_threads_that_promote_lose_nothing(registry: Registry):
    versions = [write(registry) for _ in range(2)]
    won: list[int] = []

    def mover(version: str) -> None:
        done = 0
        while done < 25:
            try:
                moved = promote(registry, version, expected_revision=registry.table(MODEL).revision)
            except Conflict:
                continue
            won.append(moved.table.revision)
            done += 1

    threads = [threading.Thread(target=mover, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, 51))
    assert [entry.revision for entry in registry.audit.entries(MODEL)] == list(range(1, 51))
    assert json.loads((registry.root / MODEL / "aliases.json").read_text())["revision"] == 50


def test_diebold_mariano_is_right_under_the_null():
    rng = np.random.default_rng(3)
    p_values = [diebold_mariano(rng.normal(0, 1, 200), lags=0)[1] for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.03)
