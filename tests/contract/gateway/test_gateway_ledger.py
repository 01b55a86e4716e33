"""Forecasts as they were served, over REST."""

from __future__ import annotations

import pytest

from coincast.training.v1 import training_pb2 as tr
from tests.contract.gateway.fakes import client_of, world


async def test_entries_come_with_their_outcomes_and_the_filters_are_passed_on() -> None:
    span = "from=2026-01-01&to=2026-02-01&horizon=7&limit=2"
    query = f"/forecasts/ledger?ids=bitcoin,Bad%2FId&model=ensemble&{span}"
    async with (
        world() as there,
        client_of(there) as client,
    ):
        document = (await client.get(query)).json()
        request = there.training.script.requested(tr.StreamForecastLogRequest)
    assert [entry["outcome"] for entry in document["forecasts"]] == [36_500.0, 36_500.0]
    assert document["truncated"] is True
    assert len(document["errors"]) == 1
    assert (list(request.ids), request.model, request.horizon_days) == (["bitcoin"], "ml_ensemble", 7)
    assert (request.from_date, request.to_date) == ("2026-01-01", "2026-02-01")


async def test_csv_has_a_row_for_each_entry() -> None:
    async with (
        world() as there,
        client_of(there) as client,
    ):
        reply = await client.get("/forecasts/ledger", headers={"accept": "text/csv"})
    assert reply.headers["content-type"].startswith("text/csv")
    assert len(reply.text.strip().splitlines()) == 5, "a comment, the names, three forecasts"


async def test_a_horizon_in_hours_takes_the_place_of_one_in_days() -> None:
    async with (
        world() as there,
        client_of(there) as client,
    ):
        reply = await client.get("/forecasts/ledger?ids=bitcoin&model=intraday&horizon=7&hours=6")
        request = there.training.script.requested(tr.StreamForecastLogRequest)
    assert reply.status_code == 200
    assert (request.model, request.horizon_days, request.horizon_hours) == ("intraday", 0, 6)


BAD_FILTERS = ["limit=0", "horizon=31", "hours=49", "hours=-1", "hours=x", "from=2026-13-01", "model=none"]


@pytest.mark.parametrize("bad", BAD_FILTERS)
async def test_bad_filter_is_refused(bad: str) -> None:
    async with (
        world() as there,
        client_of(there) as client,
    ):
        reply = await client.get(f"/forecasts/ledger?{bad}")
    assert reply.status_code == 422
    assert reply.json()["field"] == bad.partition("=")[0]
