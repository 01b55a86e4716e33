"""CoinGecko's plans in one table, and the plan that is in use.

Figures collected in November 2026 from CoinGecko's pricing page, its page on errors and rate limits, and the
issue trackers of its clients. Sources conflict (keyless 5 to 15 calls a minute by address, demo 30 or 100,
Basic 250 or 300), so each is a default: a setting overrides it, and on paid plans the reply of `/key`.
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
    """The plan at CoinGecko; auto finds it from the key."""

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
        key_header: The header that carries the key; empty where the plan has none.
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
        """Whether the plan uses the paid host, which has `/key`."""
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
    """The plan in use; settings and the reply of `/key` take precedence over the table.

    Args:
        plan: The plan of the settings; with auto, what is assumed until it is found.
        base_url: The address of the settings; empty for the plan's own.
        per_minute: Calls a minute by setting; None for the plan's.
        per_month: Credits a month by setting; None for the plan's.
        reach_days: Reach of history by setting; None for the plan's.
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
