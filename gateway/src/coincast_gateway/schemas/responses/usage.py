"""Responses about the usage of API keys."""

from __future__ import annotations

from pydantic import Field

from coincast_gateway.schemas.responses.common import ResponseModel


class UsageDay(ResponseModel):
    """Usage of a key on one UTC day."""

    date: str = Field(description="The UTC day, YYYY-MM-DD.")
    calls: int = Field(description="Answered requests.")
    rows: int = Field(
        description="Rows of tables and items of the lists in replies; event streams have none."
    )
    bytes: int = Field(description="Bytes of the response bodies as sent, after compression.")


class KeyUsage(ResponseModel):
    """Usage of one key."""

    name: str = Field(description="The name of the key.")
    month_calls: int = Field(description="Calls in this calendar month (UTC).")
    month_limit: int | None = Field(description="The limit of calls in a month; null if there is none.")
    days: list[UsageDay] = Field(description="Days with calls, newest first.")


class UsageReport(ResponseModel):
    """The usage of API keys."""

    keys: list[KeyUsage] = Field(description="One entry for each key.")
