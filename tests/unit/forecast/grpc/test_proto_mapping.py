"""Bounds of requests, and ages that do not depend on the wall clock."""

from __future__ import annotations

import datetime as dt

import pytest

from coincast.common.v1 import common_pb2
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import InvalidInput
from coincast_forecast.grpc import proto_mapping
from coincast_forecast.grpc.proto_mapping import provenance_message, provenance_of, query_of, timestamp


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["bitcoin"] * 300, ("bitcoin",)),
        (["Bitcoin", " bitcoin ", "BITCOIN"], ("bitcoin",)),
        ([f"c{i}" for i in range(250)], tuple(f"c{i}" for i in range(250))),
    ],
)
def test_duplicates_count_once(ids: list[str], expected: tuple[str, ...]) -> None:
    assert query_of(pb.GetForecastsRequest(ids=ids)).ids == expected


@pytest.mark.parametrize("ids", [["bitcoin"] * 1001, [f"c{i}" for i in range(251)], ["x" * 201], [""], []])
def test_too_many_or_bad_ids_are_refused(ids: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        query_of(pb.GetForecastsRequest(ids=ids))
    assert caught.value.field == "ids"


@pytest.mark.parametrize("jump", [-3 * 86_400.0, -40.0, 0.0, 40.0, 3 * 86_400.0])
def test_a_wall_clock_that_jumps_changes_no_age(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(1_756_700_000.0)
    monkeypatch.setattr(proto_mapping, "steady_clock", lambda: clock)
    as_of = dt.datetime(2025, 8, 31, tzinfo=dt.UTC)
    message = common_pb2.Provenance(as_of=timestamp(as_of), age_seconds=100.0)
    provenance = provenance_of(message)
    clock.advance(60)
    wall = type(
        "Jumped", (), {"now": lambda _: clock.now() + jump, "monotonic": lambda _: clock.monotonic()}
    )()
    assert provenance_message(as_of, provenance, wall).age_seconds == pytest.approx(160.0)
