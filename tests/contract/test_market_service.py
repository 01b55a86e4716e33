"""The market-data contract over real gRPC: service and sandbox in this process."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import InvalidInput, NotFound, Unavailable
from coincast_sandbox.testing import RunningSandbox
from tests.contract.market_harness import pro_sandbox, running_market, settings_for


@pytest.fixture(scope="module")
def sandbox(daily_candles: Path) -> Iterator[RunningSandbox]:
    # It is noon when the tests begin: the folder's last day is closed, as it is not before 00:35 UTC.
    noon = 43_200 - time.time() % 86_400
    with pro_sandbox(daily_candles, lambda: time.time() + noon) as running:
        yield running


@pytest.fixture
async def market(sandbox: RunningSandbox, tmp_path: Path) -> AsyncIterator[object]:
    async with running_market(settings_for(sandbox, tmp_path)) as stub:
        yield stub


async def test_prices_are_served_for_every_id_and_a_bad_one_fails_only_itself(market) -> None:
    request = pb.GetPricesRequest(
        ids=["Bitcoin", "bitcoin", "bitcon", "../etc"], vs_currencies=["usd", "EUR"]
    )
    reply = await market.GetPrices(request, timeout=10)
    assert [(p.id, p.vs_currency) for p in reply.prices] == [("bitcoin", "usd"), ("bitcoin", "eur")]
    assert all(p.price > 0 and p.provenance.source == common_pb2.SOURCE_SANDBOX for p in reply.prices)
    kinds = {error.id: error.kind for error in reply.errors}
    assert kinds == {
        "bitcon": common_pb2.ERROR_KIND_NOT_FOUND,
        "../etc": common_pb2.ERROR_KIND_INVALID_INPUT,
    }
    assert "bitcoin" in next(e for e in reply.errors if e.id == "bitcon").suggestions


async def test_requests_in_one_call_are_answered_like_separate_ones(market) -> None:
    wanted = [["bitcoin"], ["ethereum", "bitcoin"], ["bitcon"], []]
    questions = [
        pb.PricesQuestion(request=pb.GetPricesRequest(ids=ids), request_id=f"r{i}")
        for i, ids in enumerate(wanted)
    ]
    found = {
        answer.question: answer
        async for ready in market.GetPricesForMany(
            pb.GetPricesForManyRequest(questions=questions), timeout=10
        )
        for answer in ready.answers
    }
    assert sorted(found) == [0, 1, 2, 3]
    for number in (0, 1):
        assert {p.id for p in found[number].response.prices} == set(wanted[number])
    assert [error.id for error in found[2].response.errors] == ["bitcon"]
    assert (found[3].error.kind, found[3].error.field) == (common_pb2.ERROR_KIND_INVALID_INPUT, "ids")


async def test_no_questions_or_too_many_are_refused(market) -> None:
    for count in (0, 257):
        request = pb.GetPricesForManyRequest(questions=[pb.PricesQuestion()] * count)
        with pytest.raises(InvalidInput, match="1 to 256"):
            await anext(aiter(market.GetPricesForMany(request, timeout=10)))


async def test_the_ready_json_holds_the_same_figures(market) -> None:
    plain = await market.GetPrices(pb.GetPricesRequest(ids=["ethereum"]), timeout=10)
    encoded = await market.GetPrices(pb.GetPricesRequest(ids=["ethereum"], encode_json=True), timeout=10)
    document = orjson.loads(encoded.json)
    assert not encoded.prices
    (row,) = document["prices"]
    # JSON carries ten significant digits.
    assert row["price"] == pytest.approx(plain.prices[0].price, rel=1e-9)
    assert row["source"] == "sandbox"
    assert row["as_of"].endswith("Z")
    assert document["errors"] == []


async def test_history_is_the_folders_own_candles(market, daily_candles: Path) -> None:
    reply = await market.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=120), timeout=10)
    rows = [line.split(",") for line in (daily_candles / "bitcoin.csv").read_text().splitlines()[-120:]]
    assert [c.date for c in reply.history.candles] == [row[0] for row in rows]
    for candle, row in zip(reply.history.candles, rows, strict=True):
        figures = (candle.open, candle.high, candle.low, candle.close)
        # The point at midnight is one day's close and the next one's open; the files differ there by a hair.
        assert figures == pytest.approx([float(text) for text in row[1:5]], rel=1e-4)
    assert not reply.history.truncated


async def test_a_young_coin_is_short_and_says_so(market) -> None:
    request = pb.StreamHistoryRequest(ids=["solana"], days=9000)
    chunks = [chunk.history async for chunk in market.StreamHistory(request, timeout=100)]
    assert chunks[0].candles[0].date == "2020-04-10"
    assert all(chunk.truncated for chunk in chunks)
    assert "2020-04-10" in chunks[0].truncated_reason


async def test_a_stream_gives_spans_in_order_and_errors_beside_them(market) -> None:
    request = pb.StreamHistoryRequest(ids=["bitcoin", "nope"], days=1500)
    chunks = [chunk async for chunk in market.StreamHistory(request, timeout=60)]
    dates = [c.date for chunk in chunks if chunk.HasField("history") for c in chunk.history.candles]
    assert len(dates) == 1500
    assert dates == sorted(set(dates))
    assert [chunk.error.id for chunk in chunks if chunk.HasField("error")] == ["nope"]


async def test_an_age_that_cannot_be_had_is_unavailable(market) -> None:
    with pytest.raises(Unavailable) as caught:
        await market.GetPrices(pb.GetPricesRequest(ids=["bitcoin"], max_age_seconds=0.0), timeout=10)
    assert caught.value.field == "max_age_seconds"


@pytest.mark.parametrize(
    ("call", "request_", "field"),
    [
        ("GetPrices", pb.GetPricesRequest(), "ids"),
        ("GetPrices", pb.GetPricesRequest(ids=["a"], vs_currencies=["u/d"]), "vs_currencies"),
        ("GetPrices", pb.GetPricesRequest(ids=["bitcoin"], vs_currencies=["uds"]), "vs_currencies"),
        ("GetHistory", pb.GetHistoryRequest(id="bitcoin", vs_currency="zzz", days=3), "vs_currency"),
        ("GetMarkets", pb.GetMarketsRequest(vs_currency="zzz"), "vs_currency"),
        ("GetHistory", pb.GetHistoryRequest(id="bitcoin", days=0), "days"),
        ("GetHistory", pb.GetHistoryRequest(id="../x", days=3), "id"),
        ("GetMarkets", pb.GetMarketsRequest(per_page=251), "per_page"),
        ("GetOhlc", pb.GetOhlcRequest(id="bitcoin", days=2), "days"),
        ("ListCoins", pb.ListCoinsRequest(page_token="x"), "page_token"),
    ],
)
async def test_bad_input_names_the_field(market, call: str, request_: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await getattr(market, call)(request_, timeout=10)
    assert caught.value.field == field


async def test_an_unknown_coin_is_not_found_with_near_names(market) -> None:
    with pytest.raises(NotFound) as caught:
        await market.GetHistory(pb.GetHistoryRequest(id="etherium", days=3), timeout=10)
    assert "ethereum" in caught.value.suggestions


async def test_documents_lists_and_ohlc(market) -> None:
    coins = await market.ListCoins(pb.ListCoinsRequest(query="bitcoin", limit=5), timeout=10)
    assert coins.coins[0].id == "bitcoin"
    codes = await market.ListVsCurrencies(pb.ListVsCurrenciesRequest(), timeout=10)
    assert {"usd", "eur", "btc"} <= set(codes.vs_currencies)
    ohlc = await market.GetOhlc(pb.GetOhlcRequest(id="bitcoin", days=7), timeout=10)
    assert len(ohlc.candles) > 30
    query = {"vs_currency": "usd", "days": "2"}
    reply = await market.GetDocument(
        pb.GetDocumentRequest(path="coins/bitcoin/market_chart", query=query), timeout=10
    )
    assert set(orjson.loads(reply.json)) == {"prices", "market_caps", "total_volumes"}
    with pytest.raises(NotFound):
        await market.GetDocument(pb.GetDocumentRequest(path="nfts/list"), timeout=10)


async def test_the_status_tells_every_part(market) -> None:
    await market.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
    status = await market.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)
    assert status.upstream == "sandbox"
    assert status.batch.upstream_calls == 1
    assert {breaker.name for breaker in status.breakers} >= {"prices", "series", "markets"}
    assert [layer.layer for layer in status.cache_layers] == ["memory", "redis"]
    assert not status.redis_up
    assert status.quota.per_minute_limit == 100_000


async def test_a_sandbox_is_never_taken_for_coingecko(sandbox: RunningSandbox, tmp_path: Path) -> None:
    settings = settings_for(sandbox, tmp_path, upstream="coingecko")
    async with running_market(settings) as stub:
        with pytest.raises(Unavailable, match="sandbox"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)


async def test_many_named_markets_are_requested_in_bounded_addresses(tmp_path: Path) -> None:
    with pro_sandbox() as simulated:
        async with running_market(settings_for(simulated, tmp_path, batch_max_url_bytes=600)) as stub:
            coins = [c.id for c in (await stub.ListCoins(pb.ListCoinsRequest(limit=200), timeout=10)).coins]
            simulated.forget_calls()
            reply = await stub.GetMarkets(pb.GetMarketsRequest(ids=[*coins, "nope-nope"]), timeout=10)
            assert {row.id for row in reply.markets} == set(coins)
            assert [error.id for error in reply.errors] == ["nope-nope"]
            caps = [row.market_cap for row in reply.markets]
            assert caps == sorted(caps, reverse=True)
            assert 2 <= simulated.calls()["paths"]["/coins/markets"] <= 10


async def test_the_record_of_bad_data_outlives_a_restart_and_tells_currencies_apart(tmp_path: Path) -> None:
    with pro_sandbox() as simulated:
        settings = settings_for(simulated, tmp_path)
        async with running_market(settings) as stub:
            await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", vs_currency="eur", days=30), timeout=10)
            simulated.add_fault(path="/coins/*/market_chart*", kind="jump", factor=50)
            simulated.add_fault(path="/coins/*/market_chart*", kind="duplicates", share_points=0.1)
            await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=60), timeout=10)
            before = (await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)).quality
        async with running_market(settings) as stub:
            after = (await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)).quality
            nothing = (await stub.GetStatus(pb.GetStatusRequest(quality_ids=["solana"]), timeout=10)).quality
    assert [(report.id, report.vs_currency) for report in after] == [("bitcoin", "eur"), ("bitcoin", "usd")]
    eur, usd = after
    assert usd.quarantined_points > 0
    assert usd.duplicate_points > 0
    assert usd.notes
    assert usd.last_good_date == eur.last_good_date != ""
    assert eur.quarantined_points == eur.duplicate_points == 0
    assert list(after) == list(before)
    assert [(report.vs_currency, report.quarantined_points) for report in nothing] == [("usd", 0)]


AGED = {
    "documents": lambda stub, age: stub.GetDocument(
        pb.GetDocumentRequest(path="coins/bitcoin", max_age_seconds=age), timeout=10
    ),
    "mirrored prices": lambda stub, age: stub.GetDocument(
        pb.GetDocumentRequest(
            path="simple/price", query={"ids": "bitcoin", "vs_currencies": "usd"}, max_age_seconds=age
        ),
        timeout=10,
    ),
    "ohlc": lambda stub, age: stub.GetOhlc(
        pb.GetOhlcRequest(id="bitcoin", days=7, max_age_seconds=age), timeout=10
    ),
    "coins": lambda stub, age: stub.ListCoins(pb.ListCoinsRequest(max_age_seconds=age), timeout=10),
    "currencies": lambda stub, age: stub.ListVsCurrencies(
        pb.ListVsCurrenciesRequest(max_age_seconds=age), timeout=10
    ),
    "markets": lambda stub, age: stub.GetMarkets(pb.GetMarketsRequest(max_age_seconds=age), timeout=10),
    "prices": lambda stub, age: stub.GetPrices(
        pb.GetPricesRequest(ids=["bitcoin"], max_age_seconds=age), timeout=10
    ),
    "history": lambda stub, age: stub.GetHistory(
        pb.GetHistoryRequest(id="bitcoin", days=5, max_age_seconds=age), timeout=10
    ),
}


@pytest.mark.parametrize("kind", list(AGED))
async def test_every_request_may_turn_staleness_into_unavailable(tmp_path: Path, kind: str) -> None:
    """With old cached data and a failing upstream: served with its age, refused beyond a requested age."""
    ask = AGED[kind]
    with pro_sandbox() as simulated:
        async with running_market(settings_for(simulated, tmp_path, ready_reply_seconds=0.0)) as stub:
            await ask(stub, 10**7)
            simulated.add_fault(path="*", kind="status", status=500, body=1)
            await asyncio.sleep(0.3)
            served = await ask(stub, 10**7)
            with pytest.raises(Unavailable) as caught:
                await ask(stub, 0.1)
    where = served.history.provenance if kind == "history" else served.provenance
    assert where.source != common_pb2.SOURCE_UNSPECIFIED
    assert where.as_of.seconds > 0
    assert where.age_seconds > 0.1
    assert caught.value.retry_after_seconds is not None


async def test_a_streamed_coin_that_is_too_old_is_an_error_beside_the_others(market) -> None:
    request = pb.StreamHistoryRequest(ids=["bitcoin"], days=5, max_age_seconds=1)
    chunks = [chunk async for chunk in market.StreamHistory(request, timeout=30)]
    assert [chunk.error.kind for chunk in chunks] == [common_pb2.ERROR_KIND_UNAVAILABLE]
    assert "max_age_seconds" in chunks[0].error.field


async def test_an_import_beside_the_running_service_is_taken_by_it(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = [f"2025-01-{day:02d},1,3,0.5,2,{day}" for day in range(1, 31)]
    (folder / "my-own-coin.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]))
    with pro_sandbox() as simulated:
        settings = settings_for(simulated, tmp_path / "archive")
        environment = {
            **os.environ,
            "MARKET_ARCHIVE_DIR": str(tmp_path / "archive"),
            "MARKET_UPSTREAM": "sandbox",
            "MARKET_UPSTREAM_URL": simulated.base_url,
        }
        async with running_market(settings) as stub:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "coincast_market_data", "import", str(folder)),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, reported = await process.communicate()
            status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["my-own-coin"]), timeout=10)
    assert process.returncode == 0, reported.decode()
    assert "a running service writes" in reported.decode()
    assert "30 candles new or richer; 0 of 1 files refused" in said.decode()
    assert status.archive.candles == 30
    assert status.quality[0].last_good_date == "2025-01-30"
