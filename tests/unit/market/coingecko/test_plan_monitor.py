"""The plan: found from the key, and its limits read from `/key`."""

from __future__ import annotations

from typing import Any

import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError
from coincast_market_data.coingecko.api_plans import (
    DEMO_HEADER,
    PAID_HEADER,
    PAID_URL,
    PLANS,
    PUBLIC_URL,
    ActivePlan,
    ApiPlan,
    PlanName,
)
from coincast_market_data.coingecko.error_mapping import (
    HOLD_SECONDS,
    Cause,
    UpstreamAvailability,
    UpstreamFailure,
)
from coincast_market_data.coingecko.plan_monitor import PlanMonitor
from coincast_market_data.ports import UpstreamReply, UpstreamRequest

KEY = {
    "plan": "Analyst",
    "rate_limit_request_per_minute": 600,
    "monthly_call_credit": 450_000,
    "current_remaining_monthly_calls": 9,
}


class Account:
    """CoinGecko's two hosts, one of which takes the key."""

    def __init__(self, plan: ActivePlan, *, paid: bool, key: dict[str, Any] | None = None) -> None:
        self.plan = plan
        self.paid = paid
        self.key = key or KEY
        self.error: CoincastError | None = None
        self.calls: list[tuple[str, str]] = []

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        host = self.plan.current.base_url
        self.calls.append((host, request.path))
        if self.error is not None:
            raise self.error
        if (host == PAID_URL) != self.paid:
            raise UpstreamFailure(Cause.WRONG_HOST, "The key belongs to the other host.")
        document = self.key if request.path == "key" else {}
        return UpstreamReply(document, b"", received_at=0.0, as_of=0.0, seconds=0.1)


def monitor_of(account: Account, *, detect: bool) -> tuple[PlanMonitor, UpstreamAvailability]:
    availability = UpstreamAvailability(ManualClock())
    return PlanMonitor(account.plan, account, availability, detect=detect), availability


def test_the_table_is_whole() -> None:
    assert set(PLANS) == set(PlanName) - {PlanName.AUTO}
    for plan in PLANS.values():
        assert plan.base_url == (PAID_URL if plan.key_header == PAID_HEADER else PUBLIC_URL)
        assert plan.per_minute >= 1
        assert plan.reach_days >= 365
    assert PLANS[PlanName.DEMO].key_header == DEMO_HEADER


async def test_a_paid_key_is_found_with_one_call_and_its_limits_are_used() -> None:
    plan = ActivePlan(PLANS[PlanName.DEMO])
    seen: list[ApiPlan] = []
    plan.on_change(seen.append)
    account = Account(plan, paid=True)
    monitor, availability = monitor_of(account, detect=True)
    await monitor.refresh()
    assert account.calls == [(PAID_URL, "key")]
    current = plan.current
    assert (current.name, current.per_minute, current.per_month) == (PlanName.ANALYST, 600, 450_000)
    assert seen[-1] == current
    assert availability.state().available
    await monitor.refresh()
    assert account.calls == [(PAID_URL, "key")] * 2, "read again the next day"


async def test_a_demo_key_is_found_after_the_paid_host_refused_it() -> None:
    account = Account(ActivePlan(PLANS[PlanName.DEMO]), paid=False)
    monitor, availability = monitor_of(account, detect=True)
    await monitor.refresh()
    assert account.calls == [(PAID_URL, "key"), (PUBLIC_URL, "ping")]
    assert account.plan.current == PLANS[PlanName.DEMO]
    assert availability.state().available
    await monitor.refresh()
    assert len(account.calls) == 2, "a demo plan has no /key"


async def test_settings_take_precedence_over_table_and_key() -> None:
    plan = ActivePlan(PLANS[PlanName.PRO], base_url="http://proxy/api/v3/", per_minute=7, reach_days=30)
    account = Account(plan, paid=False)
    monitor, _ = monitor_of(account, detect=False)
    await monitor.refresh()
    current = plan.current
    assert (current.base_url, current.per_minute, current.reach_days) == ("http://proxy/api/v3", 7, 30)
    assert current.per_month == 450_000


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (UpstreamFailure(Cause.DNS, "No name."), Cause.DNS),
        (UpstreamFailure(Cause.INVALID_KEY, "Wrong."), Cause.INVALID_KEY),
    ],
)
async def test_a_key_that_no_host_takes_is_said(error: CoincastError, cause: Cause) -> None:
    account = Account(ActivePlan(PLANS[PlanName.DEMO]), paid=True)
    account.error = error
    monitor, availability = monitor_of(account, detect=True)
    with pytest.raises(UpstreamFailure):
        await monitor.refresh()
    assert availability.state().cause is cause


async def test_a_refused_key_is_probed_again_after_an_hour_alone() -> None:
    clock = ManualClock()
    account = Account(ActivePlan(PLANS[PlanName.DEMO]), paid=True)
    account.error = UpstreamFailure(Cause.INVALID_KEY, "Wrong.")
    monitor = PlanMonitor(account.plan, account, UpstreamAvailability(clock), detect=True)
    for _ in range(5):
        with pytest.raises(UpstreamFailure, match="Wrong"):
            await monitor.refresh()
        clock.advance(600)
    assert account.calls == [(PAID_URL, "key"), (PUBLIC_URL, "ping")]
    clock.advance(HOLD_SECONDS)
    account.error = None
    await monitor.refresh()
    assert account.plan.current.name == PlanName.ANALYST


async def test_used_up_credits_are_held() -> None:
    account = Account(
        ActivePlan(PLANS[PlanName.PRO]), paid=True, key=KEY | {"current_remaining_monthly_calls": 0}
    )
    monitor, availability = monitor_of(account, detect=False)
    with pytest.raises(UpstreamFailure):
        await monitor.refresh()
    with pytest.raises(UpstreamFailure, match="credits"):
        availability.check()
