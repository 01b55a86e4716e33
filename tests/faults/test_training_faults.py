"""What happens to the registry and to training when the machine misbehaves; each test prints its figure."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import distributed
import psutil
import pytest

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import NotReady, Unavailable
from coincast_chassis.grpc.channel import open_channel
from coincast_modelkit.artifact import FileDigest, read_aliases, sweep_temporary, version_folder
from coincast_modelkit.artifact.signature import make_seal
from coincast_training.domain import TrainingSpec
from coincast_training.executors import open_executor
from coincast_training.market_client import MarketDataHistory
from coincast_training.pipeline.artifact import write_version
from coincast_training.pipeline.dataset import training_data_of
from coincast_training.pipeline.metrics import measure
from coincast_training.ports import History
from coincast_training.registry.registry import Registry
from coincast_training.trainers.base import FittedModel
from coincast_training.trainers.registry import find_fit
from tests.unit.training.training_fakes import (
    FakeFit,
    FakeHistory,
    SpokenModel,
    panel_of,
    pipeline_in,
    walk_forward_of,
)
from tests.unit.training.training_market import PanelMarket, market_service

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
MODEL = "lightgbm"
PANEL = panel_of(("bitcoin",), days=300)


def registry_of(root: Path) -> Registry:
    return Registry(root, clock=SystemClock())


def write(registry: Registry, words: str = "words ") -> str:
    walk = walk_forward_of(PANEL, test_days=60)
    return write_version(
        registry,
        spec=TrainingSpec(model=MODEL, ids=("bitcoin",)),
        fitted=FittedModel(SpokenModel(words * 200), walk, {}),
        data=training_data_of(History(panel=PANEL, source="archive"), ("bitcoin",), 90),
        record=measure(walk, PANEL, measured_at=1.0),
        seed=7,
        parent=None,
        created_at=1.0,
    )


def test_a_writer_killed_at_a_hundred_random_moments_leaves_the_old_or_the_new(tmp_path: Path):
    script = Path(__file__).with_name("training_writer.py")
    run = subprocess.run(
        [sys.executable, script, tmp_path, "100", "5"], capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout)
    print(f"\nkilled {found['kills']} times while writing: {found}")
    assert found["kills"] == 100
    assert found["versions"] > 20, "the writers never came far enough to tell"
    assert found["in_the_middle"] >= 30, "too few kills came in the middle of a write"
    bad = ("torn_versions", "torn_tables", "dead_aliases", "revisions_out_of_order")
    assert {name: found[name] for name in bad} == dict.fromkeys(bad, 0)
    assert sweep_temporary(tmp_path, MODEL) == found["left_over"]
    assert write(registry_of(tmp_path)) > f"v{found['versions']:06d}"


async def test_a_full_disk_fails_the_job_clearly_and_keeps_what_was_there(tmp_path: Path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs: run as root")
    try:
        coins = ("bitcoin",)
        pipeline = pipeline_in(folder, FakeHistory(panel_of(coins)), FakeFit())
        spec = TrainingSpec(model=MODEL, ids=coins, promote_if_better=True)
        written, failure = [], None
        for number in range(50):
            try:
                outcome = await pipeline.run(
                    spec, requested_by="t", run_id=str(number), progress=lambda *_: None
                )
            except NotReady as error:
                failure = error
                break
            written.append(outcome.version)
        assert failure is not None
        print(f"\ndisk full after {len(written)} versions: {failure.message}")
        assert "No space left" in failure.message
        assert pipeline.registry.versions.names(MODEL) == written
        for version in written:
            pipeline.registry.versions.verified(MODEL, version)
        assert read_aliases(pipeline.registry.root, MODEL).production in written
        assert not list((pipeline.registry.root / MODEL).glob(".writing-*"))
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: ASYNC221 - nothing else runs


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The functions of the workers, importable there as well."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    return importlib.import_module("training_parts")


def test_two_promoters_a_thousand_times_lose_no_update(tmp_path: Path, parts: ModuleType):
    registry = registry_of(tmp_path)
    versions = [write(registry), write(registry)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(parts.promote_often, tmp_path, versions, 500, seed) for seed in (1, 2)]
        again = [run.result() for run in runs]
    entries = list(registry.audit.entries(MODEL))
    print(f"\n1000 moves by two promoters; {sum(again)} lost the race and tried again")
    assert registry.table(MODEL).revision == 1000
    assert [entry.revision for entry in entries] == list(range(1, 1001))
    assert {entry.requested_by for entry in entries} == {"promoter-1", "promoter-2"}
    for before, after in itertools.pairwise(entries):
        assert after.from_version == before.to_version


def test_a_disk_that_fills_within_an_audit_line_moves_nothing_and_keeps_the_log_whole(
    tmp_path: Path, parts: ModuleType
):
    registry = registry_of(tmp_path)
    versions = [write(registry), write(registry)]
    registry.promote(MODEL, versions[0], requested_by="t")
    log = (tmp_path / "audit.jsonl").read_bytes()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        rooms = range(0, len(log) // 2, 9)
        said = [
            pool.submit(parts.promote_without_room, tmp_path, versions[1], room).result() for room in rooms
        ]
    print(f"\n{len(said)} audit lines cut short: {said[0]}")
    assert len(said) > 15
    assert all(error.startswith("NotReady: The disk under the registry") for error in said)
    assert (tmp_path / "audit.jsonl").read_bytes() == log
    assert registry.table(MODEL).production == versions[0]
    registry.promote(MODEL, versions[1], requested_by="t")
    assert [entry.revision for entry in registry.audit.entries(MODEL)] == [1, 2]


def test_a_disk_that_fills_between_the_log_and_the_table_leaves_the_way_back_true(
    tmp_path: Path, parts: ModuleType
):
    registry = registry_of(tmp_path)
    versions = [write(registry) for _ in range(5)]
    for version in versions[:2]:
        registry.promote(MODEL, version, requested_by="t")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        said = pool.submit(parts.promote_without_room, tmp_path, versions[2], None).result()
    print(f"\nthe table had no room: {said}")
    assert said.startswith("NotReady: The disk under the registry")
    assert registry.table(MODEL).production == versions[1]
    assert not list((tmp_path / MODEL).glob(".writing-*"))
    registry.promote(
        MODEL, versions[4], alias="shadow", requested_by="t"
    )  # takes the revision that never came
    registry.promote(MODEL, versions[3], requested_by="t")
    assert registry.clean(MODEL, keep=1, requested_by="t") == [versions[0], versions[2]]
    assert registry.rollback(MODEL, reason="bad day", requested_by="t").production == versions[1]


@pytest.mark.parametrize("key", [None, b"secret"], ids=["unsigned", "signed"])
def test_flipped_bits_and_cut_files_of_every_kind_are_refused(tmp_path: Path, key: bytes | None):
    registry, rng = Registry(tmp_path, clock=SystemClock(), key=key), random.Random(3)
    version = write(registry)
    files = sorted(version_folder(tmp_path, MODEL, version).iterdir())
    assert {"manifest.json", "manifest.seal", "golden.npz", "model.txt", "walk_forward.npz"} <= {
        path.name for path in files
    }
    refused: dict[str, int] = {}
    for path, kind, _ in itertools.product(files, ("flip", "cut"), range(60)):
        whole = path.read_bytes()
        path.write_bytes(_damaged(whole, kind, rng))
        with pytest.raises(NotReady):
            registry.promote(MODEL, version, force=True, reason="damage", requested_by="t")
        path.write_bytes(whole)
        refused[f"{path.name} {kind}"] = refused.get(f"{path.name} {kind}", 0) + 1
    print(f"\nrefused, of 60 each: {refused}")
    assert registry.table(MODEL).revision == 0
    registry.promote(MODEL, version, requested_by="t")


def test_every_single_bit_of_a_seal_counts(tmp_path: Path):
    registry = Registry(tmp_path, clock=SystemClock(), key=b"secret")
    path = version_folder(tmp_path, MODEL, write(registry)) / "manifest.seal"
    whole = path.read_bytes()
    damaged = [
        whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
        for place in range(len(whole))
        for bit in range(8)
    ] + [whole[:length] for length in range(len(whole))]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(NotReady):
            registry.versions.manifest(MODEL, "v000001")
    print(f"\n{len(damaged)} damaged seals refused")


def _damaged(content: bytes, kind: str, rng: random.Random) -> bytes:
    if kind == "cut":
        return content[: rng.randrange(len(content))]
    damaged = bytearray(content)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "a/../../outside.txt", "link.txt"])
def test_a_manifest_that_points_outside_its_folder_is_refused(tmp_path: Path, name: str):
    registry = registry_of(tmp_path / "artifacts")
    version = write(registry)
    folder = version_folder(registry.root, MODEL, version)
    outside = folder.parent / "outside.txt"
    outside.write_text("secret")
    (folder / "link.txt").symlink_to(outside)
    manifest, _ = registry.versions.manifest(MODEL, version)
    digest = FileDigest(hashlib.sha256(b"secret").hexdigest(), 6)
    raw = replace(manifest, files={**manifest.files, name: digest}).to_bytes()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.seal").write_bytes(make_seal(raw, None))
    with pytest.raises(NotReady) as refused:
        registry.promote(MODEL, version, force=True, reason="trust me", requested_by="t")
    print(f"\n{name}: {refused.value.message}")


def names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


async def test_history_that_goes_away_leaves_nothing_half_written(tmp_path: Path):
    history = FakeHistory(panel_of(("bitcoin",)))
    pipeline = pipeline_in(tmp_path, history)
    spec = TrainingSpec(model=MODEL, ids=("bitcoin",))
    await pipeline.run(spec, requested_by="t", run_id="1", progress=lambda *_: None)
    before = names_below(tmp_path)
    history.failures = 1
    with pytest.raises(Unavailable):
        await pipeline.run(spec, requested_by="t", run_id="2", progress=lambda *_: None)
    assert names_below(tmp_path) == before
    print("\nhistory away: a clear failure, the folder unchanged")


async def test_a_stream_of_history_that_breaks_off_is_requested_again_and_then_given_up(tmp_path: Path):
    market = PanelMarket(panel_of(("bitcoin",), days=1200))  # three spans: there is a middle to break off in
    service = "coincast.market.v1.MarketDataService"
    spec = TrainingSpec(model=MODEL, ids=("bitcoin",))
    async with market_service(market) as address, open_channel(address, service=service) as channel:
        history = MarketDataHistory(channel, attempts=3, first_pause_seconds=0.01)
        pipeline = pipeline_in(tmp_path, history)
        market.breaks = 2
        await pipeline.run(spec, requested_by="t", run_id="1", progress=lambda *_: None)
        assert market.calls == 3
        learnt, _ = pipeline.registry.versions.manifest(MODEL, "v000001")
        assert learnt.data.rows == {"bitcoin": 1200}
        before = names_below(tmp_path)
        market.breaks = 1000
        with pytest.raises(Unavailable, match=r"gave no history after 3 attempts: .*broke off") as given_up:
            await pipeline.run(spec, requested_by="t", run_id="2", progress=lambda *_: None)
    assert market.calls == 6
    assert names_below(tmp_path) == before
    print(f"\nbroken off twice: repeated and whole; again and again: {given_up.value.message}")


def test_a_killed_worker_process_costs_time_not_the_job(tmp_path: Path, parts: ModuleType):
    with open_executor("processes:2") as executor:
        results = executor.map(parts.square, tmp_path, list(range(12)))
    assert results == [n * n for n in range(12)]
    assert (tmp_path / "killed").exists()
    print("\none of two worker processes killed: 12 of 12 parts done")


async def test_a_worker_killed_in_a_training_leaves_the_files_of_an_undisturbed_one(
    tmp_path: Path, parts: ModuleType
):
    killed: list[int] = []

    def kill_one(fraction: float, stage: str) -> None:
        """SIGKILL to a worker process once the first window is fitted."""
        if "fitted 1 of" in stage and not killed:
            found = [p for p in psutil.Process().children() if "LokyProcess" in " ".join(p.cmdline())]
            killed.append(found[0].pid)
            found[0].kill()

    made = {}
    for executor, progress in (("inline", lambda *_: None), ("processes:2", kill_one)):
        pipeline = replace(
            pipeline_in(tmp_path / executor[:6], FakeHistory(panel_of(("bitcoin", "ethereum"), days=430))),
            find_fit=find_fit,
            executor=executor,
            parameters=lambda _: parts.TUNED,
        )
        spec = TrainingSpec(model=MODEL, ids=("bitcoin", "ethereum"))
        outcome = await pipeline.run(spec, requested_by="t", run_id="1", progress=progress)
        files = (pipeline.registry.root / MODEL / outcome.version).iterdir()
        made[executor] = {path.name: path.read_bytes() for path in files if "manifest" not in path.name}
    assert len(killed) == 1
    assert made["inline"] == made["processes:2"]
    print(f"\na worker killed in a training: the same {len(made['inline'])} files, byte for byte")


def test_a_killed_dask_worker_costs_time_not_the_job(parts: ModuleType):
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    )
    with cluster, open_executor(f"dask:{cluster.scheduler_address}") as executor:
        killer = threading.Timer(2.0, _kill_one, [cluster.scheduler_address])
        killer.start()
        results = executor.map(parts.slow_sum, 100, list(range(8)))
        killer.join()
    assert results == [100 + n for n in range(8)]
    print("\none of two Dask workers killed: 8 of 8 parts done")


def _kill_one(address: str) -> None:
    with distributed.Client(address, set_as_default=False) as client:
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)


def test_a_tuning_that_is_killed_goes_on_to_the_same_end(tmp_path: Path, parts: ModuleType):
    through = parts.tuned(tmp_path / "through", 12)
    kills, rng = 0, random.Random(2)
    context = multiprocessing.get_context("spawn")
    for _ in range(4):
        life = context.Process(target=parts.tuned, args=(tmp_path / "killed", 12))
        life.start()
        for _ in range(1200):
            if life.exitcode is not None or any((tmp_path / "killed").glob("*.log")):
                break
            time.sleep(0.05)
        life.join(rng.uniform(0.5, 4.0))
        kills += life.exitcode is None
        life.kill()
        life.join()
    resumed = parts.tuned(tmp_path / "killed", 12)
    print(f"\na tuning killed {kills} times: best {resumed[0]:.6f}, uninterrupted {through[0]:.6f}")
    assert kills > 0
    assert resumed == through


def test_a_worker_that_dies_every_time_is_given_up(parts: ModuleType):
    with open_executor("processes:1") as executor, pytest.raises(Unavailable, match="died 3 times"):
        executor.map(parts.always_dies, None, [1])


def test_cleaning_is_safe_under_a_reader(tmp_path: Path):
    registry = registry_of(tmp_path)
    versions = [write(registry) for _ in range(6)]
    registry.promote(MODEL, versions[0], requested_by="t")
    assert registry.clean(MODEL, keep=1, requested_by="t") == versions[1:5]
    assert not list((tmp_path / MODEL).glob(".trash-*"))
    registry.versions.verified(MODEL, versions[0])
    shutil.rmtree(tmp_path / MODEL)
