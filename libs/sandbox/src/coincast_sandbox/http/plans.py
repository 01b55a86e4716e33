"""CoinGecko's plans: required keys, days of history and limits on calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coincast_sandbox.http.errors import ApiError

DEMO_KEY_NAMES = ("x-cg-demo-api-key", "x_cg_demo_api_key")
PRO_KEY_NAMES = ("x-cg-pro-api-key", "x_cg_pro_api_key")
RANGE_GRACE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """Terms of a plan: label, calls per minute, credits per month, days of history. 0 means no limit."""

    label: str
    calls_per_minute: int
    monthly_credits: int
    reach_days: int
    paid: bool


# Collected in November 2026 from CoinGecko's pages on pricing and on rate limits. Keyless calls are limited
# by IP address; limits of 5 to 15 calls per minute were observed. The credits of the largest plans are agreed
# individually with each customer.
PLANS = {
    "keyless": PlanTerms("Public", 10, 0, 365, paid=False),
    "demo": PlanTerms("Demo", 100, 10_000, 365, paid=False),
    "basic": PlanTerms("Basic", 250, 100_000, 730, paid=True),
    "analyst": PlanTerms("Analyst", 500, 500_000, 0, paid=True),
    "lite": PlanTerms("Lite", 500, 2_000_000, 0, paid=True),
    "pro": PlanTerms("Pro", 1000, 5_000_000, 0, paid=True),
}


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """The plan that the sandbox enforces.

    Args:
        name: One of `PLANS`.
        keys: Accepted keys; if empty, any non-empty key is accepted.
        reach_days: Days of history; 0 is no limit, None is the plan's own value.
    """

    name: str = "keyless"
    keys: frozenset[str] = frozenset()
    reach_days: int | None = None

    @property
    def terms(self) -> PlanTerms:
        """Return the plan's terms from PLANS."""
        return PLANS[self.name]

    @property
    def history_days(self) -> int:
        """Return the days of history that may be requested; 0 is no limit."""
        return self.terms.reach_days if self.reach_days is None else self.reach_days

    def check_key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        """Check the key of a request, from its header or its query.

        Raises:
            ApiError: 400 with 10010 or 10011 for a key of the other host, 401 with 10002 for a key that is
                missing or not accepted.
        """
        demo = headers.get(DEMO_KEY_NAMES[0]) or query.get(DEMO_KEY_NAMES[1])
        pro = headers.get(PRO_KEY_NAMES[0]) or query.get(PRO_KEY_NAMES[1])
        if pro and not self.terms.paid:
            message = "If you are using Pro API key, please change your root URL to pro-api.coingecko.com"
            raise ApiError(400, 2, message, 10010)
        if demo and self.terms.paid:
            message = "If you are using Demo API key, please change your root URL to api.coingecko.com"
            raise ApiError(400, 2, message, 10011)
        key = pro if self.terms.paid else demo
        if not key and self.name != "keyless":
            raise ApiError(401, 1, "API Key Missing", 10002)
        if key and self.keys and key not in self.keys:
            raise ApiError(401, 1, "Invalid API Key", 10002)

    def check_reach(self, from_seconds: float, now: float) -> None:
        """Check that a request does not start before the plan's history, with an hour of grace.

        Raises:
            ApiError: 401 with 10012 if it does.
        """
        days = self.history_days
        if days and now - from_seconds > days * 86400 + RANGE_GRACE_SECONDS:
            who = "Public API users" if not self.terms.paid else f"{self.terms.label} plan users"
            message = (
                f"Your request exceeds the allowed time range. {who} are limited to querying "
                f"historical data within the past {days} days."
            )
            raise ApiError(401, 2, message, 10012)

    def require_paid(self, message: str) -> None:
        """Raise ApiError 401 with 10005 if the plan is not a paid one."""
        if not self.terms.paid:
            raise ApiError(401, 1, message, 10005)
