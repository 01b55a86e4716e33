"""The `coincast` command.

Exit codes: 0 if everything requested was served, 1 if the gateway cannot be reached, a quota is used up, an
item could not be served or a file could not be written, 2 for an invalid request.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from coincast_client import exports, formatting, schemas, terminal
from coincast_client.base import Reply
from coincast_client.client import DEFAULT_URL, AsyncCoincast, Coincast
from coincast_client.errors import CoincastClientError, Refused

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Show cryptocurrency prices and probabilistic forecasts from a Coincast gateway.",
)

Url = Annotated[str, typer.Option(envvar="COINCAST_URL", help="Address of the gateway.", metavar="URL")]
Key = Annotated[
    str,
    typer.Option(envvar="COINCAST_API_KEY", help="API key, if the gateway requires one.", metavar="KEY"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")]
# How long a completion waits for the gateway; a shell that hangs is worse than one without suggestions.
COMPLETION_SECONDS = 1.5
COMPLETIONS = 30


def complete_coins(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids that begin with a text; those of the largest coins if it is empty."""
    given = context.params
    url, key = given.get("url") or DEFAULT_URL, given.get("key") or ""
    try:
        with Coincast(url, api_key=key, timeout_seconds=COMPLETION_SECONDS) as client:
            if not incomplete:
                return [market.id for market in client.markets(per_page=COMPLETIONS).markets]
            found = [coin.id for coin in client.coins(incomplete, limit=250).coins]
    except (CoincastClientError, ValueError):
        return []
    return [coin for coin in found if coin.startswith(incomplete)][:COMPLETIONS]


def complete_models(incomplete: str) -> list[str]:
    """Return the names of models that begin with a text."""
    return [name for name in MODELS if name.startswith(incomplete)]


def complete_tables(incomplete: str) -> list[str]:
    """Return the names of tables for export that begin with a text."""
    return [name for name in exports.PATHS if name.startswith(incomplete)]


MODELS = ("auto", "ml_ensemble", "lightgbm", "lstm", "technical")
Coins = Annotated[
    list[str],
    typer.Argument(
        help="CoinGecko ids, such as bitcoin ethereum.", metavar="IDS...", autocompletion=complete_coins
    ),
]
Coin = Annotated[str, typer.Argument(help="A CoinGecko id.", metavar="COIN", autocompletion=complete_coins)]
Model = Annotated[
    str,
    typer.Option(
        help=f"Model: {', '.join(MODELS[:-1])} or {MODELS[-1]}.",
        metavar="NAME",
        autocompletion=complete_models,
    ),
]
Currency = Annotated[str, typer.Option("--vs", help="The currency of the prices.", metavar="CODE")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        help="A past day or time, such as 2025-08-15T14:00Z: use only data that was known then.",
        metavar="MOMENT",
    ),
]
FAILED, BAD_REQUEST = 1, 2
# Pass all arguments unchanged to a command of another package.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coincast {metadata.version('coincast-client')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Show cryptocurrency prices and probabilistic forecasts from a Coincast gateway."""


def print_error(message: str) -> None:
    """Print one line on stderr."""
    # The terminal breaks the line where it must; in a log, a path or an address stays whole.
    terminal.open_console(stderr=True).print(f"coincast: {message}", soft_wrap=True)


@contextmanager
def connect(url: str, api_key: str) -> Iterator[Coincast]:
    """Yield a client; convert its errors to one line on stderr and an exit code."""
    try:
        with Coincast(url, api_key=api_key) as client:
            yield client
    except (CoincastClientError, ValueError) as error:
        suggestions = error.suggestions if isinstance(error, Refused) else ()
        suggested = "did you mean" in str(error).lower()
        hint = f" Did you mean {', '.join(suggestions[:3])}?" if suggestions and not suggested else ""
        print_error(f"{error}{hint}")
        # A request that waits for its quota (429) is not invalid.
        refused = isinstance(error, Refused) and 400 <= error.status < 500 and error.status != 429
        wrong = isinstance(error, ValueError) or refused
        raise typer.Exit(BAD_REQUEST if wrong else FAILED) from None


def print_json(reply: Reply) -> None:
    """Print a reply as JSON on stdout."""
    typer.echo(json.dumps(reply.model_dump(mode="json"), indent=2, ensure_ascii=False))


def exit_for(errors: Sequence[Any]) -> None:
    """Exit with code 1 if an item could not be served."""
    if errors:
        raise typer.Exit(FAILED)


@app.command()
def prices(
    ids: Coins, vs: Currency = "usd", url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False
) -> None:
    """Show spot prices."""
    with connect(url, key) as client:
        reply = client.prices(ids, vs_currencies=vs)
    if as_json:
        print_json(reply)
    else:
        terminal.show_prices(terminal.open_console(), reply)
    exit_for(reply.errors)


@app.command()
def coins(
    words: Annotated[
        list[str], typer.Argument(help="Words to find in id, symbol or name.", metavar="WORDS...")
    ],
    limit: Annotated[int, typer.Option(min=1, max=250, help="Maximum number of coins.", metavar="N")] = 20,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Find coins by id, symbol or name; exit code 1 if none matches."""
    with connect(url, key) as client:
        reply = client.coins(" ".join(words), limit=limit)
    if as_json:
        print_json(reply)
    else:
        terminal.show_coins(terminal.open_console(), reply)
    if not reply.coins:
        raise typer.Exit(FAILED)


@app.command()
def history(
    coin: Coin,
    *,
    days: Annotated[int, typer.Option(min=1, max=10_000, help="Number of closed days.", metavar="N")] = 30,
    hourly: Annotated[bool, typer.Option("--hourly", help="Hourly candles instead of daily ones.")] = False,
    as_of: AsOf = None,
    vs: Currency = "usd",
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show the candles of one coin."""
    with connect(url, key) as client:
        interval: Literal["1d", "1h"] = "1h" if hourly else "1d"
        reply = client.history(coin, days=days, vs_currency=vs, interval=interval, as_of=as_of)
    if as_json:
        print_json(reply)
    else:
        terminal.show_history(terminal.open_console(), reply)


@app.command()
def forecast(
    ids: Coins,
    *,
    days: Annotated[
        int | None, typer.Option(min=1, max=30, help="Days ahead; the default is 7.", metavar="N")
    ] = None,
    hours: Annotated[
        int | None, typer.Option(min=1, max=48, help="Hours ahead, instead of days.", metavar="N")
    ] = None,
    model: Model = "auto",
    as_of: AsOf = None,
    vs: Currency = "usd",
    chart: Annotated[bool, typer.Option(help="Draw a chart.")] = True,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show forecasts: a sentence, a chart and the intervals."""
    with connect(url, key) as client:
        reply = client.forecasts(ids, days=days, hours=hours, model=model, vs_currency=vs, as_of=as_of)
        if as_json:
            print_json(reply)
        else:
            console = terminal.open_console()
            for found in reply.forecasts:
                until = found.as_of if as_of else None
                past = history_of_chart(client, found, until) if chart else None
                terminal.show_forecast(console, found, past, earlier=as_of is not None)
            terminal.show_errors(console, reply.errors)
    exit_for(reply.errors)


def history_of_chart(
    client: Coincast, forecast: schemas.Forecast, until: datetime | None
) -> schemas.History | None:
    """Return the history for a forecast's chart; without it the forecast is shown without a chart."""
    try:
        return client.history(forecast.id, days=60, vs_currency=forecast.vs_currency, as_of=until)
    except CoincastClientError as error:
        print_error(f"there is no chart of {forecast.id}: {error}")
        return None


@app.command(context_settings={"ignore_unknown_options": True})
def touch(
    coin: Coin,
    level: Annotated[
        list[str],
        typer.Argument(
            help="A price, or a move in percent of the last price, such as 5% or -5%.", metavar="LEVEL..."
        ),
    ],
    *,
    days: Annotated[int, typer.Option(min=1, max=14, help="Days ahead.", metavar="N")] = 7,
    model: Model = "auto",
    as_of: AsOf = None,
    vs: Currency = "usd",
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show the probability that a price touches a level by each of the coming days."""
    # Moves such as -5% look like options, so unknown options arrive here.
    for each in (coin, *level):
        if each.startswith("-") and not re.match(r"-[\d.]", each):
            raise typer.BadParameter(f"No such option: {each}")
    with connect(url, key) as client:
        reply = client.touch(coin, level, days=days, model=model, vs_currency=vs, as_of=as_of)
    if as_json:
        print_json(reply)
    else:
        terminal.show_touch(terminal.open_console(), reply)
    exit_for(reply.errors)


@app.command()
def risk(
    holdings: Annotated[
        list[str],
        typer.Argument(
            help="Values such as bitcoin=6000, or amounts of coins such as ethereum:1.5; negative for short.",
            metavar="HOLDINGS...",
        ),
    ],
    *,
    days: Annotated[int, typer.Option(min=1, max=14, help="Days ahead.", metavar="N")] = 7,
    levels: Annotated[
        str, typer.Option(help="Levels of value at risk in percent, with commas.", metavar="LIST")
    ] = "90,95,97.5,99",
    model: Model = "auto",
    as_of: AsOf = None,
    vs: Currency = "usd",
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show the risk of holdings: value at risk, expected shortfall, contributions, worst cases."""
    with connect(url, key) as client:
        reply = client.portfolio(
            parse_holdings(holdings),
            days=days,
            levels=parse_levels(levels),
            model=model,
            vs_currency=vs,
            as_of=as_of,
        )
    if as_json:
        print_json(reply)
    else:
        terminal.show_risk(terminal.open_console(), reply)
    exit_for(reply.errors)


HOLDING = re.compile(r"\s*(?P<coin>[^=:]+?)\s*(?P<sign>[=:])(?P<size>[^=:]+)")


def parse_holdings(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return holdings from texts such as `bitcoin=6000` (a value) or `ethereum:1.5` (an amount of coins).

    Raises:
        ValueError: A text is of neither form.
    """
    holdings: list[dict[str, Any]] = []
    for text in texts:
        found = HOLDING.fullmatch(text)
        try:
            size = float(found["size"]) if found else math.nan
        except ValueError:
            size = math.nan
        if found is None or not math.isfinite(size):
            raise ValueError(
                f"{text!r} is not a holding; write coin=value, such as bitcoin=6000, or coin:amount, such as "
                "ethereum:1.5."
            )
        holdings.append({"id": found["coin"], "value" if found["sign"] == "=" else "amount": size})
    return holdings


def parse_levels(text: str) -> list[float]:
    """Return levels in percent from a list with commas.

    Raises:
        ValueError: A part is not a finite number.
    """
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError:
        levels = [math.nan]
    if not all(map(math.isfinite, levels)):
        raise ValueError(f"{text!r} is no list of levels; write it like 95,99.")
    return levels


@app.command()
def models(url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """Show the models and their out-of-sample accuracy."""
    with connect(url, key) as client:
        reply = client.models()
    if as_json:
        print_json(reply)
    else:
        terminal.show_models(terminal.open_console(), reply)


@app.command()
def accuracy(
    days: Annotated[
        int,
        typer.Option(
            min=1, max=365, help="Include forecasts that were due within this many days.", metavar="N"
        ),
    ] = 30,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show the accuracy of served forecasts that are due."""
    with connect(url, key) as client:
        reply = client.accuracy(days=days)
    if as_json:
        print_json(reply)
    else:
        terminal.show_accuracy(terminal.open_console(), reply)


@app.command()
def keys(
    days: Annotated[int, typer.Option(min=1, max=35, help="Days to show.", metavar="N")] = 7,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show the usage of your API key, or of all keys with an administrator's key."""
    with connect(url, key) as client:
        reply = client.usage(days=days)
    if as_json:
        print_json(reply)
    else:
        terminal.show_usage(terminal.open_console(), reply)


@app.command()
def watch(
    ids: Coins,
    *,
    vs: Currency = "usd",
    updates: Annotated[
        int, typer.Option(min=0, help="End after this many updates; 0 continues until Ctrl-C.", metavar="N")
    ] = 0,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show prices as they change, until Ctrl-C."""
    latest: dict[tuple[str, str], schemas.Price] = {}
    errors: dict[str, schemas.ItemError] = {}
    console = terminal.open_console()
    with connect(url, key) as client:
        # The first event of a stream is empty if nothing was known of the coins yet.
        shown_events = (e for e in client.prices_stream(ids, vs_currencies=vs) if e.prices or e.errors)
        for number, event in enumerate(shown_events, start=1):
            latest |= {(price.id, price.vs_currency): price for price in event.prices}
            # A coin that has a price by now is no error any more.
            for price in event.prices:
                errors.pop(price.id, None)
            errors |= {error.id: error for error in event.errors}
            if as_json:
                typer.echo(event.model_dump_json())
            else:
                if console.is_terminal:
                    console.clear()
                shown = schemas.Prices(prices=list(latest.values()), errors=list(errors.values()))
                terminal.show_prices(console, shown)
            if number == updates:
                break
    exit_for(list(errors))


@contextmanager
def writing() -> Iterator[None]:
    """Convert an error of the file system to one line on stderr and exit code 1."""
    try:
        yield
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        print_error(f"cannot write{place}: {error.strerror or error}. Give --out a path that can be written.")
        raise typer.Exit(FAILED) from None


@app.command()
def export(
    table: Annotated[
        str,
        typer.Argument(
            help="histories, ledger, accuracy or scenarios.", metavar="TABLE", autocompletion=complete_tables
        ),
    ],
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="CoinGecko ids; by default all coins, if the table allows it.",
            metavar="IDS...",
            autocompletion=complete_coins,
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="A file (.parquet, .arrow or .csv); for histories also a folder, one file per coin.",
            metavar="PATH",
        ),
    ],
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="parquet, arrow or csv; the default is by the file's suffix.", metavar="FORMAT"
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Number of closed days for histories, or of days ahead for scenarios.",
            metavar="N",
        ),
    ] = None,
    hourly: Annotated[bool, typer.Option("--hourly", help="Hourly candles instead of daily ones.")] = False,
    from_: Annotated[str | None, typer.Option("--from", help="First day, inclusive.", metavar="DATE")] = None,
    to: Annotated[str | None, typer.Option(help="Last day, inclusive.", metavar="DATE")] = None,
    as_of: AsOf = None,
    model: Annotated[
        str | None,
        typer.Option(help="Only forecasts of this model.", metavar="NAME", autocompletion=complete_models),
    ] = None,
    vs: Annotated[
        str | None, typer.Option("--vs", help="The currency of the prices.", metavar="CODE")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Write a table to a file: candles of many coins, the forecast log, its accuracy, joint scenarios."""
    given = {"days": days, "from_": from_, "to": to, "as_of": as_of, "model": model, "vs_currency": vs}
    given["interval"] = "1h" if hourly else None
    with connect(url, key) as client:
        if table not in exports.PATHS:
            raise ValueError(f"{table!r} is not a table; give one of {', '.join(exports.PATHS)}.")
        if table == "histories" and not out.suffix:
            if file_format not in (None, "parquet", "csv"):
                raise ValueError("A folder of candles holds parquet or csv files.")
            kind: Any = file_format or "parquet"
            with writing():
                found = client.export_candles(ids or [], out, file_format=kind, **given)
            typer.echo(f"{formatting.plural(len(found.files), 'file')} in {found.folder}")
            for error in found.errors:
                print_error(error)
            exit_for(found.errors)
        else:
            names: Any = (table, file_format)
            with writing():
                written = client.export(names[0], out, file_format=names[1], ids=ids or None, **given)
            typer.echo(f"{written} ({written.stat().st_size:,} bytes)")


@app.command("import", context_settings=PASSED_ON, add_help_option=False)
def import_candles(context: typer.Context) -> None:
    """Import a folder of candle files into the archive; `--help` lists its options."""
    _run_in_stack("import", context.args)


@app.command()
def health(url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """Show the state of every component of the system; exit code 1 if the system is down."""
    with connect(url, key) as client:
        reply = client.health()
    if as_json:
        print_json(reply)
    else:
        terminal.show_health(terminal.open_console(), reply)
    if reply.status == "down":
        raise typer.Exit(FAILED)


@app.command()
def doctor() -> None:
    """Check upstream, key and plan, Redis, disk, port and versions, with a remedy for each failure."""
    _run_in_stack("doctor")


@app.command(context_settings=PASSED_ON, add_help_option=False)
def up(context: typer.Context) -> None:
    """Start the whole system and keep it running until Ctrl-C; `--help` lists its options."""
    _run_in_stack("run", context.args)


@app.command(context_settings=PASSED_ON, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Start everything, print one forecast and stop; `--help` lists its options."""
    _run_in_stack("demo", context.args)


@app.command()
def mcp(url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Serve the gateway to an assistant over stdio (Model Context Protocol)."""
    if importlib.util.find_spec("mcp") is None:
        print_error("install the package mcp first: pip install mcp")
        raise typer.Exit(BAD_REQUEST)
    server = importlib.import_module("coincast_client.mcp_server")
    version = metadata.version("coincast-client")
    server.build_server(lambda context: AsyncCoincast(url, api_key=key), version).run("stdio")


def _run_in_stack(command: str, arguments: Sequence[str] = ()) -> None:
    """Run a command of `coincast_stack`, which is installed only with the whole system."""
    if importlib.util.find_spec("coincast_stack") is None:
        print_error(f"{command} needs the whole system; install the package `coincast`.")
        raise typer.Exit(BAD_REQUEST)
    entry = importlib.import_module("coincast_stack.__main__")
    raise typer.Exit(entry.main([command, *arguments]))
