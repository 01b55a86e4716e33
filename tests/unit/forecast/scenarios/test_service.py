"""Joint scenarios over gRPC: marginals, dependence, refusals, bounds and fallbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coincast.common.v1 import common_pb2
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceStub
from coincast_chassis.errors import InvalidInput, NotFound, NotReady
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.run import serve
from coincast_forecast.app import FULL_NAME, build
from coincast_forecast.settings import Settings
from coincast_modelkit.ledger import RISK_STREAM_KEY, stream_key_of
from coincast_modelkit.scenarios.live_record import (
    LIVE_RISK_FILE,
    NOT_SCORED,
    LiveRiskRecord,
    LiveRiskTable,
    tenth_of,
)
from coincast_modelkit.scenarios.statements import LossStatement, TouchStatement, read_statement
from tests.unit.forecast.forecast_fakes import LAST_DAY, FakeMarket, market_server, walk

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub

NAN, INF = float("nan"), float("inf")


@pytest.fixture
async def market() -> AsyncIterator[FakeMarket]:
    market = FakeMarket()
    market.coins["newborn"] = walk("newborn", days=119)
    yield market


@pytest.fixture
async def stub(market: FakeMarket, tmp_path: Path) -> AsyncIterator[ForecastServiceAsyncStub]:
    async with market_server(market) as target:
        settings = Settings(
            port=0,
            metrics_port=0,
            market_target=target,
            artifacts_dir=tmp_path / "artifacts",
            spool_dir=tmp_path / "spool",
            redis_url="redis://127.0.0.1:1/0",
            day_check_seconds=0.1,
            not_serving_seconds=0,
            watch_seconds=0.1,
        )
        async with (
            serve("forecast", settings, build) as address,
            open_channel(address, service=FULL_NAME) as channel,
        ):
            yield ForecastServiceStub(channel)


async def simulate(
    stub: ForecastServiceAsyncStub, request: pb.SimulatePathsRequest
) -> tuple[pb.SimulatePathsResponse, dict[str, pb.CoinPaths]]:
    first, *rest = [message async for message in stub.SimulatePaths(request)]
    return first, {message.coin.id: message.coin for message in rest}


def array(coin: pb.CoinPaths, name: str) -> np.ndarray:
    return np.array(getattr(coin, name)).reshape(coin.paths, coin.days)


async def test_paths_have_the_marginals_of_the_forecast(stub: ForecastServiceAsyncStub) -> None:
    basis, coins = await simulate(
        stub, pb.SimulatePathsRequest(ids=["bitcoin", "dogecoin"], days=7, model="technical")
    )
    reply = await stub.GetForecasts(
        pb.GetForecastsRequest(
            ids=["bitcoin", "dogecoin"], days=7, model="technical", quantile_probabilities=[0.1, 0.5, 0.9]
        )
    )
    assert list(coins) == ["bitcoin", "dogecoin"]
    for forecast in reply.forecasts:
        closes = array(coins[forecast.id], "closes")
        for day, point in enumerate(forecast.points):
            expected = [quantile.price for quantile in point.quantiles]
            found = np.quantile(closes[:, day], [0.1, 0.5, 0.9], method="hazen")
            assert found == pytest.approx(expected, rel=1e-3)
    assert basis.basis.scenarios == len(array(coins["bitcoin"], "closes"))


async def test_highs_and_lows_hold_the_closes_of_both_days(stub: ForecastServiceAsyncStub) -> None:
    _, coins = await simulate(stub, pb.SimulatePathsRequest(ids=["bitcoin"], days=14))
    closes, highs, lows = (array(coins["bitcoin"], name) for name in ("closes", "highs", "lows"))
    before = np.column_stack([np.full(len(closes), coins["bitcoin"].last_price), closes[:, :-1]])
    assert (highs >= np.maximum(before, closes) * (1 - 1e-12)).all()
    assert (lows <= np.minimum(before, closes) * (1 + 1e-12)).all()


async def test_no_origin_lies_within_the_longest_path_of_the_forecast(stub: ForecastServiceAsyncStub) -> None:
    basis, coins = await simulate(stub, pb.SimulatePathsRequest(ids=["bitcoin"], paths=100))
    latest = np.datetime64(LAST_DAY) - np.timedelta64(14, "D")
    assert max(np.array(coins["bitcoin"].origin_dates, dtype="datetime64[D]")) <= latest
    assert np.datetime64(basis.basis.last_origin_date) <= latest
    assert (coins["bitcoin"].paths, coins["bitcoin"].days) == (100, 7)


async def test_without_a_library_the_answer_says_so(stub: ForecastServiceAsyncStub) -> None:
    basis, _ = await simulate(stub, pb.SimulatePathsRequest(ids=["bitcoin"], model="technical"))
    assert basis.basis.degraded
    assert "no scenario library" in basis.basis.reason
    assert basis.basis.served_by == "technical"


async def test_coins_that_cannot_be_simulated_are_named(stub: ForecastServiceAsyncStub) -> None:
    first, coins = await simulate(stub, pb.SimulatePathsRequest(ids=["bitcoin", "newborn", "nothing"]))
    assert list(coins) == ["bitcoin"]
    young, unknown = first.errors
    assert (young.id, young.kind) == ("newborn", common_pb2.ERROR_KIND_NOT_READY)
    assert "119 closed days" in young.message
    assert (unknown.id, unknown.kind) == ("nothing", common_pb2.ERROR_KIND_NOT_FOUND)


@pytest.mark.parametrize(("coin", "kind"), [("newborn", NotReady), ("nothing", NotFound)])
async def test_nothing_to_simulate_is_the_error_of_the_coin(
    stub: ForecastServiceAsyncStub, coin: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await simulate(stub, pb.SimulatePathsRequest(ids=[coin]))
    with pytest.raises(kind):
        await stub.AssessPortfolio(pb.AssessPortfolioRequest(holdings=[pb.Holding(id=coin, value=1)]))
    with pytest.raises(kind):
        await stub.EstimateTouch(pb.EstimateTouchRequest(ids=[coin], levels=[pb.TouchLevel(percent=5)]))


async def test_a_portfolio_is_valued_and_its_parts_sum_to_the_whole(stub: ForecastServiceAsyncStub) -> None:
    holdings = [
        pb.Holding(id="bitcoin", amount=2.0),
        pb.Holding(id="ethereum", value=-500.0),
        pb.Holding(id="dogecoin", value=100.0),
        pb.Holding(id="dogecoin", value=200.0),
        pb.Holding(id="nothing", value=100.0),
    ]
    reply = await stub.AssessPortfolio(
        pb.AssessPortfolioRequest(holdings=holdings, days=1, levels_percent=[90, 95, 99.9])
    )
    assert [error.id for error in reply.errors] == ["nothing"]
    values = {holding.id: holding.value for holding in reply.holdings}
    assert values["dogecoin"] == pytest.approx(300)
    assert reply.value == pytest.approx(sum(values.values()))
    assert reply.gross_value == pytest.approx(sum(map(abs, values.values())))
    for level in reply.levels[:2]:
        parts = sum(component.expected_shortfall for component in level.components)
        assert parts == pytest.approx(level.expected_shortfall)
        assert level.expected_shortfall >= level.value_at_risk
    refused = reply.levels[2]
    assert not refused.HasField("value_at_risk")
    assert "The highest level with an estimate" in refused.refused
    changes = [worst.change for worst in reply.worst]
    assert changes == sorted(changes)
    assert changes[0] < 0
    quantiles = [q.change for q in reply.change_quantiles]
    assert quantiles == sorted(quantiles)


async def test_the_reverse_position_has_the_reverse_changes(stub: ForecastServiceAsyncStub) -> None:
    long, short = [
        await stub.AssessPortfolio(
            pb.AssessPortfolioRequest(holdings=[pb.Holding(id="bitcoin", value=size)], days=3)
        )
        for size in (1000.0, -1000.0)
    ]
    upwards = [-quantile.change for quantile in reversed(short.change_quantiles)]
    assert [q.change for q in long.change_quantiles] == pytest.approx(upwards, rel=1e-6, abs=1e-6)


async def test_chances_to_touch_grow_with_the_days_and_exceed_those_to_close_beyond(
    stub: ForecastServiceAsyncStub,
) -> None:
    levels = [pb.TouchLevel(percent=p) for p in (-10, -2, 0, 2, 10)]
    reply = await stub.EstimateTouch(
        pb.EstimateTouchRequest(ids=["bitcoin", "ethereum"], levels=levels, days=14)
    )
    assert [coin.id for coin in reply.coins] == ["bitcoin", "ethereum"]
    for coin in reply.coins:
        for level in coin.levels:
            touch = [day.touch_probability for day in level.days]
            assert len(touch) == 14
            assert touch == sorted(touch)
            assert all(d.touch_probability >= d.close_beyond_probability for d in level.days)
        at_last, nearer, farther = coin.levels[2], coin.levels[3], coin.levels[4]
        assert at_last.days[0].touch_probability == 1
        assert nearer.days[-1].touch_probability > farther.days[-1].touch_probability
        price = coin.last_price * 1.1
        again = await stub.EstimateTouch(
            pb.EstimateTouchRequest(ids=[coin.id], levels=[pb.TouchLevel(price=price)], days=14)
        )
        [by_price] = again.coins[0].levels
        assert by_price.days[-1].touch_probability == pytest.approx(farther.days[-1].touch_probability)


async def test_answers_are_logged_and_say_how_such_answers_did(
    stub: ForecastServiceAsyncStub, tmp_path: Path
) -> None:
    touched = await stub.EstimateTouch(
        pb.EstimateTouchRequest(ids=["bitcoin"], levels=[pb.TouchLevel(percent=5)], days=3)
    )
    holdings = [pb.Holding(id="bitcoin", value=1_234_567.0), pb.Holding(id="ethereum", value=-500.0)]
    lost = await stub.AssessPortfolio(
        pb.AssessPortfolioRequest(holdings=holdings, days=1, levels_percent=[95])
    )
    for reply in (touched, lost):
        assert reply.basis.recorded
        assert reply.basis.live_sentence == NOT_SCORED
    # Redis is away: the answers wait in the spool.
    lines = [
        line
        for segment in sorted((tmp_path / "spool").glob("*/*.jsonl"))
        for line in segment.read_text().splitlines()
    ]
    by_kind = {type(read_statement(line)): line for line in lines if stream_key_of(line) == RISK_STREAM_KEY}
    assert set(by_kind) == {TouchStatement, LossStatement}
    assert "1234567" not in "".join(lines)
    record = LiveRiskRecord(
        "touch", "", 3,
        tenth=tenth_of(touched.coins[0].levels[0].days[2].touch_probability),
        level_percent=None, statements=40,
        promised_percent=55.0, observed_percent=52.5, standard_error_percent=11.0, independent_periods=20,
        brier=0.2, brier_skill_percent=None, loss_over_shortfall=None,
        from_date="2025-01-01", to_date="2025-08-01",
    )  # fmt: skip
    (tmp_path / "artifacts").mkdir(exist_ok=True)
    (tmp_path / "artifacts" / LIVE_RISK_FILE).write_text(LiveRiskTable(1.0, (record,)).to_json())
    request = pb.EstimateTouchRequest(ids=["bitcoin"], levels=[pb.TouchLevel(percent=5)], days=3)
    async with asyncio.timeout(30):
        while not (again := await stub.EstimateTouch(request)).basis.live_records:  # noqa: ASYNC110 - a file is polled
            await asyncio.sleep(0.05)
    assert "40 such statements about 3 days" in again.basis.live_sentence


BAD = {
    "no ids": (pb.SimulatePathsRequest(), "ids"),
    "many ids": (pb.SimulatePathsRequest(ids=[f"c{i}" for i in range(251)]), "ids"),
    "far": (pb.SimulatePathsRequest(ids=["bitcoin"], days=15), "days"),
    "many paths": (pb.SimulatePathsRequest(ids=["bitcoin"], paths=1001), "paths"),
    "no model": (pb.SimulatePathsRequest(ids=["bitcoin"], model="oracle"), "model"),
    "nothing held": (pb.AssessPortfolioRequest(), "holdings"),
    "too much held": (
        pb.AssessPortfolioRequest(holdings=[pb.Holding(id=f"c{i}", value=1) for i in range(251)]),
        "holdings",
    ),
    "no size": (pb.AssessPortfolioRequest(holdings=[pb.Holding(id="bitcoin")]), "holdings"),
    **{
        f"size {size}": (
            pb.AssessPortfolioRequest(holdings=[pb.Holding(id="bitcoin", amount=size)]),
            "holdings",
        )
        for size in (NAN, INF, -INF, 0.0, 1e16)
    },
    **{
        f"level {level}": (
            pb.AssessPortfolioRequest(holdings=[pb.Holding(id="bitcoin", value=1)], levels_percent=[level]),
            "levels_percent",
        )
        for level in (NAN, 49.9, 99.95, 100.0)
    },
    "no touch level": (pb.EstimateTouchRequest(ids=["bitcoin"]), "levels"),
    "many touch levels": (
        pb.EstimateTouchRequest(ids=["bitcoin"], levels=[pb.TouchLevel(percent=1)] * 11),
        "levels",
    ),
    "many touch ids": (
        pb.EstimateTouchRequest(ids=[f"c{i}" for i in range(51)], levels=[pb.TouchLevel(percent=1)]),
        "ids",
    ),
    **{
        f"price {price}": (
            pb.EstimateTouchRequest(ids=["bitcoin"], levels=[pb.TouchLevel(price=price)]),
            "levels",
        )
        for price in (NAN, INF, 0.0, -1.0)
    },
    **{
        f"percent {percent}": (
            pb.EstimateTouchRequest(ids=["bitcoin"], levels=[pb.TouchLevel(percent=percent)]),
            "levels",
        )
        for percent in (NAN, INF, -100.0)
    },
}


async def test_bad_input_names_the_field(stub: ForecastServiceAsyncStub) -> None:
    for name, (request, field) in BAD.items():
        with pytest.raises(InvalidInput) as caught:
            if isinstance(request, pb.SimulatePathsRequest):
                await simulate(stub, request)
            elif isinstance(request, pb.AssessPortfolioRequest):
                await stub.AssessPortfolio(request)
            else:
                assert isinstance(request, pb.EstimateTouchRequest)
                await stub.EstimateTouch(request)
        assert caught.value.field == field, name
