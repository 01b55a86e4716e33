"""The wheels alone: installed in a clean environment, they start the whole system and forecast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.release, pytest.mark.timeout(1800)]
# Ten times what each takes on an idle machine.
BUILD_SECONDS, INSTALL_SECONDS, START_SECONDS, DEMO_SECONDS = 600, 300, 240, 300
IMAGES = ("gateway", "market-data", "forecast", "training", "sandbox")


def clean_environment(**more: str) -> dict[str, str]:
    """Return an environment in which nothing points to the repository."""
    passed = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "TMPDIR"}}
    return {**passed, "PATH": "/usr/bin:/bin", **more}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the wheels, built as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("wheels") / "dist"
    subprocess.run(
        ["make", "dist", f"DIST={folder}"],
        cwd=REPOSITORY,
        check=True,
        timeout=BUILD_SECONDS,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of a clean environment in which the wheels are installed."""
    home = tmp_path_factory.mktemp("clean")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True, timeout=60
    )
    programs = home / "venv" / "bin"
    (wheel,) = dist.glob("coincast-[0-9]*.whl")
    install = [
        str(Path(sys.executable).with_name("uv")), "pip", "install", "--python", str(programs / "python"),
        "--constraint", str(REPOSITORY / "requirements/run.txt"), "--find-links", str(dist), str(wheel),
    ]  # fmt: skip
    # From uv's cache where it has all; else by name from the registry.
    offline = subprocess.run([*install, "--offline"], cwd=home, timeout=INSTALL_SECONDS, check=False)
    if offline.returncode:
        subprocess.run(install, cwd=home, timeout=INSTALL_SECONDS, check=True)
    return programs


@pytest.fixture
def running(installed: Path, tmp_path: Path) -> Iterator[str]:
    """Run `coincast up` in an empty folder; yield the address of its gateway."""
    command = [str(installed / "coincast"), "up", "--upstream", "sandbox", "--port", "0"]
    environment = clean_environment(TRAINING_BOOTSTRAP="false")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield address_of(process, tmp_path)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in {0, 130}, (tmp_path / "log").read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


def address_of(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait until the system is ready; return the address of its gateway."""
    state, until = folder / "var" / "running.json", time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, (folder / "log").read_text()
        if state.exists():
            url = str(json.loads(state.read_text())["gateway_url"])
            try:
                if httpx2.get(f"{url}/health/ready", timeout=5, trust_env=False).status_code == 200:
                    return url
            except httpx2.HTTPError:
                pass
        time.sleep(0.5)
    raise AssertionError((folder / "log").read_text())


def test_each_package_has_a_wheel_of_the_one_version(dist: Path) -> None:
    version = subprocess.run(
        [sys.executable, str(REPOSITORY / "deploy/version.py")], capture_output=True, text=True, check=True
    ).stdout.strip()
    wheels = sorted(path.name.split("-")[:2] for path in dist.glob("*.whl"))
    assert {found for _, found in wheels} == {version}
    names = {name for name, _ in wheels}
    assert {"coincast", "coincast_client", "coincast_gateway", "coincast_stack", "coincast_training"} <= names
    folders = [*REPOSITORY.glob("*/pyproject.toml"), *REPOSITORY.glob("*/*/pyproject.toml")]
    stated = [path for path in folders if '\nname = "coincast' in path.read_text()]
    assert len(names) == len(stated)


def test_every_image_has_a_bill_of_materials(dist: Path) -> None:
    for image in (*IMAGES, "coincast"):
        document = json.loads((dist / "sbom" / f"{image}.cdx.json").read_text())
        assert document["bomFormat"] == "CycloneDX"
        assert all(part["version"] for part in document["components"])
        assert "grpcio" in {part["name"] for part in document["components"]} or image == "sandbox"


def test_no_wheel_names_the_repository(dist: Path) -> None:
    for wheel in dist.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                assert str(REPOSITORY).encode() not in packed.read(name), f"{wheel.name}: {name}"


def test_up_starts_the_whole_system(installed: Path, running: str) -> None:
    where = subprocess.run(
        [str(installed / "python"), "-c", "import coincast_gateway; print(coincast_gateway.__file__)"],
        capture_output=True, text=True, check=True, env=clean_environment(), cwd="/",
    ).stdout  # fmt: skip
    assert str(installed.parent) in where
    with httpx2.Client(base_url=running, timeout=30, trust_env=False) as client:
        (price,) = client.get("/prices?ids=bitcoin").json()["prices"]
        assert price["price"] > 0
        reply = client.get("/forecasts?ids=bitcoin&days=3&model=technical")
        assert len(reply.json()["forecasts"][0]["points"]) == 3, reply.text
        assert client.get("/export/histories?ids=bitcoin&days=5").content[:4] == b"PAR1"
    shown = subprocess.run(
        [str(installed / "coincast"), "prices", "bitcoin", "--json", "--url", running],
        capture_output=True, text=True, check=True, timeout=60, env=clean_environment(),
    )  # fmt: skip
    assert json.loads(shown.stdout)["prices"][0]["id"] == "bitcoin"


def test_demo_forecasts(installed: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        [str(installed / "coincast"), "demo", "--upstream", "sandbox", "--days", "2"],
        capture_output=True, text=True, check=False, timeout=DEMO_SECONDS,
        cwd=tmp_path, env=clean_environment(),
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr[-3000:]
    # Progress comes first; the forecast is the last line.
    document = json.loads(shown.stdout.strip().splitlines()[-1])
    (forecast,) = document["forecasts"]
    assert (forecast["id"], len(forecast["points"])) == ("bitcoin", 2)
    assert forecast["served_by"] == "lightgbm"
