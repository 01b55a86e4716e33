"""Plot replies in notebooks with matplotlib, an optional dependency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from coincast_client import formatting
from coincast_client.tables import interval_levels

if TYPE_CHECKING:
    from pydantic import BaseModel


def draw(reply: BaseModel, **options: Any) -> Any:
    """Plot a reply and return the axes, one for each coin.

    A history is a line, a forecast a fan chart; scenarios are their paths, and touch probabilities a line for
    each level.

    Args:
        reply: A history, a forecast, forecasts, scenarios or touch probabilities.
        **options: Passed on to `matplotlib.pyplot.subplots`.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: This kind of reply cannot be plotted.
    """
    anything: Any = reply
    if hasattr(reply, "candles"):
        return _each([anything], _line, options)
    if hasattr(reply, "points") and hasattr(reply, "served_by"):
        return _each([anything], _fan, options)
    if getattr(reply, "forecasts", None) and hasattr(anything.forecasts[0], "points"):
        return _each(anything.forecasts, _fan, options)
    coins = getattr(reply, "coins", None) or [None]
    if hasattr(coins[0], "closes"):
        return _each(coins, lambda coin, axes: _paths(coin, anything.dates, axes), options)
    if hasattr(coins[0], "levels"):
        return _each(coins, _touches, options)
    raise TypeError(f"There is no picture for {type(reply).__name__}; use to_pandas() and draw its columns.")


def _each(items: Sequence[Any], plot: Callable[[Any, Any], None], options: dict[str, Any]) -> Any:
    """Plot each item on axes of its own; return the axes of one item, or the array of them."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - optional

    _, grid = plt.subplots(len(items), squeeze=False, **options)
    for item, axes in zip(items, grid[:, 0], strict=True):
        plot(item, axes)
    return grid[0, 0] if len(items) == 1 else grid[:, 0]


def _line(history: Any, axes: Any) -> None:
    # The field that holds the day or the time depends on the kind of candle.
    when = [
        next(getattr(candle, name) for name in ("date", "time", "closed_at") if hasattr(candle, name))
        for candle in history.candles
    ]
    axes.plot(when, [candle.close for candle in history.candles])
    axes.set_title(f"{history.id} in {history.vs_currency}")


def _fan(forecast: Any, axes: Any) -> None:
    when = [getattr(point, "closes_at", None) or point.date for point in forecast.points]
    levels = interval_levels(forecast.points[0].intervals)
    for level in reversed(levels):
        lower = [point.intervals[level].lower for point in forecast.points]
        upper = [point.intervals[level].upper for point in forecast.points]
        axes.fill_between(when, lower, upper, alpha=0.25, label=f"{level} %", color="tab:green")
    axes.plot(
        when,
        [point.price for point in forecast.points],
        linestyle="dotted",
        color="tab:green",
        label="median",
    )
    axes.set_title(f"{forecast.id}: {forecast.served_by} from {formatting.moment(forecast.as_of)}")
    axes.legend()


def _paths(coin: Any, dates: Sequence[Any], axes: Any) -> None:
    for closes in coin.closes:
        axes.plot(dates, closes, color="tab:green", alpha=0.2, linewidth=0.8)
    axes.set_title(f"{coin.id}: {formatting.plural(len(coin.closes), 'path')}")


def _touches(coin: Any, axes: Any) -> None:
    for level in coin.levels:
        dates = [day.date for day in level.days]
        axes.plot(dates, [day.touch_probability for day in level.days], label=formatting.price(level.price))
    axes.set_ylim(0, 1)
    axes.set_title(f"{coin.id}: chance of touching by each day")
    axes.legend()
