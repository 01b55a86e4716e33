"""The data of a run: its hash, its window, and whether there is enough of it."""

from __future__ import annotations

import hashlib

import numpy as np
from coincast_chassis.errors import NotReady
from coincast_modelkit.candles import FIELDS, Panel

from coincast_training.ports import History


def panel_hash(panel: Panel) -> str:
    """SHA-256 over ids, days and figures: equal exactly where every bit of the data is."""
    digest = hashlib.sha256()
    for coin_id in sorted(panel):
        candles = panel[coin_id]
        digest.update(f"{coin_id}\n{len(candles)}\n".encode())
        digest.update(candles.dates.astype("<i8").tobytes())
        for name in FIELDS:
            values = getattr(candles, name)
            digest.update(np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
    return digest.hexdigest()


def window(panel: Panel) -> tuple[str, str]:
    """The first and last day of the panel, `YYYY-MM-DD`."""
    return (
        str(min(candles.dates[0] for candles in panel.values())),
        str(max(candles.dates[-1] for candles in panel.values())),
    )


def usable(history: History, ids: tuple[str, ...], min_days: int) -> Panel:
    """The coins with enough history. Raises `NotReady` where none has, saying why for each."""
    panel = {coin_id: c for coin_id, c in history.panel.items() if coin_id in ids and len(c) >= min_days}
    if panel:
        return panel
    reasons = [_why_not(history, coin_id, min_days) for coin_id in ids[:5]]
    raise NotReady(f"No coin has the {min_days} days that training needs: {'; '.join(reasons)}.")


def _why_not(history: History, coin_id: str, min_days: int) -> str:
    if coin_id in history.problems:
        return f"{coin_id}: {history.problems[coin_id].rstrip('.')}"
    have = len(history.panel[coin_id]) if coin_id in history.panel else 0
    return f"{coin_id} has {have} days"


def same_window(panel: Panel, from_date: str, to_date: str) -> Panel:
    """The panel cut to the days of an earlier run, both included."""
    first = np.datetime64(from_date, "D")
    cut = {}
    for coin_id, candles in panel.items():
        kept = candles.until(np.datetime64(to_date, "D"))
        kept = kept.rows(int(np.searchsorted(kept.dates, first)), len(kept))
        if len(kept):
            cut[coin_id] = kept
    return cut
