"""The compose file and the images keep to their rules; what runs is proved by deploy/up-test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILES = sorted(
    [*ROOT.glob("*/Dockerfile"), *ROOT.glob("libs/*/Dockerfile"), *ROOT.glob("deploy/*/*Dockerfile")]
)
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
LONG_LIVED = [name for name in SERVICES if name not in ("secrets", "backup")]


def tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: make setup installs it")
    return found


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_hadolint_has_nothing_to_say(file):
    done = subprocess.run(
        [tool("hadolint"), str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "file", [f for f in DOCKERFILES if "deploy" not in f.parts], ids=lambda f: f.parent.name
)
def test_an_image_is_locked_rootless_and_checked(file):
    text = file.read_text()
    assert "--require-hashes" in text
    assert "USER 10001" in text
    assert "HEALTHCHECK" in text
    assert "org.opencontainers.image.revision" in text
    assert ":latest" not in text


@pytest.mark.parametrize("profile", ["offline", "alerting", "tracing", "tools"])
def test_compose_takes_it_with_every_profile(profile):
    command = [
        tool("docker-compose"),
        "-f",
        str(ROOT / "docker-compose.yml"),
        "--profile",
        profile,
        "config",
        "-q",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened_and_bounded(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"memory", "cpus", "pids"}


def test_only_gateway_and_grafana_are_published_and_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"gateway", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_nothing_but_market_data_and_alertmanager_gets_out():
    assert COMPOSE["networks"]["back"]["internal"]
    assert COMPOSE["networks"]["watch"]["internal"]
    out = {name for name, service in SERVICES.items() if "outward" in (service.get("networks") or [])}
    assert out == {"market-data", "alertmanager"}


def test_artifacts_are_written_by_training_alone():
    for name in LONG_LIVED:
        for volume in SERVICES[name].get("volumes", []):
            if volume.startswith("artifacts:"):
                assert volume.endswith(":ro") == (name != "training"), name


def test_no_password_stands_in_the_file():
    for name, service in SERVICES.items():
        for key, value in (service.get("environment") or {}).items():
            if any(word in key for word in ("PASSWORD", "SECRET", "TOKEN")) and not key.endswith("FILE"):
                assert key == "COINCAST_SECRETS_DIR", f"{name}: {key}={value}"


def test_secrets_are_made_once(tmp_path):
    from deploy.compose.make_secrets import make

    for folder in ("redis", "models", "grafana"):
        (tmp_path / folder).mkdir()
    told = make(tmp_path)
    password = (tmp_path / "grafana/admin_password").read_text()
    assert any(password in line for line in told)
    assert len(password) >= 16
    assert not any(password in line for line in make(tmp_path))
    assert (tmp_path / "grafana/admin_password").read_text() == password
    assert password not in (tmp_path / "redis/redis.conf").read_text()
