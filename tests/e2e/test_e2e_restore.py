"""The runbook on the live system: back up, lose everything, restore; go back to an older version."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from coincast_stack.testing import StackHandle

Get = Callable[..., httpx2.Response]
pytestmark = pytest.mark.timeout(600)
BACKUP = Path(__file__).resolve().parents[2] / "deploy" / "backup.py"
KEPT = ("archive", "artifacts", "ledger")
WRITERS = ("market", "training", "forecast")


def backup(verb: str, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(
        [sys.executable, str(BACKUP), verb, *arguments],
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def served(get: Get) -> str:
    """The version of lightgbm that a new forecast comes from; empty while none does."""
    try:
        reply = get(
            "/forecasts", params={"ids": "bitcoin", "days": 1 + time.monotonic_ns() % 29, "model": "lightgbm"}
        )
    except httpx2.HTTPError:
        return ""
    found = reply.json()["forecasts"] if reply.status_code == 200 else []
    return found[0]["version"] if found and found[0]["served_by"] == "lightgbm" else ""


def wait_until(what: str, holds: Callable[[], bool], seconds: float = 180.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.3)


def post(stack: StackHandle, path: str, body: dict[str, object]) -> dict:
    reply = httpx2.post(f"{stack.gateway_url}{path}", json=body, timeout=30, trust_env=False)
    assert reply.status_code in {200, 201, 202}, reply.text
    return reply.json()


def test_archive_artifacts_and_ledger_come_back_from_a_backup_of_the_running_system(
    stack: StackHandle, get: Get
) -> None:
    wait_until("lightgbm does not serve", lambda: bool(served(get)))
    version, root = served(get), stack.stack.plan.state_dir
    candles = get("/coins/ethereum/history", params={"days": 45}).json()["candles"]
    saved = backup("create", "--root", str(root))
    backup("verify", given=saved)
    for name in WRITERS:
        stack.kill(name)
    held = {name: sum(1 for file in (root / name).rglob("*") if file.is_file()) for name in KEPT}
    for name in KEPT:
        shutil.rmtree(root / name)
    backup("restore", "--root", str(root), given=saved)
    for name in WRITERS:
        stack.restart(name)
    wait_until(f"{version} does not serve again", lambda: served(get) == version)
    assert get("/coins/ethereum/history", params={"days": 45}).json()["candles"] == candles
    assert held["artifacts"]
    assert held["archive"]


def test_production_goes_back_to_the_version_before_and_no_process_restarts(
    stack: StackHandle, get: Get
) -> None:
    wait_until("lightgbm does not serve", lambda: bool(served(get)))
    before, pids = served(get), stack.pids()
    job = post(stack, "/training/jobs", {"model": "lightgbm", "ids": ["bitcoin", "ethereum"], "days": 450})[
        "job"
    ]
    state = lambda: get(f"/training/jobs/{job['job_id']}").json()["job"]  # noqa: E731 - said where it is used
    wait_until("the job did not succeed", lambda: state()["state"] == "succeeded")
    newer = state()["version"]
    post(stack, "/models/lightgbm/promote", {"version": newer, "force": True, "reason": "end-to-end test"})
    wait_until(f"{newer} does not serve", lambda: served(get) == newer)
    post(stack, "/models/lightgbm/rollback", {"reason": "end-to-end test"})
    wait_until(f"{before} does not serve again", lambda: served(get) == before)
    assert stack.pids() == pids
    moves = get("/models/audit", params={"model": "lightgbm"}).json()["entries"]
    assert moves[0]["action"] == "rollback"
