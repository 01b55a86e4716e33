"""What may be asked of market data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coincast_gateway.schemas.fields import CoinIds, Currencies, Currency, PlainInteger, RequestQuery


class PricesQuery(RequestQuery):
    """Spot prices of named coins."""

    ids: Annotated[CoinIds, Field(examples=["bitcoin,ethereum"])]
    vs_currencies: Annotated[Currencies, Field(examples=["usd"])] = ("usd",)


class MarketsQuery(RequestQuery):
    """A page of coins by market value, or the named coins."""

    vs_currency: Currency = "usd"
    ids: CoinIds | None = Field(None, description="Only these coins, at most 250.", examples=["bitcoin"])
    page: Annotated[int, Field(ge=1, le=1000, description="Page, from 1."), PlainInteger] = 1
    per_page: Annotated[int, Field(ge=1, le=250, description="Coins to a page."), PlainInteger] = 100


class CoinsQuery(RequestQuery):
    """The catalogue, whole or searched."""

    query: Annotated[
        str,
        Field(
            max_length=100,
            description="Words to look for in id, symbol and name; empty lists all.",
            examples=["bit"],
        ),
    ] = ""
    limit: Annotated[int, Field(ge=1, le=1000, description="Coins to a page."), PlainInteger] = 100
    page_token: Annotated[
        str,
        Field(
            max_length=200, pattern=r"^[A-Za-z0-9_=\-]*$", description="next_page_token of the page before."
        ),
    ] = ""


class HistoryQuery(RequestQuery):
    """Daily candles of one coin, closed UTC days only."""

    vs_currency: Currency = "usd"
    days: Annotated[
        int, Field(ge=1, le=10_000, description="Closed UTC days, newest last.", examples=[30]), PlainInteger
    ] = 30


class OhlcQuery(RequestQuery):
    """Intraday to four-day candles of one coin."""

    vs_currency: Currency = "usd"
    days: Annotated[
        Literal["1", "7", "14", "30", "90", "180", "365"],
        Field(description="Span: 1, 7, 14, 30, 90, 180 or 365 days."),
    ] = "30"


class QualityQuery(RequestQuery):
    """The currency whose history is meant."""

    vs_currency: Currency = "usd"
