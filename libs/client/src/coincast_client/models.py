"""Replies as frozen dataclasses. Fields that a later gateway adds are passed by: old clients keep working."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ItemError:
    """One item of a list that could not be served."""

    id: str
    kind: str
    message: str
    suggestions: tuple[str, ...]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "ItemError":
        """From JSON."""
        return cls(row["id"], row["kind"], row["message"], tuple(row.get("suggestions") or ()))


@dataclass(frozen=True, slots=True)
class Price:
    """One coin in one currency; a figure that is not known is None."""

    id: str
    vs_currency: str
    price: float
    market_cap: float | None
    volume_24h: float | None
    change_24h_percent: float | None
    as_of: str | None
    age_seconds: float
    source: str
    stale: bool
    reason: str | None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Price":
        """From JSON."""
        return cls(**{name: row.get(name) for name in cls.__slots__})  # type: ignore[arg-type]  # the gateway's shape


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices, and the coins that have none."""

    prices: tuple[Price, ...]
    errors: tuple[ItemError, ...]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Prices":
        """From JSON."""
        return cls(tuple(map(Price.read, document["prices"])), tuple(map(ItemError.read, document["errors"])))


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed UTC day."""

    date: str
    close: float
    open: float | None
    high: float | None
    low: float | None
    volume: float | None


@dataclass(frozen=True, slots=True)
class History:
    """Daily candles, oldest first."""

    id: str
    vs_currency: str
    source: str
    candles: tuple[Candle, ...]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "History":
        """From JSON."""
        candles = tuple(
            Candle(**{name: row.get(name) for name in Candle.__slots__}) for row in document["candles"]
        )
        return cls(document["id"], document["vs_currency"], document["source"], candles)


@dataclass(frozen=True, slots=True)
class Interval:
    """A span of prices, with the share of outcomes (percent) that should fall inside."""

    level_percent: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Point:
    """The distribution of one day's close."""

    date: str
    horizon_days: int
    price: float
    intervals: tuple[Interval, ...]
    probability_of_rise: float | None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Point":
        """From JSON; intervals from the narrowest."""
        intervals = [Interval(float(level), b["lower"], b["upper"]) for level, b in row["intervals"].items()]
        ordered = tuple(sorted(intervals, key=lambda interval: interval.level_percent))
        return cls(row["date"], row["horizon_days"], row["price"], ordered, row.get("probability_of_rise"))


@dataclass(frozen=True, slots=True)
class Forecast:
    """One coin's forecast: a distribution a day, and where it stands."""

    id: str
    vs_currency: str
    as_of: str
    last_price: float
    model: str
    version: str
    served_by: str
    degraded: bool
    reason: str | None
    source: str
    points: tuple[Point, ...]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Forecast":
        """From JSON."""
        plain = {name: row.get(name) for name in cls.__slots__ if name != "points"}
        return cls(**plain, points=tuple(map(Point.read, row["points"])))  # type: ignore[arg-type]  # as above


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Forecasts, and the coins that have none."""

    forecasts: tuple[Forecast, ...]
    errors: tuple[ItemError, ...]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Forecasts":
        """From JSON."""
        forecasts = tuple(map(Forecast.read, document["forecasts"]))
        return cls(forecasts, tuple(map(ItemError.read, document["errors"])))


@dataclass(frozen=True, slots=True)
class HorizonRecord:
    """How well a version did at one horizon, out of sample; positive skill is better than the last price."""

    horizon_days: int
    forecasts: int
    mase: float | None
    skill_percent: float | None
    crps_skill_percent: float | None
    coverage_80_percent: float | None
    coverage_95_percent: float | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked for."""

    name: str
    description: str
    ready: bool
    reason: str
    version: str
    max_horizon_days: int
    record: tuple[HorizonRecord, ...]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Model":
        """From JSON."""
        horizons = (row.get("record") or {}).get("horizons", ())
        record = tuple(
            HorizonRecord(**{name: h.get(name) for name in HorizonRecord.__slots__}) for h in horizons
        )
        plain = {name: row[name] for name in cls.__slots__ if name != "record"}
        return cls(**plain, record=record)


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the system: ok, degraded or down, and why."""

    name: str
    status: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Health:
    """The whole picture."""

    status: str
    sentence: str
    components: tuple[Component, ...]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Health":
        """From JSON."""
        parts = tuple(Component(p["name"], p["status"], p["sentence"]) for p in document["components"])
        return cls(document["status"], document["sentence"], parts)
