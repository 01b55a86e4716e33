"""The probe's protocol: a library that prints, a process that dies or answers nonsense."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coincast_forecast.registry.probe_client import ProbeClient, RefusalCause, VersionRefused
from coincast_forecast.registry.verification import VersionRequest

WANTED = VersionRequest(Path("artifacts"), "lightgbm", "v000001")
PRELUDE = "import os, sys; answers = os.fdopen(int(sys.argv[1]), 'w'); line = sys.stdin.readline(); "
ANSWER = """answers.write('{"ok": true, "fingerprint": "f00d"}\\n'); answers.flush(); sys.stdin.read()"""


def command(source: str) -> tuple[str, ...]:
    return (sys.executable, "-c", PRELUDE + source)


@pytest.mark.parametrize(
    "noise",
    [
        "print('[LightGBM] [Warning] something'); ",
        "os.write(1, b'{\"ok\": false}\\n' * 1000); ",
        "print('x' * 100_000, flush=True); ",
    ],
)
async def test_what_a_library_prints_is_no_answer(noise: str) -> None:
    async with ProbeClient(30, command(noise + ANSWER)) as probe:
        assert await probe.load(WANTED) == "f00d"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("os.kill(os.getpid(), 11)", RefusalCause.CRASHED),
        ("sys.exit(3)", RefusalCause.CRASHED),
        ("answers.write('nonsense\\n'); answers.flush(); sys.stdin.read()", RefusalCause.FAILED),
        ("answers.write('[]\\n'); answers.flush(); sys.stdin.read()", RefusalCause.FAILED),
        ("import time; time.sleep(60)", RefusalCause.TIMED_OUT),
    ],
)
async def test_a_process_that_fails_is_a_refusal(source: str, cause: RefusalCause) -> None:
    async with ProbeClient(3, command(source)) as probe:
        with pytest.raises(VersionRefused) as caught:
            await probe.load(WANTED)
    assert caught.value.cause is cause


async def test_the_real_probe_answers_although_something_prints_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('a library says hello')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with ProbeClient(60) as probe:
        with pytest.raises(VersionRefused) as caught:
            await probe.load(VersionRequest(tmp_path, "lightgbm", "v000001"))
    assert caught.value.cause is RefusalCause.MISSING
