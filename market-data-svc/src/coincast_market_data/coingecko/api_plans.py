"""The table of CoinGecko's plans, and the plan that is in use.

The figures were collected in November 2026 from CoinGecko's pricing page, its page on errors and rate limits,
and the issue trackers of its clients. The sources contradict each other (keyless 5 to 15 calls a minute by
address, demo 30 or 100, Basic 250 or 300). Therefore each figure is a default, which a setting overrides,
and on paid plans the reply of `/key`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

UNLIMITED_REACH_DAYS = 36_500
PUBLIC_URL = "https://api.coingecko.com/api/v3"
PAID_URL = "https://pro-api.coingecko.com/api/v3"
DEMO_HEADER = "x-cg-demo-api-key"
PAID_HEADER = "x-cg-pro-api-key"


class PlanName(StrEnum):
    """The plan at CoinGecko; auto detects it from the key."""

    AUTO = "auto"
    KEYLESS = "keyless"
    DEMO = "demo"
    BASIC = "basic"
    ANALYST = "analyst"
    LITE = "lite"
    PRO = "pro"


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """Limits and features of a plan.

    Attributes:
        name: The plan.
        base_url: Its host with `/api/v3`.
        key_header: The header that carries the key; empty if the plan has no key.
        per_minute: Calls a minute.
        per_month: Credits a month; 0 means that CoinGecko states no monthly limit.
        reach_days: How far back daily history goes.
    """

    name: PlanName
    base_url: str
    key_header: str
    per_minute: int
    per_month: int
    reach_days: int

    @property
    def paid(self) -> bool:
        """Whether the plan uses the host for paid plans, which has the path `/key`."""
        return self.key_header == PAID_HEADER


def _public(name: PlanName, key_header: str, per_minute: int, per_month: int) -> ApiPlan:
    return ApiPlan(name, PUBLIC_URL, key_header, per_minute=per_minute, per_month=per_month, reach_days=365)


def _paid(name: PlanName, per_minute: int, per_month: int, reach_days: int = UNLIMITED_REACH_DAYS) -> ApiPlan:
    return ApiPlan(
        name, PAID_URL, PAID_HEADER, per_minute=per_minute, per_month=per_month, reach_days=reach_days
    )


PLANS = {
    plan.name: plan
    for plan in (
        _public(PlanName.KEYLESS, "", 10, 0),
        _public(PlanName.DEMO, DEMO_HEADER, 30, 10_000),
        _paid(PlanName.BASIC, 250, 100_000, reach_days=730),
        _paid(PlanName.ANALYST, 500, 500_000),
        _paid(PlanName.LITE, 500, 2_000_000),
        _paid(PlanName.PRO, 1000, 2_000_000),
    )
}


class ActivePlan:
    """The plan in use. Settings take precedence over the figures of a plan.

    Args:
        plan: The plan of the settings; with auto, the plan that is assumed until it is detected.
        base_url: The address from the settings; empty for that of the plan.
        per_minute: Calls a minute from the settings; None for those of the plan.
        per_month: Credits a month from the settings; None for those of the plan.
        reach_days: How many days back history reaches, from the settings; None for the reach of the plan.
    """

    def __init__(
        self,
        plan: ApiPlan,
        *,
        base_url: str = "",
        per_minute: int | None = None,
        per_month: int | None = None,
        reach_days: int | None = None,
    ) -> None:
        self._base_url = base_url
        self._per_minute = per_minute
        self._per_month = per_month
        self._reach_days = reach_days
        self._listeners: list[Callable[[ApiPlan], None]] = []
        self.current = self._with_settings(plan)

    def use(self, plan: ApiPlan) -> None:
        """Switch to a plan; settings still take precedence over its figures."""
        changed = self._with_settings(plan)
        if changed != self.current:
            self.current = changed
            for listener in self._listeners:
                listener(changed)

    def on_change(self, listener: Callable[[ApiPlan], None]) -> None:
        """Call `listener` with the plan whenever it changes."""
        self._listeners.append(listener)

    def _with_settings(self, plan: ApiPlan) -> ApiPlan:
        return replace(
            plan,
            base_url=(self._base_url or plan.base_url).rstrip("/"),
            per_minute=plan.per_minute if self._per_minute is None else self._per_minute,
            per_month=plan.per_month if self._per_month is None else self._per_month,
            reach_days=plan.reach_days if self._reach_days is None else self._reach_days,
        )
