"""The runbook on the live system: back up, lose everything, restore; go back to an older version."""

import contextlib
import hashlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from datetime import time as time_of_day
from functools import partial
from pathlib import Path

import httpx2
import pytest

from coincast_modelkit.features import REFERENCE_COINS
from coincast_stack.layout import state_dir
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.testing import StackHandle, stack_for_tests
from tests.e2e.e2e_scored import REPLAYED_DAYS

Get = Callable[..., httpx2.Response]
pytestmark = pytest.mark.timeout(600)
BACKUP = Path(__file__).resolve().parents[2] / "deploy" / "backup.py"
KEPT = ("archive", "artifacts", "ledger")
# What is being written: new files, and the transactions of a database.
UNFINISHED = (".tmp", ".sqlite-journal", ".sqlite-wal", ".sqlite-shm")
COINS = ("bitcoin", "ethereum")
# What answers in the new system comes from the backup: nothing can be fetched, nothing is trained, and Redis,
# the gateway and its kept replies are new.
NOTHING_ELSE = {
    "MARKET_UPSTREAM_URL": "http://127.0.0.1:9/api/v3",
    "TRAINING_BOOTSTRAP": "false",
    "TRAINING_DRIFT_BUDGET_PER_WEEK": "0",
}


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


def digests(root: Path) -> dict[str, str]:
    """Digest by name of every finished file of the three places."""
    found = {}
    for file in (file for name in KEPT for file in (root / name).rglob("*") if file.is_file()):
        name = file.relative_to(root)
        if not any(part.startswith(".") or part.endswith(UNFINISHED) for part in name.parts):
            found[name.as_posix()] = hashlib.sha256(content_of(file)).hexdigest()
    return found


def content_of(file: Path) -> bytes:
    """The bytes of a file; of a database its tables, since its newest rows may stand in a file beside it."""
    if file.suffix != ".sqlite":
        return file.read_bytes()
    with contextlib.closing(sqlite3.connect(file)) as database:
        return "\n".join(database.iterdump()).encode()


def backup_of_a_moment(root: Path) -> tuple[bytes, dict[str, str]]:
    """A backup of a running system during which no file changed, and the digests of those files."""
    for _ in range(40):
        try:
            before = digests(root)
            saved = backup("create", "--root", str(root))
            if digests(root) == before:
                return saved, before
        except FileNotFoundError:  # the ledger has moved on meanwhile
            pass
        time.sleep(0.5)
    raise AssertionError("the files changed during each of forty backups")


def backup_of_a_quiet_ledger(get: Get, root: Path) -> tuple[int, bytes, dict[str, str]]:
    """Forecasts on the ledger's disk while a backup was made, during which none came in, and the backup."""
    for _ in range(40):
        taken = stored(get)
        saved, files = backup_of_a_moment(root)
        if taken and stored(get) == taken:
            return taken, saved, files
        time.sleep(0.5)
    raise AssertionError("forecasts came into the ledger during each of forty backups")


def accuracy(get: Get) -> dict:
    """How forecasts did, and what the ledger holds; empty while training does not answer."""
    try:
        reply = get(
            "/forecasts/accuracy", params={"model": "lightgbm", "days": 60 + time.monotonic_ns() % 300}
        )
    except httpx2.HTTPError:
        return {}
    return reply.json() if reply.status_code == 200 else {}


def stored(get: Get) -> int:
    """Forecasts on the ledger's disk once none waits for it; 0 before."""
    ledger = accuracy(get).get("ledger", {})
    return 0 if int(ledger.get("lag_entries", 0)) else int(ledger.get("stored_forecasts", 0))


def scored(get: Get) -> int:
    """Forecasts with a score."""
    return int(accuracy(get).get("ledger", {}).get("scored_forecasts", 0))


def facts(get: Get) -> dict[str, object]:
    """What only the three places know: candles, versions, what these forecast, and how forecasts did."""
    history = {coin: get(f"/coins/{coin}/history", params={"days": 45}).json()["candles"] for coin in COINS}
    forecasts = get("/forecasts", params={"ids": ",".join(COINS), "days": 9, "model": "lightgbm"}).json()
    same = ("id", "served_by", "version", "as_of", "points")
    return {
        "history": history,
        "forecasts": [{key: each[key] for key in same} for each in forecasts["forecasts"]],
        "versions": get("/models", params={"model": "lightgbm"}).json()["versions"],
        "audit": get("/models/audit", params={"model": "lightgbm"}).json()["entries"],
        "live": get("/forecasts/accuracy", params={"model": "lightgbm", "days": 60}).json()["live"],
    }


def but_for_rounding(value: object) -> object:
    """The same, whose figures equal what differs in the last digits: a forecast drawn beside others may."""
    if isinstance(value, dict):
        return {name: but_for_rounding(item) for name, item in value.items()}
    if isinstance(value, list):
        return [but_for_rounding(item) for item in value]
    return pytest.approx(value, rel=1e-12, abs=0.0) if isinstance(value, float) else value


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


@pytest.fixture
def get_scored(scored_stack: StackHandle) -> Iterator[Get]:
    with httpx2.Client(base_url=scored_stack.gateway_url, timeout=30, trust_env=False) as client:
        yield client.get


def test_a_new_system_is_restored_from_the_backup_only(
    scored_stack: StackHandle, get_scored: Get, tmp_path: Path
) -> None:
    # Both systems are to forecast from the same day, and the last one closes at 00:35 UTC.
    closing = lambda: time_of_day(0, 32) <= datetime.now(UTC).time() < time_of_day(0, 36)  # noqa: E731 - said where it is used
    wait_until("the day is not closed", lambda: not closing(), 300)
    wait_until("lightgbm does not serve", lambda: bool(served(get_scored)))
    wait_until("not all that is due was scored", lambda: scored(get_scored) >= REPLAYED_DAYS * len(COINS))

    def has_history(coin: str) -> bool:
        return get_scored(f"/coins/{coin}/history").is_success

    for coin in REFERENCE_COINS:
        wait_until(f"no history of {coin}", partial(has_history, coin))
    taken, saved, expected = backup_of_a_quiet_ledger(get_scored, scored_stack.stack.layout.state_dir)
    known = facts(get_scored)
    backup("verify", given=saved)
    for place in ("archive/sandbox/usd/", "artifacts/lightgbm/v000001/", "ledger/scored/", "ledger/waiting"):
        assert [name for name in expected if name.startswith(place)], f"nothing in {place} was backed up"

    options = StackOptions(tmp_path, train=(), extra_environment=NOTHING_ELSE)
    new = state_dir(options, Upstream.SANDBOX)
    backup("restore", "--root", str(new), given=saved)
    assert digests(new) == expected

    with (
        stack_for_tests(options, ready=False) as again,
        httpx2.Client(base_url=again.gateway_url, timeout=30, trust_env=False) as client,
    ):
        wait_until("the ledger is not counted", lambda: bool(accuracy(client.get)), 60)
        assert stored(client.get) == taken
        wait_until("no version serves", lambda: bool(served(client.get)), 60)
        assert facts(client.get) == but_for_rounding(known)


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
