"""Prometheus's own tool on our configuration: sound, and every alert fires and is silent as it must."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool")
pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here: apt-get install prometheus"),
]


def promtool(*arguments: str) -> str:
    """Run the tool and return its output; it must not fail."""
    assert PROMTOOL is not None
    # A run of seconds needs no garbage collection, which took a third of its processor time.
    done = subprocess.run(
        [PROMTOOL, *arguments],
        cwd=FOLDER,
        env=os.environ | {"GOGC": "off"},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_is_sound():
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "prometheus.yml")


def test_the_rules_are_sound():
    files = sorted(FOLDER.glob("rules/*.yml"))
    assert promtool("check", "rules", *map(str, files)).count("SUCCESS") == len(files) > 0


@pytest.mark.parametrize("file", sorted(FOLDER.glob("tests/*_test.yml")), ids=lambda file: file.stem)
def test_every_alert_fires_and_is_silent(file):
    assert "SUCCESS" in promtool("test", "rules", str(file))
