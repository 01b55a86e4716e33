"""Draw a forecast as a chart of characters: history, median, and the intervals as shades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from coincast_client import formatting

HEIGHT_ROWS = 14
MAX_COLUMNS = 100
MIN_COLUMNS = 40
# The share of the width that belongs to the forecast.
FORECAST_SHARE = 0.36
_SHADES = ("░", "▒")
_STYLES = {"•": "bold", "─": "green", "░": "green", "▒": "green", "│": "dim"}


@dataclass(frozen=True, slots=True)
class Fan:
    """What is drawn: closes oldest first, then the median and the bounds of each step ahead."""

    closes: Sequence[float]
    medians: Sequence[float]
    bands: Sequence[Sequence[tuple[float, float]]]
    names: tuple[str, str, str]
    levels: Sequence[str]


def draw_fan(fan: Fan, columns: int) -> Text:
    """Return the chart in at most `columns` columns, with its legend below the data.

    Args:
        fan: What is drawn; it has at least one close and one point ahead.
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
        (now, max(len(first) + 1, past - len(now) // 2)),
        (last, width - len(last)),
    ):
        if all(mark == " " for mark in line[max(0, start - 1) : start + len(name)]):
            line[start : start + len(name)] = name
    text.append(" " * margin + "".join(line[:width]).rstrip() + "\n", style="dim")
    shades = " ".join(f"{shade} {level} %" for shade, level in zip(_SHADES, fan.levels, strict=False))
    text.append(" " * margin + f"• close  ─ median  {shades}", style="dim")
    return text
