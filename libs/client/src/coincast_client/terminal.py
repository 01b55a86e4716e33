"""Show replies in a terminal: tables that fit into 60 columns, with colours if the terminal supports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coincast_client import formatting, schemas
from coincast_client.tables import interval_levels

HEIGHT_ROWS = 14
MAX_COLUMNS = 100
MIN_COLUMNS = 40
# Share of the chart's width for the forecast; the rest shows the past.
FORECAST_SHARE = 0.42
_SHADES = ("░", "▒")
_STYLES = {"•": "bold", "─": "green", "░": "green", "▒": "green", "│": "dim"}

_COLOURS = {"ok": "green", "degraded": "yellow", "down": "red"}
NARROW_COLUMNS = 76


def open_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: brackets in the name of a coin are no markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def make_table(title: str, columns: Sequence[str], *, words: Sequence[int] = (0,)) -> Table:
    """Return an empty table; the columns with the indices `words` hold text, the others figures."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index in words else "right", overflow="fold")
    return made


def printable(text: str) -> str:
    """Return a text with spaces in place of control characters, which a terminal would obey."""
    return "".join(mark if mark.isprintable() else " " for mark in text)


def coloured(value: float | None, text: str) -> Text:
    """Return a text in green for a positive value and in red for a negative one."""
    return Text(text, style="" if not value else "green" if value > 0 else "red")


def show_prices(console: Console, reply: schemas.Prices) -> None:
    """Print one row for each coin and currency."""
    narrow = console.width < NARROW_COLUMNS
    heads = ("Coin", "Price", "24 h") if narrow else ("Coin", "Price", "24 h", "Market value", "Updated")
    table = make_table("Prices", heads)
    for price in reply.prices:
        row: list[Any] = [
            f"{price.id} / {price.vs_currency}",
            formatting.price(price.price),
            coloured(price.change_24h_percent, formatting.percent(price.change_24h_percent)),
        ]
        if not narrow:
            row += [formatting.compact_money(price.market_cap, price.vs_currency), freshness(price)]
        table.add_row(*row)
    console.print(table)
    if narrow:
        show_source(console, *reply.prices)
    show_errors(console, reply.errors)


def show_source(console: Console, *items: Any) -> None:
    """Print that figures are not market prices, or that they are old, where they are."""
    if any(item.source == "sandbox" for item in items):
        console.print(Text("Sandbox data: these are not market prices.", style="yellow"))
    for reason in dict.fromkeys(item.reason for item in items if item.stale):
        console.print(Text(f"Stale: {reason or 'no reason was given.'}", style="yellow"))


def freshness(item: Any) -> str:
    """Return a short text with the age of a figure and whether it is stale or from the sandbox."""
    words = [formatting.age(item.age_seconds)]
    if item.source == "sandbox":
        words.append("sandbox")
    if item.stale:
        words.append("stale")
    return ", ".join(words)


def show_coins(console: Console, reply: schemas.Coins) -> None:
    """Print the coins found."""
    found = "1 coin matches" if reply.total == 1 else f"{formatting.count(reply.total)} coins match"
    table = make_table(found, ["Id", "Symbol", "Name"], words=(0, 1, 2))
    for coin in reply.coins:
        table.add_row(coin.id, printable(coin.symbol.upper()), printable(coin.name))
    console.print(table)


def show_history(console: Console, reply: schemas.History) -> None:
    """Print one row for each candle, newest last."""
    table = make_table(
        f"{reply.id} in {reply.vs_currency.upper()}", ["Day", "Open", "High", "Low", "Close", "Volume"]
    )
    for candle in reply.candles:
        figures = (candle.open, candle.high, candle.low, candle.close)
        table.add_row(start_of(candle), *map(formatting.price, figures), formatting.compact(candle.volume))
    console.print(table)
    show_source(console, reply)
    if reply.truncated and reply.truncated_reason:
        console.print(Text(reply.truncated_reason, style="yellow"))


def start_of(candle: Any) -> str:
    """Return the day of a daily candle, or the start of an hourly one."""
    return formatting.day(candle.date) if hasattr(candle, "date") else formatting.moment(candle.time)


def show_forecast(
    console: Console, forecast: schemas.Forecast, history: schemas.History | None, *, earlier: bool = False
) -> None:
    """Print a forecast as a sentence, a chart and a table.

    Args:
        console: The terminal.
        forecast: The forecast.
        history: The prices before it; None for no chart.
        earlier: Whether it is the forecast of an earlier moment, which the chart then names.
    """
    console.print(Text(sentence(forecast), style="bold"))
    if record := record_sentence(forecast):
        console.print(Text(record))
    if history is not None and history.candles and console.width >= MIN_COLUMNS:
        console.print(draw_fan(_fan(forecast, history, earlier=earlier), console.width))
    levels = interval_levels(forecast.points[0].intervals)
    shown = levels if console.width >= NARROW_COLUMNS else levels[:1]
    table = make_table(headline(forecast), ["Until", "Median", *(f"{level} % interval" for level in shown)])
    for point in forecast.points:
        spans = [
            f"{formatting.price(bounds.lower)} to {formatting.price(bounds.upper)}"
            for bounds in (point.intervals[level] for level in shown)
        ]
        table.add_row(when(point), formatting.price(point.price), *spans)
    console.print(table)
    if forecast.degraded or forecast.stale:
        word = "Degraded" if forecast.degraded else "Stale"
        console.print(Text(f"{word}: {forecast.reason or 'no reason was given.'}", style="yellow"))


def when(point: Any) -> str:
    """Return the time or day at which a point's horizon ends."""
    closes_at = getattr(point, "closes_at", None)
    return formatting.moment(closes_at) if isinstance(closes_at, datetime) else str(point.date)


def sentence(forecast: schemas.Forecast) -> str:
    """Return a forecast in words: the interval, how often it contains the price, and the direction."""
    point = forecast.points[-1]
    levels = interval_levels(point.intervals)
    level = "80" if "80" in levels else levels[0]
    bounds = point.intervals[level]
    hours = getattr(point, "horizon_hours", 0) or 0
    size = formatting.plural(hours, "hour") if hours else formatting.plural(point.horizon_days, "day")
    often = "8 times in 10" if level == "80" else f"{level} times in 100"
    moves = [
        formatting.percent(100 * (bound / forecast.last_price - 1)) for bound in (bounds.lower, bounds.upper)
    ]
    rise = point.probability_of_rise
    way = (
        "Direction: no better than a coin toss."
        if rise is None or abs(rise - 0.5) < 0.02
        else f"Chance of a rise: {formatting.chance(rise)}."
    )
    return (
        f"{forecast.id} in {size}: {formatting.price(bounds.lower)} to "
        f"{formatting.price(bounds.upper)} {formatting.currency(forecast.vs_currency)}, "
        f"{moves[0]} to {moves[1]}, {often}. {way}"
    )


def record_sentence(forecast: schemas.Forecast) -> str:
    """Return how often earlier intervals contained the price, or an empty string without a record."""
    if forecast.record is None or not forecast.record.horizons:
        return ""
    point = forecast.points[-1]
    hours = getattr(point, "horizon_hours", 0) or 0

    def distance(row: Any) -> float:
        row_hours = getattr(row, "horizon_hours", 0) or 24 * row.horizon_days
        return float(abs(row_hours - (hours or 24 * point.horizon_days)))

    row = min(forecast.record.horizons, key=distance)
    if row.coverage_80_percent is None:
        return ""
    row_hours = getattr(row, "horizon_hours", 0) or 0
    span = formatting.plural(row_hours, "hour") if row_hours else formatting.plural(row.horizon_days, "day")
    return (
        f"{formatting.share(row.coverage_80_percent)} of {formatting.count(row.forecasts)} "
        f"earlier 80 % intervals for {span} contained the price."
    )


def _fan(forecast: schemas.Forecast, history: schemas.History, *, earlier: bool) -> Fan:
    levels = interval_levels(forecast.points[0].intervals)[::-1][:2]
    bands = [
        [(p.intervals[level].lower, p.intervals[level].upper) for p in forecast.points] for level in levels
    ]
    begin = formatting.moment(forecast.as_of)[:16] if earlier else "now"
    names = (start_of(history.candles[0]), begin, when(forecast.points[-1])[:16])
    closes = [candle.close for candle in history.candles]
    return Fan(closes, [p.price for p in forecast.points], bands, names, levels)


def headline(forecast: schemas.Forecast) -> str:
    """Return the model of a forecast, and the price from which it starts."""
    price, moment = formatting.price(forecast.last_price), formatting.moment(forecast.as_of)
    # A model that needs no training has no version.
    model = f"{forecast.served_by} {forecast.version}".strip()
    return (
        f"{model}, from {price} at {moment}"
        f"{', sandbox data' if forecast.source == 'sandbox' else ''}"
        f"{', made later from the data known then' if forecast.reconstructed else ''}"
    )


def show_touch(console: Console, reply: Any) -> None:
    """Print a sentence and a table of daily probabilities for each level."""
    for coin in reply.coins:
        for level in coin.levels:
            last = level.days[-1]
            side = "above" if level.price >= coin.last_price else "below"
            within = formatting.plural(last.horizon_days, "day")
            console.print(
                Text(
                    f"{coin.id} touches {formatting.price(level.price)} "
                    f"({formatting.percent(level.percent)}) within {within} with a chance of "
                    f"{formatting.chance(last.touch_probability)}, and closes {side} it on {last.date} with "
                    f"{formatting.chance(last.close_beyond_probability)}.",
                    style="bold",
                )
            )
            table = make_table("", ["Until", "Touched by then", "Closes beyond"])
            for day in level.days:
                chances = (day.touch_probability, day.close_beyond_probability)
                table.add_row(str(day.date), *map(formatting.chance, chances))
            console.print(table)
    show_basis(console, reply.basis)
    show_errors(console, reply.errors)


def show_risk(console: Console, reply: Any) -> None:
    """Print the risk of holdings: a sentence, and tables by level, by coin and of the worst cases."""
    unit = formatting.currency(reply.vs_currency)
    said = [level for level in reply.levels if level.value_at_risk is not None]
    if said:
        main = min(said, key=lambda level: abs(level.level_percent - 95))
        rest = 100 - main.level_percent
        console.print(
            Text(
                f"Worth {formatting.price(reply.value)} {unit}. Over {formatting.plural(reply.days, 'day')}, "
                f"{main.level_percent:g} times in 100 the loss stays below "
                f"{formatting.price(main.value_at_risk)}; in the other {rest:g} it is "
                f"{formatting.price(main.expected_shortfall)} on average.",
                style="bold",
            )
        )
    table = make_table("Losses", ["Level", "Value at risk", "Expected shortfall"])
    for level in reply.levels:
        figures = (level.value_at_risk, level.expected_shortfall)
        table.add_row(f"{level.level_percent:g} %", *map(formatting.price, figures))
    console.print(table)
    for level in reply.levels:
        if level.refused:
            console.print(Text(f"{level.level_percent:g} %: {level.refused}", style="yellow"))
        elif level.indicative:
            error = f", ± {level.relative_error_percent:g} %" if level.relative_error_percent else ""
            console.print(Text(f"{level.level_percent:g} %: indicative only{error}.", style="yellow"))
    if said:
        table = make_table("Contributions to the loss", ["Coin", "Part", "Share"])
        for part in main.components:
            table.add_row(
                part.id, formatting.price(part.expected_shortfall), formatting.share(part.share_percent)
            )
        console.print(table)
    table = make_table("Worst cases", ["If the days after this date recurred", "Change", "Percent"])
    for worst in reply.worst[:5]:
        table.add_row(
            str(worst.origin_date), formatting.price(worst.change), formatting.percent(worst.change_percent)
        )
    console.print(table)
    show_basis(console, reply.basis)
    show_errors(console, reply.errors)


def show_basis(console: Console, basis: Any) -> None:
    """Print the records of earlier answers of this kind, and whether the scenarios are degraded."""
    if basis is None:
        return
    if basis.reconstructed:
        console.print(f"As of {formatting.moment(basis.as_of)}, made later from the data known then.")
    for sentence in (basis.record_sentence, basis.live_sentence):
        if sentence:
            console.print(Text(sentence))
    if basis.provenance is not None:
        show_source(console, basis.provenance)
    if basis.degraded:
        console.print(Text(f"Degraded: {basis.reason or 'no reason was given.'}", style="yellow"))


def show_models(console: Console, reply: schemas.Models) -> None:
    """Print each model with its record at the longest measured horizon up to a week."""
    table = make_table("Models", ["Model", "Version", "Ahead", "In 80 %", "CRPS skill"], words=(0, 1))
    for model in reply.models:
        horizons = model.record.horizons if model.record else []
        measured = [row for row in horizons if row.horizon_days <= 7 and not row.horizon_hours] or horizons
        row = measured[-1] if measured else None
        table.add_row(
            model.name,
            model.version or formatting.MISSING,
            ahead(row) if row else formatting.MISSING,
            formatting.share(row.coverage_80_percent if row else None),
            formatting.percent(row.crps_skill_percent if row else None, 2),
        )
    console.print(table)
    for model in reply.models:
        if not model.ready:
            console.print(Text(f"{model.name}: {model.reason}", style="yellow"))


def show_accuracy(console: Console, reply: Any) -> None:
    """Print the accuracy of served forecasts whose day has ended."""
    table = make_table("Served forecasts", ["Model", "Ahead", "Forecasts", "In 80 %", "CRPS skill"])
    for live in reply.live:
        row = live.horizon
        table.add_row(
            f"{live.model} {live.version}",
            ahead(row),
            formatting.count(row.forecasts),
            formatting.share(row.coverage_80_percent),
            formatting.percent(row.crps_skill_percent, 2),
        )
    console.print(table if reply.live else "No served forecast has been scored yet.")
    show_origin_hours(console, reply.by_origin_hour)
    show_live_risk(console, reply.risk)


def show_live_risk(console: Console, records: Any) -> None:
    """Print how served risk answers came true, all stated chances of a model and horizon together."""
    names = {"touch": "touched", "close_beyond": "closed beyond", "exceedance": "lost more"}
    columns = ["Answer", "Model", "Ahead", "Answers", "Promised", "Came true"]
    table = make_table("Served risk answers", columns, words=(0, 1))
    rows = [r for r in records if r.level_percent is not None or _is_of_all_chances(r)]
    for r in rows:
        level = "" if r.level_percent is None else f" than the {r.level_percent:g} % VaR"
        error = "" if r.standard_error_percent is None else f" ± {r.standard_error_percent:.1f}"
        table.add_row(
            f"{names.get(r.kind, r.kind)}{level}",
            r.served_by or "all",
            f"{r.horizon_days} d",
            formatting.count(r.statements),
            f"{r.promised_percent:.1f}{error} %",
            f"{r.observed_percent:.1f} %",
        )
    console.print(table if rows else "No served risk answer has been scored yet.")


def _is_of_all_chances(record: Any) -> bool:
    return (record.probability_from, record.probability_to) == (0.0, 1.0)


def show_origin_hours(console: Console, records: Any) -> None:
    """Print the coverage of hourly forecasts by the hour of the day from which they start."""
    rows = [r for r in records if r.variant == "production" and r.horizon.horizon_hours]
    horizons = sorted({r.horizon.horizon_hours for r in rows})
    if not rows:
        return
    table = make_table("In 80 %, by the hour (UTC) of the start", ["From", *(f"{h} h" for h in horizons)])
    for hour in sorted({r.origin_hour for r in rows}):
        cells = []
        for horizon in horizons:
            found = [
                r.horizon
                for r in rows
                if (r.origin_hour, r.horizon.horizon_hours) == (hour, horizon)
                and r.horizon.coverage_80_percent is not None
            ]
            count = sum(h.forecasts for h in found)
            share = sum(h.forecasts * h.coverage_80_percent for h in found) / count if count else None
            cells.append(formatting.share(share))
        table.add_row(f"{hour:02d}:00", *cells)
    console.print(table)


def ahead(row: Any) -> str:
    """Return a horizon in short: `6 h` or `7 d`."""
    return f"{row.horizon_hours} h" if row.horizon_hours else f"{row.horizon_days} d"


def show_usage(console: Console, reply: schemas.UsageReport) -> None:
    """Print the usage of each API key, for this month and by day."""
    for key in reply.keys:
        limit = "no limit" if key.month_limit is None else f"{formatting.count(key.month_limit)} a month"
        calls = f"{formatting.count(key.month_calls)} calls this month"
        console.print(Text(f"{key.name}: {calls}, {limit}"))
        table = make_table("", ["Day", "Calls", "Rows", "KB"])
        for day in key.days:
            table.add_row(
                formatting.day(day.date),
                formatting.count(day.calls),
                formatting.count(day.rows),
                formatting.count(round(day.bytes / 1000)),
            )
        if key.days:
            console.print(table)
    if not reply.keys:
        console.print("No key has made a call.")


def show_health(console: Console, reply: schemas.Detailed) -> None:
    """Print each component with its sentence."""
    table = make_table(
        f"The system is {reply.status}", ["Component", "State", "What to know"], words=(0, 1, 2)
    )
    for component in reply.components:
        state = Text(component.status, style=_COLOURS.get(component.status, ""))
        table.add_row(component.name, state, Text(component.sentence))
    console.print(table)


def show_errors(console: Console, errors: Sequence[Any]) -> None:
    """Print the items that could not be served, with the nearest known names."""
    for error in errors:
        suggestions = list(error.suggestions or ())
        suggested = not suggestions or "did you mean" in error.message.lower()
        hint = "" if suggested else f" Did you mean {', '.join(suggestions[:3])}?"
        console.print(Text(f"{error.id}: {error.message}{hint}", style="yellow"))


@dataclass(frozen=True, slots=True)
class Fan:
    """The data of a fan chart: closes oldest first, medians and bounds of each step ahead, axis labels."""

    closes: Sequence[float]
    medians: Sequence[float]
    bands: Sequence[Sequence[tuple[float, float]]]
    names: tuple[str, str, str]
    levels: Sequence[str]


def draw_fan(fan: Fan, columns: int) -> Text:
    """Draw a fan chart in at most `columns` columns, with its legend below.

    Args:
        fan: The data, with at least one close and one point ahead.
        columns: The width of the terminal.
    """
    columns = max(MIN_COLUMNS, min(columns, MAX_COLUMNS))
    everything = [*fan.closes, *(bound for band in fan.bands for pair in band for bound in pair)]
    low, high = min(everything), max(everything)
    labels = {row: formatting.price(high - (high - low) * row / (HEIGHT_ROWS - 1)) for row in _label_rows()}
    margin = max(map(len, labels.values())) + 1
    width = columns - margin
    ahead = max(8, round(width * FORECAST_SHARE))
    past = width - ahead - 1
    grid = [[" "] * width for _ in range(HEIGHT_ROWS)]

    def row_of(value: float) -> int:
        return round((high - value) / ((high - low) or 1.0) * (HEIGHT_ROWS - 1))

    for shade, band in zip(_SHADES, fan.bands, strict=False):
        for column in range(ahead):
            lower, upper = _at(band, column, ahead)
            for row in range(row_of(upper), row_of(lower) + 1):
                grid[row][past + 1 + column] = shade
    for column in range(ahead):
        grid[row_of(_value(fan.medians, column, ahead))][past + 1 + column] = "─"
    for row in range(HEIGHT_ROWS):
        grid[row][past] = "│"
    for column in range(past):
        grid[row_of(_value(fan.closes, column, past))][column] = "•"
    return _assemble(grid, labels, margin, fan, past)


def _label_rows() -> tuple[int, ...]:
    return (0, HEIGHT_ROWS // 2, HEIGHT_ROWS - 1)


def _value(values: Sequence[float], column: int, columns: int) -> float:
    return values[min(len(values) - 1, column * len(values) // max(1, columns))]


def _at(band: Sequence[tuple[float, float]], column: int, columns: int) -> tuple[float, float]:
    return band[min(len(band) - 1, column * len(band) // max(1, columns))]


def _assemble(grid: list[list[str]], labels: dict[int, str], margin: int, fan: Fan, past: int) -> Text:
    text = Text()
    for index, cells in enumerate(grid):
        text.append(f"{labels.get(index, ''):>{margin - 1}} ", style="dim")
        for cell in cells:
            text.append(cell, style=_STYLES.get(cell, ""))
        text.append("\n")
    first, now, last = fan.names
    width = len(grid[0])
    line = [" "] * width
    for name, start in (
        (first, 0),
        (now, max(len(first) + 1, min(past - len(now) // 2, width - len(last) - len(now) - 1))),
        (last, width - len(last)),
    ):
        if all(mark == " " for mark in line[max(0, start - 1) : start + len(name)]):
            line[start : start + len(name)] = name
    text.append(" " * margin + "".join(line[:width]).rstrip() + "\n", style="dim")
    shades = " ".join(f"{shade} {level} %" for shade, level in zip(_SHADES, fan.levels, strict=False))
    text.append(" " * margin + f"• close  ─ median  {shades}", style="dim")
    return text
