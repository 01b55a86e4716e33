"""Free ports are found, and a port that cannot be used is named."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from coincast_stack.errors import SetupError
from coincast_stack.processes.ports import CANDIDATES, ensure_free, free_port, free_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_free_ports_are_different_and_below_the_ephemeral_ones() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    assert set(found) <= set(CANDIDATES)
    assert free_port() in CANDIDATES


def test_a_port_in_use_is_not_found(taken: int) -> None:
    with pytest.raises(SetupError, match=f"no 1 free ports between {taken} and {taken}"):
        free_ports(1, range(taken, taken + 1))


def test_every_candidate_may_be_needed() -> None:
    free = free_port()
    assert free_ports(1, range(free, free + 1)) == [free]


def test_a_port_that_cannot_be_used_is_named(taken: int) -> None:
    with pytest.raises(SetupError, match=rf"port {taken} cannot be used \(.+\); set PORT= to a free one"):
        ensure_free(taken)
    with pytest.raises(SetupError, match="port 70000 is not a port"):
        ensure_free(70_000)
    ensure_free(free_port())
