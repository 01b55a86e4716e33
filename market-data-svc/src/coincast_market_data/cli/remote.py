"""Commands that call a running service: `backfill`, `repair` and `quality` of its archive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from coincast.market.v1 import market_pb2, market_pb2_grpc
from coincast_chassis.errors import CoincastError
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.settings import load_settings
from coincast_market_data.app import SERVICE
from coincast_market_data.settings import Settings

STATUS_SECONDS = 30.0
INTERVALS = {
    "1d": market_pb2.CANDLE_INTERVAL_ONE_DAY,
    "1h": market_pb2.CANDLE_INTERVAL_ONE_HOUR,
}
Coins = Annotated[
    list[str], typer.Argument(help="CoinGecko ids, such as bitcoin ethereum.", metavar="IDS...")
]
Target = Annotated[
    str, typer.Option(help="Address of the service; by default the one on this machine.", metavar="HOST:PORT")
]


def backfill(
    ids: Coins,
    *,
    days: Annotated[int, typer.Option(help="Number of closed days to go back.", metavar="N")] = 365,
    currency: Annotated[str, typer.Option(help="The currency of the prices.", metavar="CODE")] = "usd",
    refetch: Annotated[bool, typer.Option("--refetch", help="Replace the whole stored history.")] = False,
    interval: Annotated[
        str, typer.Option(help="1d for daily candles, 1h for hourly ones.", metavar="1d|1h")
    ] = "1d",
    target: Target = "",
) -> None:
    """Let the running service fetch the candles that its archive lacks; exit code 1 if a coin failed.

    It may take long, since requests of clients have a higher priority. Results are stored immediately: after
    Ctrl-C or a failure, the next run continues where this one stopped.
    """
    if interval not in INTERVALS:
        raise typer.BadParameter(f"interval must be 1d or 1h; {interval} was given")
    request = market_pb2.BackfillRequest(
        ids=ids, vs_currency=currency, days=days, refetch=refetch, interval=INTERVALS[interval]
    )
    failed = _run("backfill", target, lambda stub: _fill(stub, request))
    raise typer.Exit(1 if failed else 0)


def repair(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="CoinGecko ids; without any, all that are stored.", metavar="IDS..."),
    ] = None,
    *,
    currency: Annotated[
        str, typer.Option(help="Only this currency; without one, all that are stored.", metavar="CODE")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report without changing anything.")] = False,
    target: Target = "",
) -> None:
    """Let the running service check its whole archive; exit code 1 if a coin failed.

    Implausible days and hours are quarantined and fetched again, at the lowest priority. Quarantined candles
    are stored in a revision beside the archive.
    """
    request = market_pb2.RepairRequest(ids=ids or (), vs_currency=currency, dry_run=dry_run)
    failed = _run("repair", target, lambda stub: _repair(stub, request))
    raise typer.Exit(1 if failed else 0)


def quality(ids: Coins, target: Target = "") -> None:
    """Show the defects and gaps that the running service found in the data of coins."""
    request = market_pb2.GetStatusRequest(quality_ids=ids)
    status = _run("quality", target, lambda stub: stub.GetStatus(request, timeout=STATUS_SECONDS))
    _show(status.quality)


def _run(name: str, target: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
    address = target or f"127.0.0.1:{load_settings(Settings).port}"
    try:
        return asyncio.run(_call(address, call))
    except CoincastError as error:
        typer.echo(f"{name}: {address}: {error.message}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"{name}: interrupted; the candles fetched so far are stored", err=True)
        raise typer.Exit(130) from None


async def _call(address: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
    async with _service(address) as stub:
        return await call(stub)


@asynccontextmanager
async def _service(address: str) -> AsyncIterator[Any]:
    channel = open_channel(address, service=SERVICE)
    try:
        yield market_pb2_grpc.MarketDataServiceStub(channel)
    finally:
        await channel.close()


async def _fill(stub: Any, request: market_pb2.BackfillRequest) -> int:
    failed = added = 0
    async for step in stub.Backfill(request):
        where = f"[{step.coins_done}/{step.coins_total}] {step.id}"
        if step.HasField("error"):
            failed += 1
            typer.echo(f"{where}: {step.error.message}")
        else:
            added += step.candles_added
            typer.echo(f"{where}: {step.candles_added} candles new or richer")
    typer.echo(f"{added} candles new or richer; {failed} coins failed")
    return failed


async def _repair(stub: Any, request: market_pb2.RepairRequest) -> int:
    coins = failed = aside = fetched = 0
    async for step in stub.Repair(request):
        coins, aside, fetched = coins + 1, aside + step.days_put_aside, fetched + step.days_fetched
        failed += step.HasField("error")
        typer.echo(_repair_line(step, dry_run=request.dry_run))
    typer.echo(f"{coins} coins checked; {aside} days quarantined, {fetched} fetched; {failed} coins failed")
    return failed


def _repair_line(step: market_pb2.RepairResponse, *, dry_run: bool) -> str:
    where = f"[{step.coins_done}/{step.coins_total}] {step.id} {step.vs_currency}".rstrip()
    if step.HasField("error"):
        return f"{where}: {step.error.message}"
    days, hours = len(step.implausible_dates), step.implausible_hours
    ranges = len(step.implausible_range_dates)
    if not days and not hours and not ranges:
        return f"{where}: nothing implausible"
    found = f"{where}: {days} days and {hours} hours implausible"
    if days:
        found += f" ({step.implausible_dates[0]} to {step.implausible_dates[-1]})"
    if ranges:
        found += f"; high or low of {ranges} days"
    if dry_run:
        return found
    if ranges:
        found += (
            f" ({step.ranges_confirmed} confirmed, {step.ranges_put_aside} quarantined,"
            f" {step.ranges_fetched} fetched)"
        )
    return (
        f"{found}; {step.days_confirmed} days confirmed, {step.days_put_aside} quarantined,"
        f" {step.days_fetched} days and {step.hours_fetched} hours fetched"
    )


def _show(reports: Sequence[market_pb2.QualityReport]) -> None:
    columns = ("coin", "currency", "last good day", "days missing", "duplicates", "quarantined", "notes")
    table = Table(*columns)
    for report in reports:
        table.add_row(
            report.id,
            report.vs_currency,
            report.last_good_date or "-",
            str(report.missing_days),
            str(report.duplicate_points),
            str(report.quarantined_points),
            "\n".join(report.notes) or "-",
        )
    Console(width=160).print(table)
