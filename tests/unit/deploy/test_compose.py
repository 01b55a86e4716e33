"""The compose file and the images keep to their rules; what runs is proved by deploy/up-test."""

import json
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
LONG_LIVED = [name for name in SERVICES if name not in ("secrets", "backup", "upstream", "offline")]


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


def effective(*profiles: str) -> dict:
    """The services that `docker compose --profile ... up` starts, as compose itself sees them."""
    words = [word for profile in profiles for word in ("--profile", profile)]
    command = [
        tool("docker-compose"),
        *words,
        "-f",
        str(ROOT / "docker-compose.yml"),
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_the_profile_offline_alone_puts_the_sandbox_before_market_data():
    services = effective("offline")
    assert {"sandbox", "offline", "upstream", "market-data"} <= set(services)
    assert services["upstream"]["depends_on"]["offline"]["condition"] == "service_completed_successfully"
    assert services["market-data"]["depends_on"]["upstream"]["condition"] == "service_completed_successfully"
    assert services["market-data"]["depends_on"]["sandbox"]["condition"] == "service_healthy"
    # Files of `upstream` are read where the environment says nothing.
    assert not services["market-data"]["environment"].get("MARKET_UPSTREAM")
    assert not services["market-data"]["environment"].get("MARKET_UPSTREAM_URL")
    assert "/run/coincast/upstream" in services["market-data"]["environment"]["COINCAST_SECRETS_DIR"]


def test_without_a_profile_nothing_of_the_sandbox_starts():
    assert not {"sandbox", "offline", "alertmanager", "collector", "backup"} & set(effective())


def market_settings(folder: Path) -> dict[str, str]:
    code = f"from coincast_market_data.settings import Settings\ns = Settings(_secrets_dir={str(folder)!r})\n"
    code += "print(s.upstream, s.base_url)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MARKET_")} | {"MARKET_PLAN": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=True, env=environment,
    )  # fmt: skip
    return dict(zip(("upstream", "url"), done.stdout.split(), strict=True))


@pytest.mark.slow
def test_the_settled_upstream_is_what_market_data_reads(tmp_path):
    from deploy.compose.upstream import ask, settle

    live, offline = tmp_path / "live", tmp_path / "offline"
    live.mkdir()
    offline.mkdir()
    assert "CoinGecko" in settle(live)
    assert market_settings(live)["upstream"] == "coingecko"
    for _ in range(2):
        ask(offline)
        assert "sandbox" in settle(offline)
        assert market_settings(offline) == {"upstream": "sandbox", "url": "http://sandbox:8100/api/v3"}


def test_volumes_of_the_one_upstream_are_never_filled_from_the_other(tmp_path):
    from deploy.compose.upstream import ask, settle

    ask(tmp_path)
    settle(tmp_path)
    with pytest.raises(SystemExit, match="--profile offline up"):
        settle(tmp_path)
    assert (tmp_path / "market_upstream").read_text() == "sandbox"
    ask(tmp_path)
    assert "sandbox" in settle(tmp_path)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened_and_bounded(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"memory", "cpus", "pids"}


def test_as_many_replicas_share_the_plan_as_are_started():
    market = SERVICES["market-data"]
    assert market["deploy"]["replicas"] == market["environment"]["MARKET_REPLICAS"] == "${MARKET_REPLICAS:-1}"
    manifest = next(yaml.safe_load_all((ROOT / "deploy/kubernetes/base/market-data.yaml").read_text()))
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    reported = {row["name"]: row.get("value") for row in container["env"]}
    assert reported["MARKET_REPLICAS"] == str(manifest["spec"]["replicas"])


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
    reported = make(tmp_path)
    password = (tmp_path / "grafana/admin_password").read_text()
    assert any(password in line for line in reported)
    assert len(password) >= 16
    assert not any(password in line for line in make(tmp_path))
    assert (tmp_path / "grafana/admin_password").read_text() == password
    assert password not in (tmp_path / "redis/redis.conf").read_text()


STEPS = ("FROM", "ARG PYTHON", "RUN groupadd", "HEALTHCHECK --interval", "ENV PATH", "USER", "COPY --from")


def test_what_the_dockerfiles_repeat_is_the_same_everywhere():
    """Docker cannot include: each image has one whole file, and this holds the common lines together."""
    files = [file for file in DOCKERFILES if "deploy" not in file.parts]
    for step in STEPS:
        found = {
            line.split("&&")[0].strip()
            for file in files
            for line in file.read_text().splitlines()
            if line.startswith(step)
        }
        assert len(found) <= (2 if step == "FROM" else 1), f"{step}: {found}"


def test_no_image_carries_what_only_evaluation_compares_with():
    for name in ("gateway", "market-data", "forecast", "training", "training-lstm", "sandbox"):
        locked = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert not [peer for peer in ("statsforecast", "mlforecast", "numba") if f"\n{peer}==" in locked]
