"""A forecast as a chart of characters."""

from collections.abc import Sequence

import plotext

from coincast_client.models import Forecast, History

HEIGHT_ROWS = 16
MAX_COLUMNS = 100


def chart(forecast: Forecast, history: History, columns: int) -> str:
    """Closes, the median and the widest interval; plain text, for whatever colours the terminal has."""
    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(columns, MAX_COLUMNS), HEIGHT_ROWS)
    closes = [candle.close for candle in history.candles]
    today = len(closes)
    ahead = [today, *(today + point.horizon_days for point in forecast.points)]
    widest = [point.intervals[-1] for point in forecast.points]

    def line(x: Sequence[int], y: Sequence[float], label: str = "") -> None:
        drawn = figure.signal(list(x), list(y), marker="braille")
        drawn.lines()
        if label:
            drawn.label(label)
        figure.draw(drawn)

    last = forecast.last_price
    line(range(1, today + 1), closes, "close")
    line(ahead, [last, *(point.price for point in forecast.points)], "median")
    line(ahead, [last, *(interval.lower for interval in widest)], f"{widest[0].level_percent:g} % interval")
    line(ahead, [last, *(interval.upper for interval in widest)])
    names = [history.candles[0].date, "last close", forecast.points[-1].date]
    figure.ruler("x").ticks([1, today, ahead[-1]], names)
    return str(plotext.uncolorize(str(figure.build())))
