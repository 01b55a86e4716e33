"""Forecasts as the ledger keeps them, and the life of a ledger without Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from coincast_chassis.clock import Clock
from coincast_modelkit.candles import Candles
from coincast_modelkit.ledger import LedgerEntry
from coincast_training.scoring.consumer import Lag, LedgerConsumer
from coincast_training.scoring.lag import LagSource, LedgerWatch
from coincast_training.scoring.parquet import FORECAST_SCHEMA, entry_row, write_rows
from coincast_training.scoring.risk.store import RiskStore
from coincast_training.scoring.service import LedgerService
from coincast_training.scoring.source_calendar import SourceCalendar
from coincast_training.scoring.store import LedgerStore
from tests.unit.training.training_fakes import NORMAL, PROBABILITIES, FakeHistory


def entry_of(
    candles: Candles, day: int, horizon: int = 1, *, width: float = 1.0, **changes: Any
) -> LedgerEntry:
    """A forecast of the given width on a day of the candles, in the form that forecast-svc logs."""
    last = float(candles.close[day])
    values: dict[str, Any] = {
        "forecast_id": f"{candles.coin_id}-{day}-{changes.get('version', 'v000001')}",
        "made_at": 1.0,
        "coin_id": candles.coin_id,
        "vs_currency": "usd",
        "as_of": str(candles.dates[day]),
        "model": "lightgbm",
        "version": "v000001",
        "variant": "production",
        "served_by": "lightgbm",
        "horizon_days": horizon,
        "last_price": last,
        "probabilities": tuple(PROBABILITIES),
        "price_quantiles": tuple(last * np.exp(NORMAL * 0.03 * width * np.sqrt(horizon or 1))),
    }
    return LedgerEntry(**(values | changes))


def forecast_of(candles: Candles, day: int, horizon: int = 1, *, width: float = 1.0, **changes: Any) -> dict:
    """The same as a row of the ledger."""
    entry = entry_of(candles, day, horizon, width=width, **changes)
    return entry_row("1-0", entry)


class NoConsumer:
    """What the ledger takes from Redis where there is none."""

    async def trim(self) -> None:
        """Nothing to trim."""


def ledger_in(folder: Path, history: FakeHistory, clock: Clock) -> LedgerService:
    """A ledger over fakes; its store lies in the folder."""
    store = LedgerStore(folder)
    return LedgerService(
        consumer=cast(LedgerConsumer, NoConsumer()),
        store=store,
        calendar=SourceCalendar(history, store, clock),
        history_in=lambda _: history,
        live_record_path=folder / "live-record.json",
        clock=clock,
    )


def incoming(folder: Path, rows: list[dict], name: str = "1") -> None:
    """A batch as the consumer leaves it."""
    write_rows(folder / "incoming" / f"{name}.parquet", rows, FORECAST_SCHEMA)


class NoStream:
    """A stream without entries."""

    async def lag(self) -> Lag:
        """No lag."""
        return Lag(0, None)


def watch_of(folder: Path, consumer: LagSource | None = None, risk: LagSource | None = None) -> LedgerWatch:
    """A watch over the ledgers of a folder; a stream that is not given has no entries."""
    return LedgerWatch(
        consumer or NoStream(),
        LedgerStore(folder),
        risk_consumer=risk or NoStream(),
        risk_store=RiskStore(folder / "risk.sqlite"),
    )
