"""Check the rows of the archive's own files when they are read, as strictly as rows that come in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

PRICES = ("open", "high", "low")
AMOUNTS = ("volume", "market_cap")
CLOSE = "close"
ARRIVAL = "received_at"
# The year 2100, UNIX seconds: a later arrival is no time of this service.
LAST_ARRIVAL = 4_102_444_800
# Relative tolerance between the prices of one candle, for rounding of the last digit.
SLACK = 1e-6
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def valid_rows(table: pa.Table, key: str, *, least: int, most: int, step: int = 1) -> tuple[pa.Table, int]:
    """Return the rows of a file that can be candles, in order and each once.

    A row without a valid key or close is dropped. Another figure that is not valid is removed from its row;
    prices that contradict the close of their row are removed together.

    Args:
        table: The rows.
        key: The column that identifies a row, a date or whole numbers.
        least: The lowest key; for dates, days since 1970.
        most: The highest key.
        step: Keys are multiples of it.

    Returns:
        The rows, and how many were dropped, moved or changed.
    """
    column = table.column(key)
    whole = column.cast(pa.int32()) if pa.types.is_date32(column.type) else column
    keys: npt.NDArray[np.int64] = whole.cast(pa.int64()).fill_null(least - 1).to_numpy()
    close = _floats(table, CLOSE)
    good = (keys >= least) & (keys <= most) & (keys % step == 0) & np.isfinite(close) & (close > 0)
    removed, changed = _faults(table, close)
    ordered = bool((np.diff(keys) > 0).all())
    if good.all() and ordered and not changed.any():
        return table, 0
    for name, flags in removed.items():
        nothing = pa.scalar(None, table.schema.field(name).type)
        fixed = pc.if_else(pa.array(flags), nothing, table.column(name))
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), fixed)
    kept = np.flatnonzero(good)
    _, first = np.unique(keys[kept], return_index=True)
    rows = kept[first]
    moved = 0 if ordered else int((np.diff(keys[kept]) <= 0).sum())
    dropped = len(keys) - len(rows)
    return table.take(pa.array(rows)), dropped + int(changed[rows].sum()) + (moved if not dropped else 0)


def _faults(table: pa.Table, close: Floats) -> tuple[dict[str, Flags], Flags]:
    """Return which figures of each column are not valid, and which rows have one."""
    removed: dict[str, Flags] = {}
    names = [name for name in (*PRICES, *AMOUNTS, ARRIVAL) if name in table.column_names]
    given: dict[str, Flags] = {name: table.column(name).is_valid().to_numpy() for name in names}
    with np.errstate(invalid="ignore"):
        for name in (name for name in PRICES if name in given):
            values = _floats(table, name)
            removed[name] = given[name] & ~(np.isfinite(values) & (values > 0))
        opened, high, low = (np.where(removed[name], np.nan, _floats(table, name)) for name in PRICES)
        contradicting = (high < close * (1 - SLACK)) | (low > close * (1 + SLACK))
        outside = (opened > high * (1 + SLACK)) | (opened < low * (1 - SLACK))
        for name in PRICES:
            removed[name] |= given[name] & contradicting
        removed["open"] |= given["open"] & outside
        for name in (name for name in AMOUNTS if name in given):
            values = _floats(table, name)
            removed[name] = given[name] & ~(np.isfinite(values) & (values >= 0))
    arrivals = table.column(ARRIVAL).fill_null(0).to_numpy()
    removed[ARRIVAL] = given[ARRIVAL] & ((arrivals < 0) | (arrivals > LAST_ARRIVAL))
    return removed, np.logical_or.reduce(list(removed.values()))


def _floats(table: pa.Table, name: str) -> Floats:
    values: Floats = table.column(name).fill_null(np.nan).to_numpy()
    return values
