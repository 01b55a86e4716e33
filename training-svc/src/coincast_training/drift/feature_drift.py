"""Measure how much the distributions of recent features differ from those of the training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import FeatureSpec, batch, market_of
from coincast_modelkit.hourly.candles import HourlyPanel
from coincast_modelkit.hourly.features import TERMS
from coincast_training.drift.assessment import FeatureDrift
from coincast_training.hourly.dataset import build_table

Floats = NDArray[np.float64]
BINS = 10
USUAL_QUANTILE = 0.95
TOUCH = 1e-4
MIN_VALUES = 20
ORIGIN_STEP_HOURS = 6


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """Population stability index and Kolmogorov-Smirnov distance of each feature, (F,) each."""

    psi: Floats
    ks: Floats


def feature_drift(
    panel: Panel,
    reference: Panel,
    spec: FeatureSpec,
    *,
    learnt_to: np.datetime64,
    days: int,
    psi: float,
    ks: float,
) -> FeatureDrift | None:
    """Compare the features of the last `days` of a daily panel with those of the training days.

    Calendar features always shift and are left out. See `table_drift` for the other arguments.

    Args:
        panel: Candles of the coins.
        reference: Candles of the reference coins.
        spec: The features.
        learnt_to: Last day of the training.
        days: Length of the recent span.
        psi: Bound of the population stability index.
        ks: Bound of the Kolmogorov-Smirnov distance.
    """
    spec = spec.without("calendar")
    origins, values = _pooled(panel, reference, spec)
    return table_drift(
        FeatureTable(origins, values, spec.names), learnt_to=learnt_to, days=days, psi=psi, ks=ks
    )


def hourly_feature_drift(
    panel: HourlyPanel, *, learnt_to: np.datetime64, days: int, psi: float, ks: float
) -> FeatureDrift | None:
    """Compare the features of the last `days` of a panel with those of the training; see `table_drift`.

    Only every ORIGIN_STEP_HOURS-th origin is used, since neighbouring ones are similar.
    """
    table = build_table(panel)
    chosen = table.origin_hours % ORIGIN_STEP_HOURS == 0
    origins = np.tile(table.starts[chosen].astype("datetime64[D]"), len(table.coins))
    values = table.rows[:, chosen].reshape(len(origins), -1)
    some = np.isfinite(values).any(axis=1)
    return table_drift(
        FeatureTable(origins[some], values[some], TERMS), learnt_to=learnt_to, days=days, psi=psi, ks=ks
    )


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """Feature rows of all coins: the day of each, (N,), and its values, (N, F)."""

    origins: NDArray[np.datetime64]
    values: Floats
    names: tuple[str, ...]


def table_drift(
    table: FeatureTable, *, learnt_to: np.datetime64, days: int, psi: float, ks: float
) -> FeatureDrift | None:
    """Compare the rows of the last `days` with those up to `learnt_to`.

    The values of a slow feature in one month always differ from its values over years. Therefore each feature
    is also measured over every earlier span of equal length, and it counts as shifted only if it exceeds all
    of them.

    Args:
        table: The features.
        learnt_to: Last day of the training.
        days: Length of the recent span.
        psi: Bound of the population stability index.
        ks: Bound of the Kolmogorov-Smirnov distance.

    Returns:
        The drift, or None if a span is too short or no day follows `learnt_to`, since a retraining would then
            use the same days again.
    """
    origins, values = table.origins, table.values
    if not len(origins):
        return None
    learnt = origins <= learnt_to
    last = origins.max()
    recent = origins > last - np.timedelta64(days, "D")
    spans = _spans(origins[learnt], days)
    if last <= learnt_to or not recent.any() or len(spans) < 8:
        return None
    known = np.isfinite(values[learnt]).mean(axis=0) > 0.5
    names, values = np.array(table.names)[known], values[:, known]
    if not known.any():
        return None
    edges = np.nanquantile(values[learnt], np.linspace(0, 1, BINS + 1)[1:-1], axis=0)
    base = _counts(values[learnt], edges)
    now = moved(base, _counts(values[recent], edges))
    earlier = [moved(base, _counts(values[learnt][span], edges)) for span in spans]
    by_psi = _beyond(now.psi, [e.psi for e in earlier], psi)
    by_ks = _beyond(now.ks, [e.ks for e in earlier], ks)
    worst = np.argsort(-by_psi.excess)[:5]
    return FeatureDrift(
        psi_share=by_psi.share,
        psi_usual=by_psi.usual,
        ks_share=by_ks.share,
        ks_usual=by_ks.usual,
        worst=tuple(str(names[i]) for i in worst if by_psi.excess[i] > 0),
    )


@dataclass(frozen=True, slots=True)
class _Beyond:
    """Excess of each feature over its bound (F,), the share that exceeds it, and the usual share."""

    excess: Floats
    share: float
    usual: float


def _beyond(now: Floats, earlier: list[Floats], bound: float) -> _Beyond:
    """Return each feature's excess over its bound: `bound`, or the maximum of its earlier spans if larger."""
    spans = np.nan_to_num(np.stack(earlier), nan=-1.0)
    own = np.maximum(bound, spans.max(axis=0))
    # Score each earlier span against the other spans: it exceeds them if it is the largest.
    alone = (spans == spans.max(axis=0)) & (spans > bound)
    usual = float(np.quantile(alone.mean(axis=1), USUAL_QUANTILE))
    return _Beyond(np.nan_to_num(now - own, nan=-1.0), float(np.mean(now > own)), usual)


def _pooled(panel: Panel, reference: Panel, spec: FeatureSpec) -> tuple[NDArray[np.datetime64], Floats]:
    market = market_of(reference)
    whole = [candles.on_every_day() for candles in panel.values()]
    origins = np.concatenate([candles.dates for candles in whole])
    return origins, np.concatenate([batch(candles, market, spec) for candles in whole])


def _spans(origins: NDArray[np.datetime64], days: int) -> list[NDArray[np.bool_]]:
    """Divide the training days into spans of equal length; return a mask of each, oldest first."""
    first, last = origins.min(), origins.max()
    starts = np.arange(first, last - np.timedelta64(days - 1, "D"), np.timedelta64(days, "D"))
    return [(origins >= start) & (origins < start + np.timedelta64(days, "D")) for start in starts]


def _counts(values: Floats, edges: Floats) -> Floats:
    """Return the shares of the known values by bin, (F, BINS); NaN with too few values."""
    shares = np.empty((values.shape[1], BINS))
    for feature in range(values.shape[1]):
        known = values[np.isfinite(values[:, feature]), feature]
        if len(known) < MIN_VALUES:
            shares[feature] = np.nan
            continue
        places = np.searchsorted(edges[:, feature], known, side="right")
        shares[feature] = np.bincount(places, minlength=BINS) / len(known)
    return shares


def moved(base: Floats, now: Floats) -> FeatureShift:
    """Return the PSI (Siddiqi 2006) and the Kolmogorov-Smirnov distance over the bins."""
    expected, found = np.maximum(base, TOUCH), np.maximum(now, TOUCH)
    psi = ((found - expected) * np.log(found / expected)).sum(axis=1)
    ks = np.abs(np.cumsum(now, axis=1) - np.cumsum(base, axis=1)).max(axis=1)
    return FeatureShift(psi=psi, ks=ks)
