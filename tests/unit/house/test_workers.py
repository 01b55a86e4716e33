"""Tests that share something slow to make run in one worker, so that it is made once."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.conftest import REPOSITORY, group_of


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="WORKERS=0: there are no workers")
def test_the_id_of_a_test_names_its_group(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@tests/unit/house")


@pytest.mark.parametrize(
    ("path", "marked", "fixtures", "group"),
    [
        ("tests/unit/gateway/test_server.py", None, (), "tests/unit/gateway/test_server.py"),
        ("tests/unit/gateway/test_server.py", "tensorflow", (), "tensorflow"),
        ("tests/unit/house/test_docs.py", None, (), "tests/unit/house"),
        ("tests/e2e/test_e2e_risk.py", None, ("stack", "tmp_path"), "e2e-stack"),
        ("tests/integration/test_x.py", None, ("stack",), "tests/integration/test_x.py"),
    ],
)
def test_the_group_is_what_the_test_shares(
    path: str, marked: str | None, fixtures: tuple[str, ...], group: str
) -> None:
    marks = {"xdist_group": pytest.mark.xdist_group(marked).mark} if marked else {}
    item = SimpleNamespace(path=Path(REPOSITORY / path), fixturenames=fixtures, get_closest_marker=marks.get)
    assert group_of(cast("pytest.Item", item)) == group
