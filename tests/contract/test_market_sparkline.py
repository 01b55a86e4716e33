"""The week of a sparkline over gRPC: one call for all reference coins, partial, only where it suffices."""

from __future__ import annotations

from pathlib import Path

from coincast.market.v1 import market_pb2 as pb
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_modelkit.features import REFERENCE_COINS
from coincast_sandbox.app import SandboxOptions
from coincast_sandbox.http.plans import ApiPlan
from coincast_sandbox.testing import running_sandbox
from tests.contract.market_harness import running_market, settings_for

# Of seven calls, histories may take six: three for the start, two for the first coin, one for the sparklines.
CALLS = 7


async def stream(stub: object, *ids: str, weekly: tuple[str, ...]) -> dict[str, pb.StreamHistoryResponse]:
    request = pb.StreamHistoryRequest(ids=ids, days=365, sparkline_ids=weekly)
    found = {}
    async for reply in stub.StreamHistory(request, timeout=4.5):  # type: ignore[attr-defined]
        found[reply.history.id or reply.error.id] = reply
    return found


async def test_reference_coins_have_a_week_while_the_calls_are_short(tmp_path: Path) -> None:
    first, *others = REFERENCE_COINS
    with running_sandbox(SandboxOptions(plan=ApiPlan("demo", reach_days=365))) as sandbox:
        settings = settings_for(
            sandbox, tmp_path, plan=PlanName.DEMO, per_minute_limit=CALLS, history_reach_days=365
        )
        async with running_market(settings) as stub:
            found = await stream(stub, first, *others, weekly=tuple(others))
            assert len(found[first].history.candles) >= 364
            assert not found[first].history.from_sparkline
            weeks = [coin for coin in others if found[coin].history.from_sparkline]
            assert len(weeks) >= len(others) - 2
            newest = found[first].history.candles[-1].date
            for coin in weeks:
                history = found[coin].history
                assert history.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
                assert "last week" in history.partial_reason
                assert history.retry_after_seconds > 0
                assert len(history.candles) in (6, 7)
                assert history.candles[-1].date == newest
            alone = await stream(stub, weeks[-1], weekly=())
            assert alone[weeks[-1]].error.message
            status = await stub.GetStatus(pb.GetStatusRequest())
            assert status.archive.coins <= len(REFERENCE_COINS) - len(weeks)
        tables = {path: count for path, count in sandbox.calls()["paths"].items() if "coins/markets" in path}
        assert list(tables.values()) == [1]
