"""The health check of a container tells a serving service from one that is not."""

import asyncio

import pytest

from coincast_chassis.metrics import metrics_port
from coincast_chassis.probe import main
from tests.contract.chassis_toy import Toy, served


async def test_a_serving_service_is_well():
    async with served(Toy(), not_serving_seconds=0) as address:
        assert await asyncio.to_thread(main, ["grpc", address]) == 0


def test_nobody_there_is_not_well():
    assert main(["grpc", "127.0.0.1:1"]) == 1
    assert main(["http", "http://127.0.0.1:1/health"]) == 1


def test_http_is_well_where_it_answers():
    with metrics_port("127.0.0.1", 0) as port:
        assert main(["http", f"http://127.0.0.1:{port}/metrics"]) == 0


@pytest.mark.parametrize("arguments", [[], ["grpc"], ["ftp", "x"]])
def test_a_wrong_call_is_told_how(arguments, capsys):
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err
