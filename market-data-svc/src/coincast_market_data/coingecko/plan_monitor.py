"""Detect the plan of the key at the start, and read the limits of a paid plan from `/key` daily."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from coincast_chassis.errors import CoincastError
from coincast_market_data.coingecko.api_plans import PLANS, ActivePlan, ApiPlan, PlanName
from coincast_market_data.coingecko.error_mapping import (
    Cause,
    UpstreamAvailability,
    UpstreamFailure,
    cause_of,
)
from coincast_market_data.coingecko.parser import number
from coincast_market_data.ports import Upstream, UpstreamReply, UpstreamRequest
from coincast_market_data.rate_limit.limiter import RateLimiter

log = structlog.get_logger(__name__)
REFRESH_SECONDS = 86_400.0
# Causes of refusals by a host to which the key does not belong.
NOT_THIS_HOST = frozenset({Cause.MISSING_KEY, Cause.INVALID_KEY, Cause.WRONG_HOST, Cause.FORBIDDEN})


class MeteredUpstream:
    """Upstream with the rate limiter only: no retries, no breaker and no held refusals."""

    def __init__(self, inner: Upstream, limiter: RateLimiter, wait_seconds: float) -> None:
        self._inner = inner
        self._limiter = limiter
        self._wait_seconds = wait_seconds

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        """Fetch one document.

        Raises:
            CoincastError: The rate limiter or the client failed.
        """
        await self._limiter.acquire(request.priority, self._wait_seconds)
        return await self._inner.fetch(request)


class PlanMonitor:
    """Updates the active plan by what CoinGecko reports for the key.

    Args:
        plan: The plan in use; changed in place.
        upstream: A `MeteredUpstream`. During detection one host is expected to refuse the key, and this
            refusal must not be held.
        availability: Receives the outcome of the detection as a whole.
        detect: Whether the plan is to be detected from the key.
    """

    def __init__(
        self, plan: ActivePlan, upstream: Upstream, availability: UpstreamAvailability, *, detect: bool
    ) -> None:
        self._plan = plan
        self._upstream = upstream
        self._availability = availability
        self._detect = detect

    async def refresh(self) -> None:
        """Detect the plan if it is not known, and read its limits; this costs at most two calls.

        Raises:
            CoincastError: CoinGecko is unavailable, or refuses the key on both hosts. While an earlier
                refusal is held, it is raised without a call.
        """
        self._availability.check()
        try:
            if self._detect:
                await self._detect_plan()
            elif self._plan.current.paid:
                self._use(self._plan.current, await self._read_key())
            else:
                return
        except CoincastError as error:
            self._availability.record_failure(error)
            raise
        self._availability.record_success()

    async def _detect_plan(self) -> None:
        self._plan.use(PLANS[PlanName.PRO])
        try:
            reply = await self._read_key()
        except CoincastError as error:
            if cause_of(error) not in NOT_THIS_HOST:
                raise
        else:
            self._use(PLANS[_name_of(reply)], reply)
            self._detect = False
            return
        self._plan.use(PLANS[PlanName.DEMO])
        await self._upstream.fetch(UpstreamRequest("ping"))
        self._detect = False
        log.info("plan_detected", plan=PlanName.DEMO)

    async def _read_key(self) -> Mapping[str, Any]:
        document = (await self._upstream.fetch(UpstreamRequest("key"))).document
        if not isinstance(document, dict):
            raise UpstreamFailure(Cause.NOT_COINGECKO, "The reply to /key is not an object.")
        return document

    def _use(self, plan: ApiPlan, key: Mapping[str, Any]) -> None:
        per_minute = number(key.get("rate_limit_request_per_minute"))
        per_month = number(key.get("monthly_call_credit"))
        self._plan.use(
            replace(
                plan,
                per_minute=int(per_minute) if per_minute and per_minute >= 1 else plan.per_minute,
                per_month=int(per_month) if per_month and per_month >= 1 else plan.per_month,
            )
        )
        log.info(
            "plan_read_from_key",
            plan=self._plan.current.name,
            per_minute=self._plan.current.per_minute,
            per_month=self._plan.current.per_month,
            credits_left=key.get("current_remaining_monthly_calls"),
        )
        left = number(key.get("current_remaining_monthly_calls"))
        if left is not None and left <= 0:
            raise UpstreamFailure(Cause.CREDITS_USED_UP, "CoinGecko's credits of this month are used up.")


def _name_of(key: Mapping[str, Any]) -> PlanName:
    """Return the plan of the table that `/key` names, as 'Analyst' or 'Pro 2M'; by default pro."""
    words = str(key.get("plan") or "").lower().replace("-", " ").split()
    for name in (PlanName.BASIC, PlanName.ANALYST, PlanName.LITE, PlanName.PRO):
        if name in words:
            return name
    return PlanName.PRO
