"""The `coincast` command: prices, forecast, models, health."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from coincast_client import terminal
from coincast_client.client import DEFAULT_URL, Coincast, forecasts_call, prices_call
from coincast_client.errors import CoincastClientError, Refused
from coincast_client.models import Forecasts, Health, Model, Prices

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Crypto prices and honest forecasts, from a gateway."
)

Url = Annotated[str, typer.Option(envvar="COINCAST_URL", help="Address of the gateway.")]
Key = Annotated[str, typer.Option(envvar="COINCAST_API_KEY", help="API key, where the gateway asks for one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the gateway's JSON as it came.")]
Coins = Annotated[list[str], typer.Argument(help="CoinGecko ids, such as bitcoin ethereum.")]


@contextmanager
def asking(url: str, api_key: str) -> Iterator[Coincast]:
    """A client; what goes wrong is told in a line on stderr, with exit code 1 (2 for a bad request)."""
    try:
        with Coincast(url, api_key=api_key) as client:
            yield client
    except CoincastClientError as error:
        near = (
            f" Did you mean {', '.join(error.suggestions[:3])}?"
            if isinstance(error, Refused) and error.suggestions
            else ""
        )
        Console(stderr=True).print(f"coincast: {error}{near}", markup=False, highlight=False)
        bad_request = isinstance(error, Refused) and 400 <= error.status < 500
        raise typer.Exit(2 if bad_request else 1) from None


def printed(document: Any) -> None:
    """JSON on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


@app.command()
def prices(
    ids: Coins,
    vs: Annotated[str, typer.Option(help="Currencies, separated by commas.")] = "usd",
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Spot prices."""
    with asking(url, key) as client:
        document = client.get(*prices_call(ids, vs.split(",")))
        if as_json:
            printed(document)
        else:
            terminal.show_prices(Console(), Prices.read(document))


@app.command()
def forecast(
    ids: Coins,
    *,
    days: Annotated[int, typer.Option(min=1, max=30, help="Days ahead.")] = 7,
    model: Annotated[str, typer.Option(help="auto, lightgbm, lstm, ml_ensemble or technical.")] = "auto",
    vs: Annotated[str, typer.Option(help="The currency.")] = "usd",
    chart: Annotated[bool, typer.Option(help="Draw a chart.")] = True,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Forecasts with intervals, and a small chart."""
    with asking(url, key) as client:
        document = client.get(*forecasts_call(ids, days, model, vs, (80, 95)))
        if as_json:
            printed(document)
            return
        console, found = Console(), Forecasts.read(document)
        for each in found.forecasts:
            history = client.history(each.id, days=60, vs_currency=vs) if chart else None
            terminal.show_forecast(console, each, history)
        terminal.show_errors(console, found.errors)


@app.command()
def models(url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """The models, and how well each did out of sample."""
    with asking(url, key) as client:
        document = client.get("/forecasts/models")
        if as_json:
            printed(document)
        else:
            terminal.show_models(Console(), [Model.read(row) for row in document["models"]])


@app.command()
def health(url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """How every part of the system does; exit code 1 where it is down."""
    with asking(url, key) as client:
        document = client.get("/health/detailed")
        if as_json:
            printed(document)
        else:
            terminal.show_health(Console(), Health.read(document))
    if document["status"] == "down":
        raise typer.Exit(1)
