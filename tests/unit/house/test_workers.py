"""Tests of one file run in one worker, so that what they share is started once."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="WORKERS=0: there are no workers")
def test_the_id_of_a_test_names_its_group(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@tests/unit/house/test_workers.py")
