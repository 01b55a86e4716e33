"""Image tags: docker-compose.yml is the one place, others agree with it, and none has a known hole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TAGS = dict(re.findall(r"\$\{([A-Z]+)_IMAGE:-([^}]+)\}", (ROOT / "docker-compose.yml").read_text()))
# The oldest release of each line without CVE-2025-49844, which lets a script leave Redis's sandbox.
REDIS_WITHOUT_CVE_2025_49844 = {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}


def test_every_image_has_an_exact_tag() -> None:
    assert set(TAGS) == {"REDIS", "PROMETHEUS", "GRAFANA", "ALERTMANAGER", "COLLECTOR"}
    assert [tag for tag in TAGS.values() if not re.search(r":v?\d+\.\d+\.\d+", tag)] == []


def test_redis_has_no_known_hole() -> None:
    major, minor, patch = map(int, re.findall(r"\d+", TAGS["REDIS"])[:3])
    assert (major, minor) > (8, 2) or patch >= REDIS_WITHOUT_CVE_2025_49844[major, minor]


def test_kubernetes_runs_the_same_redis() -> None:
    text = (ROOT / "deploy/kubernetes/base/kustomization.yaml").read_text()
    assert f"newTag: {TAGS['REDIS'].split(':')[1]}}}" in text


@pytest.mark.parametrize(
    "file",
    [
        *ROOT.glob("*/Dockerfile"),
        ROOT / "libs/sandbox/Dockerfile",
        ROOT / "deploy/up-test/stand-ins.Dockerfile",
    ],
)
def test_all_images_are_built_on_the_same_python(file: Path) -> None:
    first = (ROOT / "gateway/Dockerfile").read_text()
    base = re.search(r"^ARG PYTHON_IMAGE=(.+)$", first, re.MULTILINE)
    assert base is not None
    assert f"ARG PYTHON_IMAGE={base[1]}\n" in file.read_text()
