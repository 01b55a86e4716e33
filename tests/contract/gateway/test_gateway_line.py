"""The main REST routes, with fake services over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from coincast.market.v1 import market_pb2 as mk
from coincast_chassis.errors import Unavailable
from coincast_gateway.errors.partial_results import attribution
from tests.contract.gateway.fake_script import STANDING
from tests.contract.gateway.fakes import World, world


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world(prices_fresh_seconds=0, forecasts_fresh_seconds=0) as found:
        yield found


@pytest.fixture
async def http(there: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=there.url) as client:
        yield client


async def test_prices_are_passed_through_unchanged(http: httpx2.AsyncClient, there: World) -> None:
    reply = await http.get("/prices", params={"ids": "Bitcoin, ethereum,bitcoin", "vs_currencies": "usd,eur"})
    assert reply.status_code == 200
    assert [(p["id"], p["vs_currency"]) for p in reply.json()["prices"]] == [
        ("bitcoin", "usd"), ("bitcoin", "eur"), ("ethereum", "usd"), ("ethereum", "eur"),
    ]  # fmt: skip
    # The gateway fetches its list of coins in the background, so the last call may be another one.
    (request,) = [c for c in there.market.script.calls if isinstance(c, mk.GetPricesRequest)]
    assert list(request.ids) == ["bitcoin", "ethereum"]
    assert request.encode_json


async def test_concurrent_requests_get_their_own_answers(http: httpx2.AsyncClient, there: World) -> None:
    ids = ["bitcoin", "ethereum", "tether", "nocoin"]
    replies = await asyncio.gather(*(http.get("/prices", params={"ids": each}) for each in ids * 5))
    for each, reply in zip(ids * 5, replies, strict=True):
        if each == "nocoin":
            assert reply.status_code == 404
            assert reply.json()["field"] == "ids"
        else:
            assert [row["id"] for row in reply.json()["prices"]] == [each]


async def test_one_bad_id_fails_only_itself(http: httpx2.AsyncClient) -> None:
    reply = await http.get("/prices", params={"ids": "bitcoin,nocoin,../etc/passwd"})
    assert reply.status_code == 200
    assert [p["id"] for p in reply.json()["prices"]] == ["bitcoin"]
    assert {e["id"]: e["kind"] for e in reply.json()["errors"]} == {
        "nocoin": "not_found",
        "../etc/passwd": "invalid_input",
    }


async def test_a_list_of_unknown_coins_is_404_with_suggestions(http: httpx2.AsyncClient) -> None:
    for path in ("/prices", "/markets", "/forecasts"):
        reply = await http.get(path, params={"ids": "bitcon"})
        assert reply.status_code == 404, path
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["suggestions"] == ["bitcoin"]
        assert reply.json()["errors"][0]["id"] == "bitcon"


async def test_a_forecast_has_the_expected_fields_shape(http: httpx2.AsyncClient) -> None:
    reply = await http.get(
        "/forecasts", params={"ids": "bitcoin", "days": 3, "model": "lightgbm", "quantiles": "0.1,0.5"}
    )
    assert reply.status_code == 200
    document = reply.json()
    assert set(document) == {"forecasts", "errors"}
    forecast = document["forecasts"][0]
    expected_fields = {
        "id",
        "vs_currency",
        "as_of",
        "last_price",
        "model",
        "version",
        "served_by",
        "degraded",
        "reason",
        "source",
        "points",
    }
    assert expected_fields <= set(forecast)
    assert forecast["source"] == "sandbox"
    assert forecast["as_of"] == "2023-11-14T22:13:20Z"
    point = forecast["points"][2]
    assert point["horizon_days"] == 3
    assert set(point["intervals"]) == {"80", "95"}
    assert point["intervals"]["80"] == {"lower": 36_200.0, "upper": 37_800.0}
    assert set(point["quantiles"]) == {"0.1", "0.5"}


async def test_history_models_health_ready_metrics_and_docs_answer(http: httpx2.AsyncClient) -> None:
    history = await http.get("/coins/bitcoin/history", params={"days": 2})
    assert [c["date"] for c in history.json()["candles"]] == ["2023-11-12", "2023-11-13"]
    assert (await http.get("/forecasts/models")).json()["models"][0]["name"] == "lightgbm"
    assert (await http.get("/health")).json()["status"] == "alive"
    assert (await http.get("/health/ready")).status_code == 200
    assert "coincast_gateway_requests_total" in (await http.get("/metrics")).text
    assert (await http.get("/docs")).status_code == 200


async def test_not_ready_until_a_model_is(http: httpx2.AsyncClient, there: World) -> None:
    there.forecast.ready = False
    reply = await http.get("/health/ready")
    assert reply.status_code == 503
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert "No model can answer: No artifact." in reply.json()["detail"]


async def test_prices_and_forecasts_fail_independently(http: httpx2.AsyncClient, there: World) -> None:
    there.forecast.script.error = Unavailable("down", retry_after_seconds=300)
    dead = await http.get("/forecasts", params={"ids": "bitcoin"})
    assert dead.status_code == 503
    assert dead.headers["retry-after"] == "60"
    assert (await http.get("/prices", params={"ids": "bitcoin"})).status_code == 200
    there.forecast.script.error, there.market.script.error = None, Unavailable("down")
    assert (await http.get("/forecasts", params={"ids": "bitcoin"})).status_code == 200
    assert (await http.get("/prices", params={"ids": "bitcoin"})).status_code == 503


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/prices", "ids"),
        ("/prices?ids=", "ids"),
        ("/prices?ids=bitcoin&idz=1", "idz"),
        ("/prices?ids=bitcoin&ids=ethereum", "ids"),
        ("/prices?ids=bitcoin&vs_currencies=u$d", "vs_currencies"),
        ("/forecasts?ids=bitcoin&days=31", "days"),
        ("/forecasts?ids=bitcoin&days=-1", "days"),
        ("/forecasts?ids=bitcoin&days=NaN", "days"),
        ("/forecasts?ids=bitcoin&days=1e9", "days"),
        ("/forecasts?ids=bitcoin&days=%D9%A7", "days"),
        ("/forecasts?ids=bitcoin&model=gpt", "model"),
        ("/forecasts?ids=bitcoin&levels=0", "levels"),
        ("/coins/bitcoin/history?days=0", "days"),
    ],
)
async def test_bad_input_names_the_field_and_the_fix(http: httpx2.AsyncClient, path: str, field: str) -> None:
    reply = await http.get(path)
    assert reply.status_code == 422
    problem = reply.json()
    assert problem["type"] == "/problems/invalid-request"
    assert problem["field"] == field
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert problem["detail"]


@pytest.mark.parametrize("path", ["/prices", "/forecasts"])
async def test_250_ids_are_accepted_and_251_are_not(http: httpx2.AsyncClient, path: str) -> None:
    ids = ["bitcoin", *(f"c{n}" for n in range(250))]
    most = await http.get(path, params={"ids": ",".join(ids[:250])})
    assert most.status_code == 200
    assert len(most.json()["errors"]) == 249
    refused = await http.get(path, params={"ids": ",".join(ids)})
    assert (refused.status_code, refused.json()["field"]) == (422, "ids")
    assert "250" in refused.json()["detail"]


async def test_unknown_paths_methods_and_coins(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/nothing")).json()["type"] == "/problems/not-found"
    refused = await http.post("/prices")
    assert refused.status_code == 405
    assert "GET" in refused.headers["allow"]
    missing = await http.get("/coins/bitcon/history")
    assert missing.status_code == 404
    assert missing.json()["suggestions"] == ["bitcoin"]


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("/prices/?ids=bitcoin", "/prices?ids=bitcoin"),
        ("/coins/bitcoin/history/?days=2", "/coins/bitcoin/history?days=2"),
        ("/forecasts?ids=bitcoin&model=LightGBM", "/forecasts?ids=bitcoin&model=lightgbm"),
        ("/forecasts?ids=bitcoin&model=ensemble", "/forecasts?ids=bitcoin&model=ml_ensemble"),
        ("/forecasts?ids=bitcoin&levels=99.9", "/forecasts?ids=bitcoin&levels=99.9"),
        ("/forecasts?ids=Bitcoin,bitcoin", "/forecasts?ids=bitcoin"),
        ("/forecasts/explain?ids=bitcoin&model=LGBM", "/forecasts/explain?ids=bitcoin&model=lightgbm"),
        ("/forecasts/accuracy?model=LSTM", "/forecasts/accuracy?model=lstm"),
        ("/forecasts/ledger?model=Ensemble", "/forecasts/ledger?model=ml_ensemble"),
        ("/training/jobs?model=LSTM", "/training/jobs?model=lstm"),
        ("/models?model=ML-Ensemble", "/models?model=ml_ensemble"),
        ("/models/LightGBM/compare?a=v000001&b=v000001", "/models/lightgbm/compare?a=v000001&b=v000001"),
        ("/coins/Bitcoin/quality/", "/coins/bitcoin/quality"),
    ],
)
async def test_other_spellings_are_accepted(http: httpx2.AsyncClient, path: str, same: str) -> None:
    reply = await http.get(path)
    assert reply.status_code == 200
    assert reply.content == (await http.get(same)).content


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/price?ids=bitcoin", "/prices"),
        ("/forecast?ids=bitcoin", "/forecasts"),
        ("/forecasts/explane", "/forecasts/explain"),
        ("/coin/bitcoin/history", "/coins/bitcoin/history"),
        ("/coins/bitcoin/histroy", "/coins/bitcoin/history"),
        ("/Markets", "/markets"),
        ("/training/job", "/training/jobs"),
        ("/health/detail", "/health/detailed"),
    ],
)
async def test_a_near_path_is_answered_with_the_right_one(
    http: httpx2.AsyncClient, path: str, nearest: str
) -> None:
    reply = await http.get(path)
    assert reply.status_code == 404
    assert reply.json()["suggestions"][0] == nearest
    assert nearest in reply.json()["detail"]


async def test_a_path_that_is_near_to_none_suggests_none(http: httpx2.AsyncClient) -> None:
    for path in ("/wp-admin.php", "/" + "a/" * 2000):
        assert "suggestions" not in (await http.get(path)).json(), path


async def test_figures_of_coingecko_are_attributed(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies with real data link to CoinGecko; the sandbox's, and replies without data, do not."""
    paths = ["/prices?ids=bitcoin", "/markets", "/coins/bitcoin/history", "/prices?ids=bitcoin,nocoin"]
    for path in [*paths, "/forecasts?ids=bitcoin", "/health", "/training/jobs"]:
        assert "link" not in (await http.get(path)).headers, path
    monkeypatch.setitem(STANDING, "source", "live")
    for path in paths:
        reply = await http.get(
            f"{path}{'&' if '?' in path else '?'}vs_currenc{'ies' if 'prices' in path else 'y'}=eur"
        )
        assert reply.headers["link"] == (
            '<https://www.coingecko.com>; rel="cite-as"; title="Data provided by CoinGecko"'
        ), path


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"source":"live"}', True),
        (b'{"coins":[{"source":"sandbox"},{"source":"archive"}]}', True),
        (b'{"source":"sandbox"}', False),
        (b'{"source":"unspecified"}', False),
        (b'{"note":"\\"source\\":\\"live\\""}', False),
    ],
)
def test_only_data_of_coingecko_is_attributed(body: bytes, expected: bool) -> None:
    assert bool(attribution(body)) is expected
