"""What the up-test judges by: each fault that it must see, it sees; the run itself needs a Docker engine."""

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deploy.backup import create
from deploy.compose.make_secrets import make

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "up-test"


def load(name: str) -> ModuleType:
    """A module of the up-test, which is run as a script and is no package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checks = load("checks")


def container(**changed: object) -> dict:
    """What `docker inspect` says of a container that is as it must be."""
    reported: dict[str, Any] = {
        "RestartCount": 0,
        "State": {"Running": True, "Health": {"Status": "healthy"}},
        "Config": {"User": "10001:10001", "Labels": {"com.docker.compose.service": "gateway"}},
        "NetworkSettings": {
            "Ports": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18000"}], "9100/tcp": None}
        },
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapAdd": None,
            "CapDrop": ["ALL"],
            "Privileged": False,
            "NetworkMode": "coincast-up-test_front",
            "Memory": 805306368,
            "NanoCpus": 1500000000,
            "PidsLimit": 256,
            "SecurityOpt": ["no-new-privileges:true"],
            "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18000"}]},
        },
    }
    for path, value in changed.items():
        part, key = path.split("__")
        reported[part][key] = value
    return reported


def test_a_container_as_it_must_be_has_no_fault():
    assert checks.faults(container()) == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"Config__User": ""}, "root user"),
        ({"Config__User": "0:0"}, "root user"),
        ({"HostConfig__ReadonlyRootfs": False}, "writable root"),
        ({"HostConfig__CapDrop": None}, "capabilities"),
        ({"HostConfig__CapAdd": ["NET_ADMIN"]}, "capabilities"),
        ({"HostConfig__Privileged": True}, "privileged"),
        ({"HostConfig__NetworkMode": "host"}, "the host's network"),
        ({"HostConfig__Memory": 0}, "no memory limit"),
        ({"HostConfig__NanoCpus": 0}, "no CPU limit"),
        ({"HostConfig__PidsLimit": None}, "no pids limit"),
        ({"HostConfig__PidsLimit": -1}, "no pids limit"),
        ({"HostConfig__SecurityOpt": None}, "new privileges"),
    ],
)
def test_each_gap_in_the_hardening_is_named(changed, fault):
    assert checks.faults(container(**changed)) == [fault]


def test_what_is_published_is_reported_with_its_address():
    assert checks.published(container()) == {("gateway", "127.0.0.1", "18000")}
    everywhere = {"50052/tcp": [{"HostIp": "0.0.0.0", "HostPort": "50052"}]}
    assert ("gateway", "0.0.0.0", "50052") in checks.published(container(HostConfig__PortBindings=everywhere))
    assert ("gateway", "0.0.0.0", "50052") in checks.published(container(NetworkSettings__Ports=everywhere))
    assert checks.published(container(HostConfig__PortBindings={}, NetworkSettings__Ports=None)) == set()


METRICS = """# HELP coincast_grpc_server_calls_total gRPC calls answered, by method and status.
coincast_grpc_server_calls_total{code="OK",grpc_service="ForecastService",method="GetForecasts"} 5.0
coincast_grpc_server_calls_total{code="NOT_FOUND",grpc_service="ForecastService",method="GetForecasts"} 2.0
coincast_grpc_server_calls_total{code="OK",grpc_service="ForecastService",method="GetStatus"} 100.0
coincast_grpc_server_calls_created{code="OK",grpc_service="ForecastService",method="GetForecasts"} 1.7e+09
"""


def test_only_calls_for_forecasts_are_traffic():
    assert checks.calls(METRICS, "GetForecasts") == 7
    assert checks.calls(METRICS.replace("GetForecasts", "Check"), "GetForecasts") == 0


def test_the_password_that_is_made_is_the_one_that_is_reported(tmp_path):
    for folder in ("redis", "models", "grafana"):
        (tmp_path / folder).mkdir()
    log = "\n".join(f"secrets-1  | {line}" for line in make(tmp_path))
    assert checks.printed_passwords(log) == [(tmp_path / "grafana/admin_password").read_text()]
    assert checks.printed_passwords("\n".join(make(tmp_path))) == []


def test_a_container_came_back_only_where_the_engine_has_started_it_and_it_is_well():
    back = container() | {"RestartCount": 3}
    assert checks.came_back(back, 2)
    assert not checks.came_back(back, 3)
    assert not checks.came_back(back | {"State": {"Running": False}}, 2)
    assert not checks.came_back(back | {"State": {"Running": True, "Health": {"Status": "starting"}}}, 2)
    assert checks.came_back(back | {"State": {"Running": True}}, 2)


def test_a_backup_without_one_of_the_places_is_found_out(tmp_path):
    files = {
        "archive/sandbox/usd/bitcoin.parquet": "candles",
        "artifacts/lightgbm/v000001/manifest.json": "lightgbm v000001",
        "artifacts/lightgbm/aliases.json": "aliases of lightgbm",
        "ledger/waiting.parquet": "ledger",
    }
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    out = io.BytesIO()
    create(tmp_path, out)
    held = checks.contents(out.getvalue())
    assert set(held) == set(files)
    assert checks.missing_places(held, "v000001") == []
    assert checks.missing_places(held, "v000002") == ["lightgbm v000002"]
    for name, what in files.items():
        assert checks.missing_places({k: v for k, v in held.items() if k != name}, "v000001") == [what]


def test_it_runs_with_the_standard_library_alone():
    command = [sys.executable, "-S", "-E", str(FOLDER / "up_test.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "--engine" in done.stdout) == (0, True), done.stderr


class FakeDocker:
    """An engine with one container per service, whose process ends with `code` and is or is not restarted."""

    def __init__(self, code: int, *, restarts: bool) -> None:
        self.environment = {"PORT": "1"}
        self.kills = 0
        self._code, self._restarts, self._count = code, restarts, 4

    def compose(self, *_: str) -> str:
        return "container-1\n"

    def run(self, verb: str, *_: str) -> str:
        assert verb == "inspect", "nothing but the engine's own restart may bring it back"
        return json.dumps([container() | {"RestartCount": self._count}])

    def code(self, *_: str) -> int:
        self.kills += 1
        self._count += self._restarts
        return self._code


@pytest.fixture
def survives(monkeypatch):
    """The step that kills each container, on a fake engine; asks once where the real one waits."""
    monkeypatch.syspath_prepend(str(FOLDER))
    module = load("up_test")

    def once(what, check, seconds):
        if not check():
            raise module.Failed(what)

    monkeypatch.setattr(module, "wait_for", once)
    monkeypatch.setattr(module.UpTest, "all_answer", lambda _: True)
    return lambda docker: module.UpTest(docker, host_network_build=False).survives()


@pytest.mark.parametrize("code", [0, 137])
def test_a_killed_container_that_the_engine_restarts_has_survived(survives, code):
    docker = FakeDocker(code, restarts=True)
    survives(docker)
    assert docker.kills == len(load("up_test").KILLED)


@pytest.mark.parametrize(
    ("code", "why"), [(0, "restarted"), (3, "no process"), (126, "no shell"), (127, "no shell")]
)
def test_without_proof_of_its_recovery_the_kill_fails(survives, code, why):
    with pytest.raises(Exception, match=why) as failure:
        survives(FakeDocker(code, restarts=False))
    assert type(failure.value).__name__ == "Failed"
