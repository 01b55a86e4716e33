"""Replies as tables and a small chart for a terminal."""

from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coincast_client.chart import chart
from coincast_client.models import Forecast, Health, History, ItemError, Model, Prices

_COLOURS = {"ok": "green", "degraded": "yellow", "down": "red"}


def money(value: float | None) -> str:
    """A price with as many digits as tell something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}" if abs(value) >= 1 else f"{value:.6g}"


def percent(value: float | None, digits: int = 2) -> str:
    """A signed figure in percent."""
    return "-" if value is None else f"{value:+.{digits}f}"


def table(title: str, *columns: str) -> Table:
    """A table whose first column is words and whose others are figures."""
    made = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    return made


def show_prices(console: Console, prices: Prices) -> None:
    """One row a coin and currency."""
    made = table("Prices", "Coin", "Price", "24 h %", "Market value", "As of", "Source")
    for p in prices.prices:
        standing = f"{p.source}, stale" if p.stale else p.source
        name = f"{p.id} / {p.vs_currency}"
        moment = (p.as_of or "-")[:16].replace("T", " ")
        made.add_row(
            name, money(p.price), percent(p.change_24h_percent), compact(p.market_cap), moment, standing
        )
    console.print(made)
    show_errors(console, prices.errors)


def show_forecast(console: Console, forecast: Forecast, history: History | None) -> None:
    """A chart of what was and what may be, then the figures."""
    if history is not None and history.candles and console.width >= 40:
        console.print(Text(chart(forecast, history, console.width)))
    levels = [interval.level_percent for interval in forecast.points[0].intervals]
    spans = [f"{level:g} % interval" for level in levels]
    made = table(headline(forecast), "Day", "Median", *spans, "Rise %")
    for point in forecast.points:
        bounds = [f"{money(i.lower)} - {money(i.upper)}" for i in point.intervals]
        rise = "-" if point.probability_of_rise is None else f"{100 * point.probability_of_rise:.0f}"
        made.add_row(point.date, money(point.price), *bounds, rise)
    console.print(made)
    if forecast.degraded:
        console.print(f"[yellow]Degraded:[/] {forecast.reason or 'no reason was given'}")


def closed_day(forecast: Forecast) -> str:
    """The day whose close the forecast stands on: as_of is the midnight that ended it."""
    return (datetime.fromisoformat(forecast.as_of) - timedelta(seconds=1)).date().isoformat()


def compact(value: float | None) -> str:
    """A large sum in few characters: 2.16 T."""
    if value is None:
        return "-"
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.2f} {unit}"
    return money(value)


def headline(forecast: Forecast) -> str:
    """Where the forecast stands, in a line."""
    return (
        f"{forecast.id}: {money(forecast.last_price)} {forecast.vs_currency.upper()} at the close of "
        f"{closed_day(forecast)}, {forecast.served_by} {forecast.version}, data: {forecast.source}"
    )


def show_models(console: Console, models: list[Model]) -> None:
    """Each model with its record at the longest measured horizon up to a week."""
    made = table("Models", "Model", "Version", "Ready", "Days", "MASE", "Skill %", "CRPS skill %", "In 80 %")
    for model in models:
        measured = [h for h in model.record if h.horizon_days <= 7] or list(model.record)
        h = measured[-1] if measured else None
        figures = [
            str(h.horizon_days) if h else "-",
            f"{h.mase:.3f}" if h and h.mase is not None else "-",
            percent(h.skill_percent if h else None),
            percent(h.crps_skill_percent if h else None),
            f"{h.coverage_80_percent:.1f}" if h and h.coverage_80_percent is not None else "-",
        ]
        made.add_row(model.name, model.version or "-", "yes" if model.ready else "no", *figures)
    console.print(made)
    for model in models:
        if not model.ready:
            console.print(Text(f"{model.name}: {model.reason}", style="yellow"))


def show_health(console: Console, health: Health) -> None:
    """Each part with its sentence."""
    made = Table(title=f"The system is {health.status}", title_justify="left")
    for column in ("Part", "Status", "What to know"):
        made.add_column(column)
    for part in health.components:
        made.add_row(part.name, f"[{_COLOURS[part.status]}]{part.status}[/]", Text(part.sentence))
    console.print(made)


def show_errors(console: Console, errors: tuple[ItemError, ...]) -> None:
    """What could not be served, and what was probably meant."""
    for error in errors:
        told = not error.suggestions or "did you mean" in error.message.lower()
        near = "" if told else f" Did you mean {', '.join(error.suggestions[:3])}?"
        console.print(Text(f"{error.id}: {error.message}{near}", style="yellow"))
