"""Convert replies to flat rows: one row for each price, candle, forecast point or level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from pydantic import BaseModel

Row = dict[str, Any]
# Lists that describe a reply; they are not its rows.
_SIDE_LISTS = {"errors", "missing_dates", "quality_notes", "suggestions"}


def rows_of(reply: BaseModel) -> list[Row]:
    """Return the rows of a reply.

    A reply with forecasts gives one row for each point, with the bounds of each interval as `lower_80` and
    `upper_80`. Any other reply gives one row for each item of its first list, with the id, the currency
    and the source of the reply.
    """
    special = _SPECIAL.get(type(reply).__name__)
    if special is not None:
        return list(special(reply))
    items = _first_list(reply)
    if items is None:
        return [_plain(reply)]
    shared = {name: value for name, value in _plain(reply).items() if name in {"id", "vs_currency", "source"}}
    return [shared | _plain(item) for item in items]


def _first_list(reply: BaseModel) -> list[BaseModel] | None:
    for name in type(reply).model_fields:
        value = getattr(reply, name)
        if (
            name not in _SIDE_LISTS
            and isinstance(value, list)
            and (not value or isinstance(value[0], BaseModel))
        ):
            return value
    return None


def _plain(item: BaseModel) -> Row:
    return {
        name: value
        for name in type(item).model_fields
        if not isinstance(value := getattr(item, name), BaseModel | list | dict)
    }


def _forecast_rows(forecast: Any) -> Iterable[Row]:
    for point in forecast.points:
        row: Row = {
            "id": forecast.id,
            "vs_currency": forecast.vs_currency,
            "as_of": forecast.as_of,
            "last_price": forecast.last_price,
            "served_by": forecast.served_by,
        }
        row |= _plain(point)
        for level, bounds in sorted(point.intervals.items(), key=lambda pair: float(pair[0])):
            row |= {f"lower_{level}": bounds.lower, f"upper_{level}": bounds.upper}
        row |= {f"quantile_{probability}": value for probability, value in point.quantiles.items()}
        if point.volatility is not None:
            row["volatility_percent"] = point.volatility.annualised_percent
        yield row


def _forecasts_rows(reply: Any) -> Iterable[Row]:
    for forecast in reply.forecasts:
        yield from _forecast_rows(forecast)


def _model_rows(reply: Any) -> Iterable[Row]:
    for model in reply.models:
        horizons = model.record.horizons if model.record else []
        for horizon in horizons or [None]:
            yield {"model": model.name, "version": model.version, "ready": model.ready} | (
                _plain(horizon) if horizon else {}
            )


def _touch_rows(reply: Any) -> Iterable[Row]:
    for coin in reply.coins:
        for level in coin.levels:
            for day in level.days:
                yield {"id": coin.id, "level": level.price, "level_percent": level.percent} | _plain(day)


def _accuracy_rows(reply: Any) -> Iterable[Row]:
    for live in reply.live:
        yield _plain(live) | (_plain(live.horizon) if live.horizon else {})


def _risk_rows(reply: Any) -> Iterable[Row]:
    return (_plain(level) for level in reply.levels)


_SPECIAL: dict[str, Callable[[Any], Iterable[Row]]] = {
    "Forecast": _forecast_rows,
    "Forecasts": _forecasts_rows,
    "Models": _model_rows,
    "Touch": _touch_rows,
    "Portfolio": _risk_rows,
    "TrainingGetAccuracyResponse": _accuracy_rows,
}


def interval_levels(intervals: dict[str, Any]) -> list[str]:
    """Return the levels of a point's intervals, narrowest first."""
    return cast(list[str], sorted(intervals, key=float))
