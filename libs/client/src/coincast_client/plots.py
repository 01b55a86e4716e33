"""Plot replies in notebooks with matplotlib, an optional dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coincast_client import formatting
from coincast_client.tables import interval_levels

if TYPE_CHECKING:
    from pydantic import BaseModel


def draw(reply: BaseModel, **options: Any) -> Any:
    """Plot a history as a line, or forecasts as fan charts; return the axes.

    Args:
        reply: A history, a forecast, or forecasts.
        **options: Passed on to `matplotlib.pyplot.subplots`.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: This kind of reply cannot be plotted.
    """
    import matplotlib.pyplot as plt  # noqa: PLC0415 - optional

    anything: Any = reply
    if hasattr(reply, "candles"):
        _, axes = plt.subplots(**options)
        axes.plot(
            [_when(candle) for candle in anything.candles], [candle.close for candle in anything.candles]
        )
        axes.set_title(f"{anything.id} in {anything.vs_currency}")
        return axes
    forecasts = (
        anything.forecasts if hasattr(reply, "forecasts") else [reply] if hasattr(reply, "points") else []
    )
    if not forecasts:
        raise TypeError(
            f"There is no picture for {type(reply).__name__}; use to_pandas() and draw its columns."
        )
    _, grid = plt.subplots(len(forecasts), squeeze=False, **options)
    for forecast, axes in zip(forecasts, grid[:, 0], strict=True):
        _fan(forecast, axes)
    return grid[0, 0] if len(forecasts) == 1 else grid[:, 0]


def _when(item: Any) -> Any:
    return getattr(item, "date", None) or item.time


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
