"""The health check of a container: exit code 0 only if the service serves."""

import pytest

from coincast_chassis.healthcheck import main
from coincast_chassis.observability import metrics
from coincast_chassis.observability.metrics import metrics_port
from tests.contract.chassis_toy import Toy, served


async def test_it_follows_the_service():
    with metrics_port("127.0.0.1", 0) as port:
        async with served(Toy(), not_serving_seconds=0):
            assert main(["serving", str(port)]) == 0
        assert metrics.SERVING._value.get() == 0
        assert main(["serving", str(port)]) == 1


def test_a_closed_port_is_unhealthy():
    assert main(["serving", "1"]) == 1
    assert main(["http", "1", "/health"]) == 1


def test_http_is_healthy_if_it_answers_200():
    with metrics_port("127.0.0.1", 0) as port:
        assert main(["http", str(port), "/metrics"]) == 0


@pytest.mark.parametrize("arguments", [[], ["serving"], ["serving", "x"], ["ftp", "1", "/"]])
def test_a_wrong_call_prints_the_usage(arguments, capsys):
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err
