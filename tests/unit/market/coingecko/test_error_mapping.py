"""Why CoinGecko cannot be had: causes, remedies, and refusals that are held."""

from __future__ import annotations

import re
import socket
import ssl

import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, NotFound, Timeout
from coincast_market_data.coingecko.error_mapping import (
    HOLD_SECONDS,
    PATH_CAUSES,
    PERMANENT,
    REMEDIES,
    BeyondPlanReach,
    Cause,
    UpstreamAvailability,
    UpstreamFailure,
    cause_of,
    cause_of_exception,
    error_from_reply,
)
from coincast_market_data.coingecko.resilient_client import worth_retrying
from coincast_market_data.ports import UpstreamRequest


def chained(inner: BaseException, text: str = "failed") -> Exception:
    error = OSError(text)
    error.__cause__ = inner
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (chained(socket.gaierror(-2, "x")), Cause.DNS),
        (OSError("[Errno -3] Temporary failure in name resolution"), Cause.DNS),
        (chained(ssl.SSLCertVerificationError("self-signed")), Cause.TLS),
        (OSError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), Cause.TLS),
        (chained(ConnectionRefusedError()), Cause.NO_ROUTE),
        (OSError("All connection attempts failed"), Cause.NO_ROUTE),
    ],
)
def test_a_failed_connection_names_its_cause(error: Exception, cause: Cause) -> None:
    assert cause_of_exception(error) is cause


def test_every_cause_has_a_remedy_in_the_message() -> None:
    for cause in Cause:
        assert UpstreamFailure(cause, "It failed.").message == f"It failed. {REMEDIES[cause]}"


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        *((status, InvalidInput, None) for status in (400, 405, 406, 410, 414, 422, 431)),
        (404, NotFound, None),
        (401, UpstreamFailure, Cause.INVALID_KEY),
        (403, UpstreamFailure, Cause.FORBIDDEN),
        (451, UpstreamFailure, Cause.FORBIDDEN),
        *((status, UpstreamFailure, Cause.SERVER_ERROR) for status in (408, 425, 500, 502, 503, 504, 522)),
        *((status, UpstreamFailure, Cause.NOT_COINGECKO) for status in (301, 302, 307)),
        (429, Exhausted, Cause.RATE_LIMITED),
    ],
)
def test_a_refusal_is_repeated_only_where_that_may_help(
    status: int, kind: type[CoincastError], cause: Cause | None
) -> None:
    error = error_from_reply(status, b"", {}, 0.0)
    assert type(error) is kind
    assert cause_of(error) is cause
    assert worth_retrying(error) is (cause is Cause.SERVER_ERROR)


@pytest.mark.parametrize("cause", sorted(PERMANENT))
def test_a_refusal_that_cannot_heal_is_held_for_an_hour(cause: Cause) -> None:
    clock = ManualClock()
    availability = UpstreamAvailability(clock)
    availability.check()
    availability.record_failure(UpstreamFailure(cause, "No."))
    clock.advance(HOLD_SECONDS - 10)
    with pytest.raises(UpstreamFailure) as caught:
        availability.check()
    assert caught.value.cause is cause
    assert caught.value.retry_after_seconds == pytest.approx(10)
    assert availability.state().permanent
    clock.advance(11)
    availability.check()


@pytest.mark.parametrize(
    "error",
    [UpstreamFailure(Cause.DNS, "No name."), Timeout("late"), Exhausted("slow down", retry_after_seconds=7)],
)
def test_what_may_heal_is_never_held(error: CoincastError) -> None:
    availability = UpstreamAvailability(ManualClock())
    availability.record_failure(error)
    availability.check()
    assert not availability.state().permanent
    sentence = availability.state().sentence
    assert sentence.startswith(error.message)
    assert sentence.endswith(REMEDIES[Cause(availability.state().cause or "")])


def refusals() -> list[CoincastError]:
    return [UpstreamFailure(cause, "No.") for cause in sorted(PATH_CAUSES)]


@pytest.mark.parametrize("error", refusals(), ids=str)
def test_a_refusal_of_one_path_is_held_for_that_request_alone(error: UpstreamFailure) -> None:
    clock = ManualClock()
    availability = UpstreamAvailability(clock)
    availability.record_success()
    account = UpstreamRequest("key")
    availability.record_failure(error, account)
    availability.check(UpstreamRequest("simple/price"))
    assert availability.state().available
    with pytest.raises(UpstreamFailure, match=re.escape(error.message)) as caught:
        availability.check(account)
    assert caught.value is not error
    assert caught.value.cause is error.cause
    clock.advance(HOLD_SECONDS + 1)
    availability.check(account)


def test_another_plan_may_include_what_was_refused() -> None:
    availability = UpstreamAvailability(ManualClock())
    request = UpstreamRequest("coins/list", (("status", "inactive"),))
    availability.hold_request(request, BeyondPlanReach("not in your plan", field="status"))
    with pytest.raises(BeyondPlanReach, match="not in your plan") as caught:
        availability.check(request)
    assert caught.value.field == "status"
    availability.forget_requests()
    availability.check(request)


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("path", ["simple/price", "coins/bitcoin/market_chart"])
def test_a_refusal_of_what_every_plan_gives_is_held_for_all(path: str, *, answered: bool) -> None:
    availability = UpstreamAvailability(ManualClock())
    if answered:
        availability.record_success()
    availability.record_failure(UpstreamFailure(Cause.INVALID_KEY, "No."), UpstreamRequest(path))
    for_all = path == "simple/price" or not answered
    assert availability.state().permanent is for_all
    if for_all:
        with pytest.raises(UpstreamFailure):
            availability.check(UpstreamRequest("ping"))


def test_an_answer_shows_that_coingecko_can_be_had() -> None:
    clock = ManualClock()
    availability = UpstreamAvailability(clock)
    assert not availability.state().tried
    availability.record_failure(Timeout("late"))
    since = availability.state().since
    clock.advance(5)
    availability.record_failure(Timeout("late again"))
    assert availability.state().since == since, "since the first failure of this kind"
    availability.record_failure(NotFound("no such coin"))
    state = availability.state()
    assert (state.available, state.cause, state.since) == (True, None, since + 5)
    assert availability.failure() is None
