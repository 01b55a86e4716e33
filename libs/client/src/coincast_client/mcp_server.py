"""A Model Context Protocol server over a gateway: read-only tools for assistants.

The gateway mounts it at `/mcp`; `coincast mcp` serves it over stdio. Every result includes unit, age and
source, so that an assistant does not quote a number without them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import BaseModel, Field, ValidationError

from coincast_client import formatting, terminal
from coincast_client.client import AsyncCoincast
from coincast_client.errors import CoincastClientError, Refused, Unreachable
from coincast_client.formatting import rfc3339
from coincast_client.tables import interval_levels

ClientOf = Callable[[Context], AbstractAsyncContextManager[AsyncCoincast]]
MAX_COINS = 20
DAYS_PER_YEAR = 365
INSTRUCTIONS = (
    "Cryptocurrency prices and probabilistic forecasts. Prices are close to a random walk: present intervals "
    "and how often they held, never a direction. Say when a result is stale, degraded, or from the sandbox, "
    "which is not market data."
)
READ_ONLY = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)

CoinId = Annotated[str, Field(description="CoinGecko id; find it with search_coins", max_length=128)]
CoinIds = Annotated[list[CoinId], Field(min_length=1, max_length=MAX_COINS)]
Currency = Annotated[str, Field(description="currency code", max_length=12)]
ModelName = Literal["auto", "ml_ensemble", "lightgbm", "lstm", "technical"]


class Provenance(BaseModel):
    """Source and age of a figure."""

    as_of: str | None
    age_seconds: float | None
    source: str
    stale: bool = False
    reason: str | None = None


class FoundCoin(BaseModel):
    """One coin of the catalogue."""

    id: str
    symbol: str
    name: str


class FoundCoins(BaseModel):
    """Coins that match a search."""

    coins: list[FoundCoin]
    matches: int
    provenance: Provenance


class Failure(BaseModel):
    """The error of one coin that could not be served, with suggestions."""

    id: str
    message: str
    suggestions: list[str]


class PriceNow(BaseModel):
    """One price."""

    id: str
    price: float
    unit: str
    change_24h_percent: float | None
    provenance: Provenance


class PricesNow(BaseModel):
    """Prices, and the errors of coins without one."""

    prices: list[PriceNow]
    failures: list[Failure]


class HistorySummary(BaseModel):
    """Summary figures of a span of daily closes."""

    id: str
    unit: str
    first_day: str
    last_day: str
    days: int
    missing_days: int
    first_close: float
    last_close: float
    change_percent: float
    highest_close: float
    lowest_close: float
    annualised_volatility_percent: float | None
    provenance: Provenance


class ForecastSummary(BaseModel):
    """One coin's forecast at its last horizon."""

    id: str
    unit: str
    start_price: float
    horizon: str
    lower_80: float
    upper_80: float
    in_words: str
    record_in_words: str
    model: str
    degraded: bool
    provenance: Provenance


class ForecastSummaries(BaseModel):
    """Forecasts, and the errors of coins without one."""

    forecasts: list[ForecastSummary]
    failures: list[Failure]


class TouchDay(BaseModel):
    """Touch probabilities up to one day."""

    date: str
    touch_percent: float
    close_beyond_percent: float


class TouchChance(BaseModel):
    """The probabilities that a price touches a level."""

    id: str
    unit: str
    start_price: float
    level: float
    level_percent: float
    days: list[TouchDay]
    record_in_words: str
    provenance: Provenance


class Holding(BaseModel):
    """One position of a portfolio: a value in the currency, or an amount in coins; negative for short."""

    id: CoinId
    value: float | None = None
    amount: float | None = None


class LossLevel(BaseModel):
    """Loss at one level; `refused` is the reason for missing figures."""

    level_percent: float
    value_at_risk: float | None
    expected_shortfall: float | None
    indicative: bool
    refused: str


class PortfolioRisk(BaseModel):
    """The risk of holdings."""

    unit: str
    value: float
    days: int
    losses: list[LossLevel]
    worst_days: list[str]
    failures: list[Failure]
    record_in_words: str
    provenance: Provenance


class ModelRecord(BaseModel):
    """Out-of-sample accuracy of one model at one horizon."""

    model: str
    version: str
    horizon: str
    forecasts: int
    covered_by_80_percent_interval: float | None
    crps_skill_percent: float | None
    in_words: str


class ModelRecords(BaseModel):
    """Records of the models, and the time of their measurement."""

    records: list[ModelRecord]
    measured_at: str | None


class DataQuality(BaseModel):
    """The known defects of a coin's history."""

    id: str
    missing_days: int
    quarantined_points: int
    last_good_date: str
    notes: list[str]


class SystemHealth(BaseModel):
    """The state of each component, with a sentence for each."""

    status: str
    parts: dict[str, str]
    checked_at: str


def build_server(client_of: ClientOf, version: str) -> MCPServer:
    """Build the MCP server.

    Args:
        client_of: Opens a client for a tool call; its request identifies the caller.
        version: The version that the server reports to clients.
    """
    server = _Server("coincast", instructions=INSTRUCTIONS, version=version, log_level="WARNING")
    tools = _Tools(client_of)
    for name in _Tools.NAMES:
        server.tool(name, annotations=READ_ONLY, structured_output=True)(getattr(tools, name))
    return server


class _Server(MCPServer):
    """A server that refuses unknown arguments and explains invalid ones in words."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool by name.

        Raises:
            ToolError: An argument is unknown or invalid, or the tool fails; the message names the next step.
        """
        if name not in _Tools.NAMES:
            raise ToolError(f"There is no tool {name[:60]!r}. The tools are {', '.join(_Tools.NAMES)}.")
        if unknown := sorted(set(arguments) - set(_arguments_of(name))):
            raise ToolError(f"{name} has no argument {', '.join(unknown)}. {_takes(name)}")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(f"{_in_words(error.__cause__)} {_takes(name)}") from error
            raise


def _arguments_of(tool: str) -> list[str]:
    """Return the names of a tool's arguments."""
    names = inspect.signature(getattr(_Tools, tool)).parameters
    return [name for name in names if name not in ("self", "ctx")]


def _takes(tool: str) -> str:
    names = _arguments_of(tool)
    return f"It takes {', '.join(names)}." if names else "It takes no arguments."


def _in_words(error: ValidationError) -> str:
    """Return one sentence for each invalid argument, with its name."""
    return " ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg'].removesuffix('.')}."
        for each in error.errors(include_url=False, include_input=False)
    )


class _Tools:
    """The tools; each opens a client for the caller and converts errors to messages with the next step."""

    NAMES = (
        "search_coins",
        "get_prices",
        "summarize_history",
        "get_forecasts",
        "chance_of_touching",
        "assess_portfolio",
        "model_records",
        "data_quality",
        "system_health",
    )

    def __init__(self, client_of: ClientOf) -> None:
        self._client_of = client_of

    async def search_coins(
        self,
        ctx: Context,
        words: Annotated[str, Field(description="name, symbol or id", min_length=1, max_length=100)],
        limit: Annotated[int, Field(ge=1, le=20)] = 10,
    ) -> FoundCoins:
        """Find coin ids by name or symbol."""
        reply = await self._call(ctx, lambda client: client.coins(words, limit=limit))
        coins = [FoundCoin(id=c.id, symbol=c.symbol, name=c.name) for c in reply.coins]
        return FoundCoins(coins=coins, matches=reply.total, provenance=_provenance(reply))

    async def get_prices(self, ctx: Context, ids: CoinIds, vs_currency: Currency = "usd") -> PricesNow:
        """Get spot prices with their age and source."""
        reply = await self._call(ctx, lambda client: client.prices(ids, vs_currencies=vs_currency))
        prices = [
            PriceNow(
                id=p.id,
                price=p.price,
                unit=p.vs_currency,
                change_24h_percent=p.change_24h_percent,
                provenance=_provenance(p),
            )
            for p in reply.prices
        ]
        return PricesNow(prices=prices, failures=_failures(reply.errors))

    async def summarize_history(
        self,
        ctx: Context,
        id: CoinId,
        days: Annotated[int, Field(ge=2, le=3650)] = 90,
        vs_currency: Currency = "usd",
    ) -> HistorySummary:
        """Summarize daily closes: change, range, realised volatility, missing days."""
        reply = await self._call(ctx, lambda client: client.history(id, days=days, vs_currency=vs_currency))
        closes = [candle.close for candle in reply.candles]
        if not closes:
            raise ToolError(f"{id} has no closed day yet; ask for its price instead.")
        return HistorySummary(
            id=id,
            unit=vs_currency,
            first_day=str(reply.candles[0].date),
            last_day=str(reply.candles[-1].date),
            days=len(closes),
            missing_days=len(reply.missing_dates),
            first_close=closes[0],
            last_close=closes[-1],
            change_percent=round(100 * (closes[-1] / closes[0] - 1), 4),
            highest_close=max(closes),
            lowest_close=min(closes),
            annualised_volatility_percent=_volatility(closes),
            provenance=_provenance(reply),
        )

    async def get_forecasts(
        self,
        ctx: Context,
        ids: CoinIds,
        *,
        days: Annotated[int, Field(ge=1, le=30)] = 7,
        hours: Annotated[int | None, Field(ge=1, le=48, description="instead of days")] = None,
        model: ModelName = "auto",
        vs_currency: Currency = "usd",
    ) -> ForecastSummaries:
        """Get the 80 % interval of each price some days or hours ahead, in figures and in words."""
        ahead = days if hours is None else None
        reply = await self._call(
            ctx,
            lambda client: client.forecasts(
                ids, days=ahead, hours=hours, model=model, vs_currency=vs_currency
            ),
        )
        forecasts = [_forecast_summary(forecast) for forecast in reply.forecasts]
        return ForecastSummaries(forecasts=forecasts, failures=_failures(reply.errors))

    async def chance_of_touching(
        self,
        ctx: Context,
        id: CoinId,
        level: Annotated[
            str, Field(description="one price, or one move such as -5%", max_length=40, pattern="^[^,]*$")
        ],
        days: Annotated[int, Field(ge=1, le=14)] = 7,
        vs_currency: Currency = "usd",
    ) -> TouchChance:
        """Estimate the probability that a price touches a level by each of the coming days."""
        reply = await self._call(
            ctx, lambda client: client.touch(id, level, days=days, vs_currency=vs_currency)
        )
        if not reply.coins:
            raise ToolError(_next_step(_failures(reply.errors)))
        coin = reply.coins[0]
        found = coin.levels[0]
        return TouchChance(
            id=coin.id,
            unit=vs_currency,
            start_price=coin.last_price,
            level=found.price,
            level_percent=found.percent,
            days=[
                TouchDay(
                    date=str(day.date),
                    touch_percent=round(100 * day.touch_probability, 2),
                    close_beyond_percent=round(100 * day.close_beyond_probability, 2),
                )
                for day in found.days
            ],
            record_in_words=_basis_record(reply.basis),
            provenance=_basis_provenance(reply.basis),
        )

    async def assess_portfolio(
        self,
        ctx: Context,
        holdings: Annotated[list[Holding], Field(min_length=1, max_length=50)],
        days: Annotated[int, Field(ge=1, le=14)] = 7,
        vs_currency: Currency = "usd",
    ) -> PortfolioRisk:
        """Assess the risk of holdings: value at risk and expected shortfall."""
        rows = [holding.model_dump(exclude_none=True) for holding in holdings]
        reply = await self._call(
            ctx, lambda client: client.portfolio(rows, days=days, vs_currency=vs_currency)
        )
        losses = [
            LossLevel(
                level_percent=level.level_percent,
                value_at_risk=level.value_at_risk,
                expected_shortfall=level.expected_shortfall,
                indicative=level.indicative,
                refused=level.refused or "",
            )
            for level in reply.levels
        ]
        return PortfolioRisk(
            unit=vs_currency,
            value=reply.value,
            days=reply.days,
            losses=losses,
            worst_days=[str(worst.origin_date) for worst in reply.worst[:5]],
            failures=_failures(reply.errors),
            record_in_words=_basis_record(reply.basis),
            provenance=_basis_provenance(reply.basis),
        )

    async def model_records(self, ctx: Context) -> ModelRecords:
        """Report the out-of-sample accuracy of each model: coverage and skill by horizon."""
        reply = await self._call(ctx, lambda client: client.models())
        records, measured_at = [], None
        for model in reply.models:
            for row in model.record.horizons if model.record else []:
                measured_at = str(model.record.measured_at)
                records.append(_model_record(model, row))
        return ModelRecords(records=records, measured_at=measured_at)

    async def data_quality(self, ctx: Context, id: CoinId) -> DataQuality:
        """Report the known defects of a coin's history."""
        document = await self._call(ctx, lambda client: client.quality(id))
        if not document.last_good_date:
            raise ToolError(f"No day of {id} has been checked yet. Call summarize_history for it first.")
        return DataQuality(
            id=id,
            missing_days=document.missing_days,
            quarantined_points=document.quarantined_points,
            last_good_date=str(document.last_good_date),
            notes=list(document.notes)[:5],
        )

    async def system_health(self, ctx: Context) -> SystemHealth:
        """Report the state of every component of the system."""
        reply = await self._call(ctx, lambda client: client.health())
        parts = {part.name: f"{part.status}: {part.sentence}" for part in reply.components}
        return SystemHealth(status=reply.status, parts=parts, checked_at=rfc3339(reply.checked_at))

    async def _call(self, ctx: Context, send: Callable[[AsyncCoincast], Any]) -> Any:
        try:
            async with self._client_of(ctx) as client:
                return await send(client)
        except Refused as error:
            raise ToolError(_refusal(error)) from error
        except Unreachable as error:
            raise ToolError(f"{error} Start the gateway, or set its address, and retry.") from error
        except (CoincastClientError, ValueError) as error:
            raise ToolError(str(error)) from error


def _refusal(error: Refused) -> str:
    steps = [error.detail]
    if error.suggestions:
        steps.append(f"Try one of: {', '.join(error.suggestions[:3])}.")
    if error.retry_after_seconds:
        steps.append(f"Wait {error.retry_after_seconds} s and try again.")
    if error.status in {401, 403}:
        steps.append("Give an API key with the scope read.")
    return " ".join(steps)


def _next_step(failures: Sequence[Failure]) -> str:
    first = failures[0] if failures else Failure(id="", message="There is no answer.", suggestions=[])
    hint = f" Try one of: {', '.join(first.suggestions[:3])}." if first.suggestions else ""
    return f"{first.message}{hint}"


def _failures(errors: Sequence[Any]) -> list[Failure]:
    return [
        Failure(id=error.id, message=error.message, suggestions=list(error.suggestions or ())[:3])
        for error in errors
    ]


def _provenance(item: Any) -> Provenance:
    return Provenance(
        as_of=rfc3339(item.as_of),
        age_seconds=item.age_seconds,
        source=item.source,
        stale=item.stale,
        reason=item.reason or None,
    )


def _basis_provenance(basis: Any) -> Provenance:
    inner = basis.provenance
    return Provenance(
        as_of=rfc3339(basis.as_of),
        age_seconds=getattr(inner, "age_seconds", None),
        source=str(getattr(inner, "source", "") or ""),
        stale=bool(getattr(inner, "stale", False)),
        reason=basis.reason or None,
    )


def _basis_record(basis: Any) -> str:
    """Return the out-of-sample and the live record of such answers; empty if neither is known."""
    return " ".join(part for part in (basis.record_sentence, basis.live_sentence) if part)


def _forecast_summary(forecast: Any) -> ForecastSummary:
    point = forecast.points[-1]
    levels = interval_levels(point.intervals)
    bounds = point.intervals["80" if "80" in levels else levels[0]]
    reason = forecast.reason if forecast.degraded or forecast.stale else None
    return ForecastSummary(
        id=forecast.id,
        unit=forecast.vs_currency,
        start_price=forecast.last_price,
        horizon=f"until {terminal.when(point)}",
        lower_80=bounds.lower,
        upper_80=bounds.upper,
        in_words=terminal.sentence(forecast),
        record_in_words=terminal.record_sentence(forecast) or "No record was measured for this answer.",
        model=f"{forecast.served_by} {forecast.version}".strip(),
        degraded=forecast.degraded,
        provenance=Provenance(
            as_of=rfc3339(forecast.as_of),
            age_seconds=forecast.age_seconds,
            source=forecast.source,
            stale=forecast.stale,
            reason=reason,
        ),
    )


def _model_record(model: Any, row: Any) -> ModelRecord:
    hours = getattr(row, "horizon_hours", 0) or 0
    horizon = formatting.plural(hours or row.horizon_days, "hour" if hours else "day")
    covered, skill = row.coverage_80_percent, row.crps_skill_percent
    words = f"No coverage was measured at {horizon}."
    if covered is not None:
        words = f"{covered:.1f} % of {row.forecasts:,} 80 % intervals for {horizon} contained the price."
    if skill is not None:
        words += (
            f" CRPS skill {skill:+.2f} % over a normal distribution with the volatility of the last 60 days."
        )
    return ModelRecord(
        model=model.name,
        version=model.version,
        horizon=horizon,
        forecasts=row.forecasts,
        covered_by_80_percent_interval=covered,
        crps_skill_percent=skill,
        in_words=words,
    )


def _volatility(closes: Sequence[float]) -> float | None:
    """Return the annualised standard deviation of daily log returns in percent."""
    returns = [math.log(after / before) for before, after in pairwise(closes)]
    if len(returns) < 2:
        return None
    mean = sum(returns) / len(returns)
    variance = sum((each - mean) ** 2 for each in returns) / (len(returns) - 1)
    return round(100 * math.sqrt(variance * DAYS_PER_YEAR), 2)
