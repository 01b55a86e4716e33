"""Select the data of a run: check that there are enough days, or restore the days of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from coincast_chassis.errors import NotReady
from coincast_modelkit.artifact import data_window
from coincast_modelkit.artifact.hourly import hourly_data_window
from coincast_modelkit.candles import Panel
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.hourly.candles import HourlyPanel
from coincast_training.pipeline.lineage import Lineage, Spans, TrainedDays
from coincast_training.pipeline.odd_coins import shortened_coins, without_odd_coins
from coincast_training.ports import History


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data of a training.

    Attributes:
        panel: Candles of the coins to train on.
        reference: Candles of the reference coins, for market features.
        source: Name of the source of the candles.
        left_out: Reason for each coin that is not trained on.
        shortened: Reason for each coin of which only a part of the days is trained on.
        hours: Hourly candles of all these coins up to the last day, for models that read them.
    """

    panel: Panel
    reference: Panel
    source: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    shortened: Mapping[str, str] = field(default_factory=dict)
    hours: HourlyPanel = field(default_factory=dict)


def training_data_of(
    history: History, ids: tuple[str, ...], min_days: int, *, keep_odd: bool = False
) -> TrainingData:
    """Select the coins with enough history, and the reference coins.

    Args:
        history: The fetched histories.
        ids: The coins to train on.
        min_days: A coin with fewer days is left out.
        keep_odd: Keep coins with an odd history, to repeat an earlier run that had them.

    Raises:
        NotReady: No coin has enough history; the message says why.
    """
    panel = {coin_id: c for coin_id, c in history.panel.items() if coin_id in ids and len(c) >= min_days}
    if not panel:
        reasons = [_unusable_reason(history, coin_id, min_days) for coin_id in ids[:5]]
        raise NotReady(f"No coin has the {min_days} days that training needs: {'; '.join(reasons)}.")
    sound, left_out = (panel, {}) if keep_odd else without_odd_coins(panel)
    reference = {coin_id: c for coin_id, c in history.panel.items() if coin_id in REFERENCE_COINS}
    return TrainingData(
        panel=sound,
        reference=reference,
        source=history.source,
        left_out=left_out,
        shortened=shortened_coins(panel, sound),
    )


def _unusable_reason(history: History, coin_id: str, min_days: int) -> str:
    if coin_id in history.problems:
        return f"{coin_id}: {history.problems[coin_id].rstrip('.')}"
    have = len(history.panel[coin_id]) if coin_id in history.panel else 0
    return f"{coin_id} has {have} days"


def same_data(data: TrainingData, parent: Lineage) -> TrainingData:
    """Restrict the data to the days that the parent was trained on.

    Raises:
        NotReady: The candles of these days have changed since.
    """
    panel, reference = _same(data.panel, parent.panel, parent.version), data.reference
    if parent.reference is not None:
        reference = _same(reference, parent.reference, parent.version)
    return TrainingData(panel=panel, reference=reference, source=data.source)


def same_hours(hours: HourlyPanel, parent: Lineage) -> HourlyPanel:
    """Restrict the hours to those that the parent was trained on; empty if it had none.

    Raises:
        NotReady: These hours have changed since.
    """
    if parent.hours is None:
        return {}
    kept = {}
    for coin_id, (first, closes_at) in parent.hours.spans.items():
        if coin_id in hours:
            known = hours[coin_id].until(np.datetime64(closes_at, "h"))
            kept[coin_id] = known.tail(
                int((known.closes_at - np.datetime64(first, "h")).astype(np.int64)) if len(known) else 0
            )
    kept = {coin_id: candles for coin_id, candles in kept.items() if len(candles)}
    found = hourly_data_window(kept).sha256 if kept else "nothing"
    if found != parent.hours.sha256:
        raise NotReady(
            f"The hourly history differs from the one that {parent.version} was trained on (data hash "
            f"{found[:12]}, then {parent.hours.sha256[:12]}), so its training cannot be repeated; "
            "train a new version.",
            field="from_version",
        )
    return kept


def _same(panel: Panel, learnt: TrainedDays, version: str) -> Panel:
    panel = same_days(panel, learnt.spans)
    found = data_window(panel).sha256 if panel else "nothing"
    if found != learnt.sha256:
        firsts, lasts = zip(*learnt.spans.values(), strict=True)
        raise NotReady(
            f"The history of {min(firsts)} to {max(lasts)} differs from the one that {version} was trained "
            f"on (data hash {found[:12]}, then {learnt.sha256[:12]}), so its training cannot be repeated; "
            "train a new version.",
            field="from_version",
        )
    return panel


def same_days(panel: Panel, spans: Spans) -> Panel:
    """Cut each coin of a panel to its days in `spans`; leave out coins without days."""
    cut = {}
    for coin_id, (first, last) in spans.items():
        if coin_id not in panel:
            continue
        kept = panel[coin_id].until(np.datetime64(last, "D"))
        kept = kept.rows(int(np.searchsorted(kept.dates, np.datetime64(first, "D"))), len(kept))
        if len(kept):
            cut[coin_id] = kept
    return cut
