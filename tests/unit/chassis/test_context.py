"""What travels with a request."""

import pytest

from coincast_chassis import context


def test_nothing_is_bound_outside_of_a_request():
    assert (context.request_id(), context.trace_id(), context.remaining_seconds()) == ("", "", None)


def test_a_block_binds_and_restores():
    with context.bind(request_id="a", deadline_seconds=5):
        with context.bind(trace_id="t"):
            assert (context.request_id(), context.trace_id()) == ("a", "t")
        assert context.trace_id() == ""
    assert context.request_id() == ""


def test_an_inner_deadline_cannot_outlive_the_outer_one():
    with context.bind(deadline_seconds=1), context.bind(deadline_seconds=60):
        remaining = context.remaining_seconds()
    assert remaining is not None
    assert remaining <= 1


def test_a_detached_context_keeps_the_id_and_loses_the_deadline():
    with context.bind(request_id="a", deadline_seconds=1):
        detached = context.detached()
    assert detached.run(context.request_id) == "a"
    assert detached.run(context.remaining_seconds) is None


@pytest.mark.parametrize("text", [None, "", "a\nb", "a b", "x" * 129, 'a"b'])
def test_an_id_from_outside_cannot_forge_a_line(text):
    assert context.safe_id(text) == ""


def test_a_sound_id_from_outside_is_kept():
    assert context.safe_id("req-1.2:3_X") == "req-1.2:3_X"


@pytest.mark.parametrize(
    "header", [None, "", "00-abc-def-01", "00-" + "0" * 32 + "-1-01", "00-" + "G" * 32 + "-1-01"]
)
def test_a_malformed_traceparent_is_no_trace(header):
    assert context.parse_traceparent(header) == ""


def test_a_traceparent_gives_its_trace():
    assert context.parse_traceparent("00-" + "a1" * 16 + "-00f067aa0ba902b7-01") == "a1" * 16
