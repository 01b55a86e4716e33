"""Usage of each API key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from coincast_gateway.auth.authenticator import READ, auth_result
from coincast_gateway.auth.usage import KEPT_DAYS
from coincast_gateway.dependencies import ApiKeys, UsageOfKeys
from coincast_gateway.errors.problems import ALWAYS, problem_responses
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.parameters import PlainInteger, RequestQuery
from coincast_gateway.schemas.responses.usage import UsageReport

router = APIRouter(tags=["usage"], dependencies=[READ], responses=problem_responses(*ALWAYS))


class UsageQuery(RequestQuery):
    """Query of the usage: the number of days."""

    days: Annotated[
        int, Field(ge=1, le=KEPT_DAYS, description="Days, today included.", examples=[7]), PlainInteger
    ] = KEPT_DAYS


@router.get(
    "/usage",
    operation_id="usage",
    summary="Daily calls, rows and bytes of the caller's key; an administrator gets those of all keys",
    response_model=UsageReport,
)
async def get_usage(
    query: Annotated[UsageQuery, Query()], usage: UsageOfKeys, api_keys: ApiKeys, request: Request
) -> RenderedResponse:
    """Return the usage of the last days, newest day first; calls of the last seconds may be missing.

    An administrator sees every key that exists or was used in these days.
    """
    caller = auth_result(request.scope)
    found = await usage.days(query.days)
    limits = {record.name: record.per_month for record in api_keys.records.values()}
    names = sorted({*found, *limits}) if "admin" in caller.scopes else [caller.caller]
    keys: list[dict[str, Any]] = [
        {
            "name": name,
            "month_calls": usage.month_calls(name),
            "month_limit": limits.get(name) or None,
            "days": [
                {"date": day, "calls": each.calls, "rows": each.rows, "bytes": each.bytes}
                for day, each in sorted(found.get(name, {}).items(), reverse=True)
            ],
        }
        for name in names
        if name != "anonymous"
    ]
    return render_json({"keys": keys})
