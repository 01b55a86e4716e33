"""Convert replies to flat rows: one row for each price, candle, forecast point or level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from pydantic import BaseModel

Row = dict[str, Any]
# Lists that describe a reply; they are not its rows.
_SIDE_LISTS = {"errors", "missing_dates", "quality_notes", "notes", "suggestions"}


def rows_of(reply: BaseModel) -> list[Row]:
    """Return the rows of a reply.

    A reply with forecasts gives one row for each point, with the bounds of each interval as `lower_80` and
    `upper_80`. Any other reply gives one row for each item of its first list, with the id, the currency
    and the source of the reply, or a single row if it has no list. Every cell is a single value: the fields
    of a nested object become columns, and a list of names is joined with commas.
    """
    special = _SPECIAL.get(type(reply).__name__)
    if special is not None:
        return list(special(reply))
    found = _first_list(reply)
    if found is None:
        return [_plain(reply)]
    name, items = found
    shared = {name: value for name, value in _plain(reply).items() if name in {"id", "vs_currency", "source"}}
    return [
        shared | (_plain(item) if isinstance(item, BaseModel) else {name.removesuffix("s"): item})
        for item in items
    ]


def _first_list(reply: BaseModel) -> tuple[str, list[Any]] | None:
    """Return the name and the items of a reply's first list that holds its rows."""
    for name in type(reply).model_fields:
        value = getattr(reply, name)
        if name not in _SIDE_LISTS and isinstance(value, list):
            return name, value
    return None


def _plain(item: BaseModel) -> Row:
    """Return the fields of an item; those of a nested object have its name before theirs if both occur."""
    row: Row = {}
    nested: dict[str, BaseModel] = {}
    for name in type(item).model_fields:
        value = getattr(item, name)
        if isinstance(value, BaseModel):
            nested[name] = value
        elif isinstance(value, list):
            if not any(isinstance(each, BaseModel | list | dict) for each in value):
                row[name] = ", ".join(map(str, value))
        elif not isinstance(value, dict):
            row[name] = value
    for name, value in nested.items():
        row |= {f"{name}_{key}" if key in row else key: cell for key, cell in _plain(value).items()}
    return row


def _forecast_rows(forecast: Any) -> Iterable[Row]:
    for point in forecast.points:
        row: Row = {
            "id": forecast.id,
            "vs_currency": forecast.vs_currency,
            "as_of": forecast.as_of,
            "last_price": forecast.last_price,
            "served_by": forecast.served_by,
        }
        row |= _scalars(point)
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
        yield _scalars(live) | (_scalars(live.horizon) if live.horizon else {})


def _risk_rows(reply: Any) -> Iterable[Row]:
    return (_scalars(level) for level in reply.levels)


def _attribution_rows(reply: Any) -> Iterable[Row]:
    for attribution in reply.forecast.attributions:
        yield {"id": reply.forecast.id, "served_by": reply.forecast.served_by} | _plain(attribution)


def _scenario_rows(reply: Any) -> Iterable[Row]:
    for coin in reply.coins:
        for path, origin in enumerate(reply.origin_dates):
            for day, until in enumerate(reply.dates):
                yield {
                    "id": coin.id,
                    "path": path + 1,
                    "origin_date": origin,
                    "date": until,
                    "close": coin.closes[path][day],
                    "high": coin.highs[path][day],
                    "low": coin.lows[path][day],
                }


def _usage_rows(reply: Any) -> Iterable[Row]:
    for key in reply.keys:
        for day in key.days:
            yield {"name": key.name} | _plain(day)


def _trend_rows(reply: Any) -> Iterable[Row]:
    names = [name for name in type(reply.points[0]).model_fields if name != "sample"] if reply.points else []
    for point in reply.points:
        row = {name: getattr(point, name) for name in names}
        yield row | ({} if point.sample is None else _scalars(point.sample))


def _logged_rows(reply: Any) -> Iterable[Row]:
    for forecast in reply.forecasts:
        row = _plain(forecast)
        for interval in forecast.intervals:
            level = f"{interval.level_percent:g}"
            row |= {f"lower_{level}": interval.lower, f"upper_{level}": interval.upper}
        row |= {f"quantile_{each.probability:g}": each.price for each in forecast.quantiles}
        yield row


def _scalars(item: BaseModel) -> Row:
    """Return the fields of an item that are single values."""
    return {
        name: value
        for name in type(item).model_fields
        if not isinstance(value := getattr(item, name), BaseModel | list | dict)
    }


_SPECIAL: dict[str, Callable[[Any], Iterable[Row]]] = {
    "Forecast": _forecast_rows,
    "Forecasts": _forecasts_rows,
    "Models": _model_rows,
    "Touch": _touch_rows,
    "Portfolio": _risk_rows,
    "Explanation": _attribution_rows,
    "Scenarios": _scenario_rows,
    "ForecastLog": _logged_rows,
    "Trends": _trend_rows,
    "UsageReport": _usage_rows,
    "TrainingGetAccuracyResponse": _accuracy_rows,
}


def interval_levels(intervals: dict[str, Any]) -> list[str]:
    """Return the levels of a point's intervals, narrowest first."""
    return cast(list[str], sorted(intervals, key=float))
