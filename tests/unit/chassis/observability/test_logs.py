"""One format for all that a process logs, with the request's ids on every line."""

import asyncio
import logging
from typing import Any

import orjson
import pytest

from coincast_chassis import context
from coincast_chassis.observability.logs import configure_logs, get_logger


@pytest.fixture(autouse=True)
def root_logger():
    """Gives the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_json_with_service_level_time_and_ids(capsys):
    configure_logs("toy")
    with context.bind(request_id="r1", trace_id="t1"):
        get_logger("a").info("it happened", coin="bitcoin")
        logging.getLogger("b").warning("by the library: %s", "x")
    own, foreign = lines(capsys)
    assert own["event"] == "it happened"
    assert (own["service"], own["level"], own["coin"]) == ("toy", "info", "bitcoin")
    assert own["timestamp"].endswith("Z")
    assert foreign["event"] == "by the library: x"
    assert {line["request_id"] for line in (own, foreign)} == {"r1"}
    assert {line["trace_id"] for line in (own, foreign)} == {"t1"}


def test_an_error_is_one_line_without_local_variables(capsys):
    configure_logs("toy")
    secret = "SES" + "AME"
    error = ValueError(f"https://x?x_cg_demo_api_key={secret}")
    get_logger("a").error("failed", exc_info=error)
    (line,) = lines(capsys)
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert secret not in str(line)


def test_what_is_below_the_level_is_not_written(capsys):
    configure_logs("toy", level="warning")
    get_logger("a").info("quiet")
    assert lines(capsys) == []


def test_for_a_person_it_is_text(capsys):
    configure_logs("toy", format="console")
    get_logger("a").info("it happened")
    out = capsys.readouterr().out
    assert "it happened" in out
    assert not out.startswith("{")


def test_a_tap_sees_the_event(capsys):
    seen: list[dict[str, Any]] = []

    def tap(_logger: object, _method: str, event: Any) -> Any:
        seen.append(dict(event))
        return event

    configure_logs("toy", taps=[tap])
    get_logger("a").error("failed", code=7)
    assert (seen[0]["event"], seen[0]["code"]) == ("failed", 7)


def test_a_call_that_grpc_cancelled_before_it_began_is_no_error(capsys):
    configure_logs("toy")
    for error in (asyncio.CancelledError(), ValueError("a real one")):
        logging.getLogger("grpc._cython.cygrpc").error("not handled in [/Health/Watch]", exc_info=error)
    (line,) = lines(capsys)
    assert line["exception"][0]["exc_value"] == "a real one"
