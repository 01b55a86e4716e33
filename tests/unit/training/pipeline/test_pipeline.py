"""From history to a version, over fakes."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from coincast_chassis.errors import Conflict, NotReady, Unavailable
from coincast_modelkit.artifact import read_manifest
from coincast_training.domain import TrainingSpec
from coincast_training.pipeline import artifact
from coincast_training.pipeline.lock import model_lock
from coincast_training.starter.install import install_starters
from tests.unit.training.training_fakes import FakeFit, FakeHistory, panel_of, pipeline_in

COINS = ("bitcoin", "ethereum")
SPEC = TrainingSpec(model="lightgbm", ids=COINS)


def silent(fraction: float, stage: str) -> None:
    pass


async def run(pipeline, spec=SPEC):
    return await pipeline.run(spec, requested_by="test", run_id="r1", progress=silent)


async def test_a_run_writes_a_version_with_its_manifest(tmp_path: Path):
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of((*COINS, "solana"))))
    outcome = await run(pipeline)
    assert (outcome.version, outcome.promoted) == ("v000001", False)
    manifest, signed = read_manifest(pipeline.registry.root, "lightgbm", "v000001")
    assert not signed
    assert manifest.coins == COINS
    assert manifest.seeds == (7,)
    assert manifest.data.rows == {"bitcoin": 400, "ethereum": 400}
    assert manifest.metrics["reference"]["coins"] == ["bitcoin", "ethereum", "solana"]
    assert manifest.golden in manifest.files
    assert manifest.library_versions["numpy"]
    assert [h.horizon_days for h in manifest.record.horizons] == [1, 7]
    assert manifest.record.horizons[0].coverage_80_percent == pytest.approx(80, abs=6)


async def test_progress_rises_to_one(tmp_path: Path):
    received: list[float] = []
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of(COINS)))
    await pipeline.run(
        SPEC, requested_by="t", run_id="r", progress=lambda fraction, _: received.append(fraction)
    )
    assert received == sorted(received)
    assert received[-1] == 1.0


async def test_the_first_good_version_is_promoted_and_a_worse_one_is_not(tmp_path: Path):
    spec = TrainingSpec(model="lightgbm", ids=COINS, promote_if_better=True)
    fit = FakeFit(width=1.0)
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of(COINS)), fit)
    assert (await run(pipeline, spec)).promoted
    fit.quality = {"width": 3.0}
    outcome = await run(pipeline, spec)
    assert not outcome.promoted
    assert "not" in outcome.promotion
    assert pipeline.registry.table("lightgbm").production == "v000001"


@pytest.mark.slow
async def test_a_starter_that_serves_on_is_corrected_on_the_days_of_the_job(tmp_path: Path):
    coins = (*COINS, "solana")
    spec = TrainingSpec(model="lightgbm", ids=coins, promote_if_better=True)
    panel = panel_of(coins, first="2025-10-01", sigma=0.02)
    pipeline = pipeline_in(tmp_path, FakeHistory(panel), FakeFit(width=5.0))
    install_starters(pipeline.registry, ["lightgbm"])
    outcome = await run(pipeline, spec)
    assert (outcome.version, outcome.promoted) == ("v000002", False)
    assert (
        "The starter remains in use as v000003, with its widths corrected on these days." in outcome.promotion
    )
    assert pipeline.registry.table("lightgbm").production == "v000003"
    asked_not_to = await run(pipeline, replace(spec, promote_if_better=False))
    assert "starter" not in asked_not_to.promotion


async def test_a_disk_that_refuses_the_move_costs_the_move_and_not_the_version(tmp_path: Path):
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of(COINS)))
    (pipeline.registry.root / "audit.jsonl").mkdir(parents=True)
    outcome = await run(pipeline, replace(SPEC, promote_if_better=True))
    assert (outcome.version, outcome.promoted) == ("v000001", False)
    assert "Production was not changed: The disk under the registry" in outcome.promotion
    assert pipeline.registry.versions.names("lightgbm") == ["v000001"]


async def test_retraining_a_lineage_gives_the_same_bytes(tmp_path: Path):
    panel = panel_of(COINS)
    pipeline = pipeline_in(
        tmp_path, FakeHistory({c: k.rows(0, 390) for c, k in panel.items()}), FakeFit(width=1.2)
    )
    await run(pipeline)
    later = pipeline_in(tmp_path, FakeHistory(panel))  # ten days on, with other defaults
    outcome = await run(later, TrainingSpec(model="lightgbm", ids=(), from_version="v000001"))
    manifest, _ = read_manifest(later.registry.root, "lightgbm", outcome.version)
    assert manifest.parent == "v000001"
    assert digests(tmp_path, "v000001") == digests(tmp_path, "v000002")


async def test_a_lineage_is_repeated_where_coins_are_of_other_ages_than_the_reference(tmp_path: Path):
    whole = panel_of(("bitcoin", "dogecoin", "pepe"), days=420)
    then = {
        "bitcoin": whole["bitcoin"].rows(0, 400),
        "dogecoin": whole["dogecoin"].rows(200, 399),  # young, and a day late
        "pepe": whole["pepe"].rows(150, 400),
    }
    spec = TrainingSpec(model="lightgbm", ids=("dogecoin", "pepe"), days=180)
    await run(pipeline_in(tmp_path, FakeHistory(then)), spec)
    now = {
        **whole,
        "dogecoin": whole["dogecoin"].rows(200, 420),
        "ethereum": panel_of(("ethereum",))["ethereum"],
    }
    later = pipeline_in(tmp_path, FakeHistory(now))
    outcome = await run(later, TrainingSpec(model="lightgbm", ids=(), from_version="v000001"))
    before, after = (
        read_manifest(later.registry.root, "lightgbm", version)[0] for version in ("v000001", outcome.version)
    )
    assert after.data == before.data
    assert after.metrics["reference"] == before.metrics["reference"]
    assert digests(tmp_path, "v000001") == digests(tmp_path, "v000002")


async def test_a_manifest_of_before_the_spans_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    panel = panel_of(COINS)
    with monkeypatch.context() as older:
        older.setattr(artifact, "spans_of", lambda _: {})
        await run(pipeline_in(tmp_path, FakeHistory({c: k.rows(0, 390) for c, k in panel.items()})))
    assert read_manifest(tmp_path / "artifacts", "lightgbm", "v000001")[0].metrics["spans"] == {}
    await run(pipeline_in(tmp_path, FakeHistory(panel)), replace(SPEC, ids=(), from_version="v000001"))
    assert digests(tmp_path, "v000001") == digests(tmp_path, "v000002")


async def test_a_lineage_on_changed_history_is_refused(tmp_path: Path):
    await run(pipeline_in(tmp_path, FakeHistory(panel_of(COINS))))
    changed = pipeline_in(tmp_path, FakeHistory(panel_of(COINS, seed=2)))
    with pytest.raises(NotReady, match="data hash"):
        await run(changed, TrainingSpec(model="lightgbm", ids=(), from_version="v000001"))


@pytest.mark.slow
async def test_old_versions_go_by_themselves_and_what_an_alias_names_stays(tmp_path: Path):
    pipeline = replace(pipeline_in(tmp_path, FakeHistory(panel_of(COINS))), keep_versions=2)
    first = await run(pipeline, replace(SPEC, promote_if_better=True))
    assert first.promoted
    for _ in range(4):
        await run(pipeline)
    assert pipeline.registry.versions.names("lightgbm") == ["v000001", "v000004", "v000005"]
    cleaned = [e.from_version for e in pipeline.registry.audit.entries("lightgbm") if e.action == "clean"]
    assert cleaned == ["v000002", "v000003"]


async def test_no_history_leaves_nothing_behind(tmp_path: Path):
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of(COINS), failures=9))
    with pytest.raises(Unavailable):
        await run(pipeline)
    assert pipeline.registry.versions.names("lightgbm") == []


async def test_too_little_history_says_so_for_each_coin(tmp_path: Path):
    history = FakeHistory(
        panel_of(("bitcoin",), days=30), problems={"ethereum": "There is no coin ethereum."}
    )
    with pytest.raises(NotReady, match="bitcoin has 30 days; ethereum: There is no coin"):
        await run(pipeline_in(tmp_path, history))


async def test_one_training_of_a_model_at_a_time(tmp_path: Path):
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of(COINS)))
    with model_lock(pipeline.registry.root, "lightgbm"), pytest.raises(Conflict):
        await run(pipeline)


def digests(folder: Path, version: str) -> dict[str, str]:
    """What lies in a version, but for the manifest and its seal, which name the version itself."""
    files = (folder / "artifacts" / "lightgbm" / version).rglob("*")
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and not path.name.startswith("manifest")
    }
