"""Responses about market data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coincast_gateway.schemas.responses.common import ItemError, ProvenanceFields, ResponseModel


class Price(ProvenanceFields):
    """The price of one coin in one currency."""

    id: str
    vs_currency: str
    price: float
    market_cap: float | None
    volume_24h: float | None
    change_24h_percent: float | None = Field(description="1.5 means +1.5 %.")
    last_updated_at: str | None


class Prices(ResponseModel):
    """Spot prices."""

    prices: list[Price]
    errors: list[ItemError]


class Market(ProvenanceFields):
    """One coin of the market table."""

    id: str
    symbol: str
    name: str
    vs_currency: str
    price: float | None
    market_cap: float | None
    market_cap_rank: int | None
    volume_24h: float | None
    high_24h: float | None
    low_24h: float | None
    change_24h_percent: float | None
    circulating_supply_coins: float | None
    total_supply_coins: float | None
    max_supply_coins: float | None
    all_time_high: float | None
    last_updated_at: str | None


class Markets(ResponseModel):
    """A page of coins."""

    markets: list[Market]
    errors: list[ItemError]


class Coin(ResponseModel):
    """One coin of the catalogue."""

    id: str
    symbol: str
    name: str


class Coins(ProvenanceFields):
    """A page of the catalogue."""

    coins: list[Coin]
    total: int = Field(description="Coins that match, over all pages.")
    next_page_token: str = Field(
        description="The page_token of the next page; empty if this is the last one."
    )


class Candle(ResponseModel):
    """The candle of one closed UTC day."""

    date: str
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float | None
    market_cap: float | None


class HourlyCandle(ResponseModel):
    """The candle of one closed hour."""

    time: str = Field(description="The start of the hour, RFC 3339, UTC.")
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float | None = Field(description="Traded value over the hour, in vs_currency.")


class History(ProvenanceFields):
    """Candles, oldest first."""

    id: str = Field(description="The coin.")
    vs_currency: str = Field(description="The currency of all prices.")
    interval: Literal["1d", "1h"] = Field(description="The length of a candle.")
    candles: list[Candle] | list[HourlyCandle] = Field(description="Closed days or hours, oldest first.")
    truncated: bool = Field(description="Whether fewer days were available than requested.")
    truncated_reason: str | None = Field(description="Why it is truncated; null if it is not.")
    missing_dates: list[str] = Field(description="Days inside the span that no source has, at most 100.")
    completeness: Literal["unspecified", "whole", "cut_by_plan", "partial"] = Field(
        description="whole: all that the source has; cut_by_plan: without days beyond the plan; partial: for "
        "now."
    )
    partial_reason: str | None = Field(description="Why it is partial for now; null if it is not.")
    retry_after_seconds: float | None = Field(
        description="Seconds after which a retry may return more; null otherwise."
    )
    quality_notes: list[str] = Field(
        description="Notes on the quality of these candles: restated or quarantined days."
    )
    in_doubt: bool = Field(description="Whether the newest candles wait for confirmation.")
    known_at: str | None = Field(None, description="The `as_of` of the request; null if it had none.")


class OhlcCandle(ResponseModel):
    """One candle."""

    closed_at: str
    open: float
    high: float
    low: float
    close: float


class Ohlc(ProvenanceFields):
    """Candles of one coin."""

    id: str
    vs_currency: str
    candles: list[OhlcCandle]


class Quality(ResponseModel):
    """Known defects in the history of one coin."""

    id: str = Field(description="The coin.")
    vs_currency: str = Field(description="The currency of the history.")
    missing_days: int = Field(description="Days inside the history that no source has.")
    duplicate_points: int = Field(description="Points that the source sent more than once.")
    quarantined_points: int = Field(description="Points that were quarantined as implausible.")
    last_good_date: str | None = Field(description="The newest day without defects; null if unknown.")
    notes: list[str] = Field(description="Findings in sentences, newest first.")
