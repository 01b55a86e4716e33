"""What each plan of CoinGecko allows. Sources conflict, so every number may be overridden by a setting."""

from __future__ import annotations

from dataclasses import dataclass

UNLIMITED_REACH_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """`per_month` 0 means no monthly limit; `reach_days` is how far back history goes."""

    key_header: str
    per_minute: int
    per_month: int
    reach_days: int


PLANS = {
    "keyless": ApiPlan(key_header="", per_minute=5, per_month=0, reach_days=365),
    "demo": ApiPlan(key_header="x-cg-demo-api-key", per_minute=30, per_month=10_000, reach_days=365),
    "pro": ApiPlan(
        key_header="x-cg-pro-api-key", per_minute=250, per_month=500_000, reach_days=UNLIMITED_REACH_DAYS
    ),
}
