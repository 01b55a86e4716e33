"""The mirror's errors and its handling of keys, with a fake service behind."""

from __future__ import annotations

import httpx2
import pytest

from coincast_chassis.errors import CoincastError, Exhausted, InvalidInput, Timeout, Unavailable
from tests.contract.gateway.fakes import world


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            Exhausted("Slow down.", retry_after_seconds=119),
            429,
            {"status": {"error_code": 429, "error_message": "Slow down."}},
        ),
        (Unavailable("Gone."), 503, {"status": {"error_code": 503, "error_message": "Gone."}}),
        (Timeout("Late."), 504, {"status": {"error_code": 504, "error_message": "Late."}}),
        (
            InvalidInput("CoinGecko refuses the request: Invalid precision"),
            422,
            {"error": "Invalid precision"},
        ),
    ],
)
async def test_errors_have_coingeckos_shapes(
    error: CoincastError, status: int, body: dict[str, object]
) -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        there.market.script.error = error
        reply = await http.get("/api/v3/simple/price?ids=bitcoin&vs_currencies=usd")
        assert (reply.status_code, reply.json()) == (status, body)
        if status in (429, 503):
            assert 1 <= int(reply.headers["retry-after"]) <= 60


async def test_keys_are_never_forwarded_and_documents_are_kept() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        there.market.documents["coins/list"] = [{"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"}]
        for key in ("one", "two"):
            made_up = {"x_cg_pro_api_key": key, "include_platform": "false", "_": key, "a b": "1"}
            reply = await http.get("/api/v3/coins/list/", params=made_up)
            assert reply.json()[0]["id"] == "bitcoin"
        requested = [call for call in there.market.script.calls if hasattr(call, "path")]
        assert len(requested) == 1
        assert dict(requested[0].query) == {"include_platform": "false"}


async def test_what_leaves_the_mirror_is_counted_by_template() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url) as http:
        for path in ("/coins/x1", "/coins/x2", "/zzz/up/1", "/coins/%2e%2e/x", "/coins/a%00b"):
            assert (await http.get(f"/api/v3{path}")).status_code == 404
        posted = await http.post("/api/v3/ping")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        metrics = (await http.get("/metrics")).text
        assert 'route="/api/v3/coins/{id}"' in metrics
        made_up = [line for line in metrics.splitlines() if "x1" in line or "zzz" in line]
        assert made_up == []
