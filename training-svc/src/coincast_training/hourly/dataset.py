"""The hourly training table: design rows, outcomes and regimes of all coins on one grid of hours.

Every row uses only data up to the close of its hour. The profile of the week is estimated again every
RENEWAL_DAYS from the hours before, and the rows after the renewal use the new profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Floats
from coincast_modelkit.hourly.candles import HOUR, HOURS_A_DAY, HourlyPanel, Hours, as_hour
from coincast_modelkit.hourly.features import (
    DAY_SPAN,
    LEADER,
    MEMORY_HOURS,
    TERMS,
    CoinTerms,
    design,
    reference_spans,
)
from coincast_modelkit.hourly.model import ANCHORS
from coincast_modelkit.hourly.profile import (
    HOURS_A_WEEK,
    RENEWAL_DAYS,
    WeekProfile,
    panel_profiles,
    profile_cells,
)
from coincast_modelkit.hourly.regimes import hourly_regimes
from coincast_modelkit.hourly.targets import log_volatility_ahead, returns_ahead
from coincast_modelkit.hourly.volatility import hourly_returns, hourly_variance

# The first profile is estimated from this many weeks. The rows of these weeks use a profile that includes
# later hours, and are only used for training.
FIRST_PROFILE_WEEKS = 16


@dataclass(frozen=True, slots=True, eq=False)
class HourlyTable:
    """K coins on n hours, with A anchor horizons and T terms; NaN for hours without a candle.

    The origin of row i is the close of its hour, starts[i] + 1 h.

    Attributes:
        coins: The coins, (K,).
        starts: Start of each hour, (n,).
        rows: Terms of the regression, (K, n, T).
        log_profile: Half the log of the mean profile over the hours of each horizon, (K, n, A).
        regimes: Volatility regime of each origin, (K, n).
        returns: Log returns over each horizon, (K, n, A).
        targets: Deseasonalised log volatility over each horizon, (K, n, A); the regression is fitted on it.
        step_returns: Log return of each hour, (K, n).
        log_close: Log of the close of each hour, (K, n).
        panel_profile: Latest profile of the week of all coins together.
        profiles: Latest profile of the week of each coin.
    """

    coins: tuple[str, ...]
    starts: Hours
    rows: Floats
    log_profile: Floats
    regimes: NDArray[np.int64]
    returns: Floats
    targets: Floats
    step_returns: Floats
    log_close: Floats
    panel_profile: WeekProfile
    profiles: Mapping[str, WeekProfile]

    @property
    def closes_at(self) -> Hours:
        """Return the time of the close of each hour, (n,)."""
        return np.asarray(self.starts + HOUR)

    @property
    def origin_hours(self) -> NDArray[np.int64]:
        """Return the UTC hour of the close of each row, (n,)."""
        return np.asarray(self.closes_at.astype(np.int64) % HOURS_A_DAY)

    def position(self, moment: np.datetime64) -> int:
        """Return the first row whose hour closes at or after a moment."""
        return int(np.searchsorted(self.closes_at, as_hour(moment)))


def build_table(panel: HourlyPanel, *, closes_only: bool = False) -> HourlyTable:
    """Build the table of a panel.

    Args:
        panel: Hourly candles of each coin.
        closes_only: Compute the terms only from closes, as for a source without high and low. The outcomes
            still use the ranges, if there are any.

    Raises:
        ValueError: The panel has no hours.
    """
    coins = tuple(coin for coin in panel if len(panel[coin]))
    if not coins:
        raise ValueError("there are no hourly candles to train on")
    first = min(panel[c].first for c in coins)
    count = int((max(panel[c].closes_at for c in coins) - first).astype(np.int64))
    starts = first + np.arange(count).astype("timedelta64[h]")

    def on_grid(values: Mapping[str, Floats]) -> Floats:
        out = np.full((len(coins), count), np.nan)
        for i, coin in enumerate(coins):
            begin = int((panel[coin].first - first).astype(np.int64))
            out[i, begin : begin + len(values[coin])] = values[coin]
        return out

    outcome = on_grid({c: hourly_variance(panel[c]) for c in coins})
    returns = on_grid({c: hourly_returns(panel[c]) for c in coins})
    log_close = on_grid({c: panel[c].log_close for c in coins})
    read = on_grid({c: hourly_variance(panel[c], ranges=False) for c in coins}) if closes_only else outcome
    known = on_grid({c: panel[c].close for c in coins})
    rows = np.full((len(coins), count, len(TERMS)), np.nan)
    log_profile = np.full((len(coins), count, len(ANCHORS)), np.nan)
    renewals = _renewals(starts)
    for begin, stop in zip(renewals, [*renewals[1:], count], strict=True):
        # The first part uses a profile of its own weeks; its rows are only used for training.
        until = begin if begin else min(FIRST_PROFILE_WEEKS * HOURS_A_WEEK, count)
        profiles = _profiles(starts[:until], outcome[:, :until])[1]
        _fill_rows(
            slice(begin, stop),
            starts,
            read,
            log_close,
            profiles=profiles,
            leader=coins.index(LEADER) if LEADER in coins else None,
            out=(rows, log_profile),
        )
    targets, ahead = (np.full_like(log_profile, np.nan) for _ in range(2))
    for i in range(len(coins)):
        for j, h in enumerate(ANCHORS):
            targets[i, :, j] = log_volatility_ahead(outcome[i], h) - log_profile[i, :, j]
            ahead[i, :, j] = returns_ahead(log_close[i], known[i], h)
    newest, own = _profiles(starts, outcome)
    return HourlyTable(
        coins=coins,
        starts=starts,
        rows=rows,
        log_profile=log_profile,
        regimes=np.stack([hourly_regimes(r) for r in rows[:, :, DAY_SPAN]]),
        returns=ahead,
        targets=targets,
        step_returns=returns,
        log_close=log_close,
        panel_profile=newest,
        profiles=dict(zip(coins, own, strict=True)),
    )


def _renewals(starts: Hours) -> list[int]:
    """Return the rows at which the profile is renewed: 0, then every RENEWAL_DAYS since the epoch."""
    step = RENEWAL_DAYS * HOURS_A_DAY
    since = starts.astype(np.int64)
    first = FIRST_PROFILE_WEEKS * HOURS_A_WEEK
    return [0, *(int(i) for i in np.flatnonzero(since % step == 0) if i >= first)]


def _profiles(starts: Hours, variance: Floats) -> tuple[WeekProfile, list[WeekProfile]]:
    cells = {str(i): profile_cells(starts, v) for i, v in enumerate(variance)}
    panel_profile, own = panel_profiles(cells)
    return panel_profile, [own[str(i)] for i in range(len(variance))]


def _fill_rows(
    part: slice,
    starts: Hours,
    variance: Floats,
    log_close: Floats,
    *,
    profiles: Sequence[WeekProfile],
    leader: int | None,
    out: tuple[Floats, Floats],
) -> None:
    """Compute the terms and the log profiles of the hours `part`, with the profiles of the last renewal.

    They are written into the two arrays of `out`.
    """
    rows, log_profile = out
    seen = slice(max(0, part.start - MEMORY_HOURS), part.stop)
    new = slice(part.start - seen.start, part.stop - seen.start)
    own = [
        CoinTerms.of(v[seen] / profile.at(starts[seen]), c[seen])
        for v, c, profile in zip(variance, log_close, profiles, strict=True)
    ]
    names = {str(i): o.spans for i, o in enumerate(own)}
    if leader is not None:
        names[LEADER] = names.pop(str(leader))
    first, market = reference_spans(names)
    for i, terms in enumerate(own):
        rows[i, part] = design(terms, first, market)[new]
        for j, h in enumerate(ANCHORS):
            log_profile[i, part, j] = 0.5 * np.log(profiles[i].ahead(starts[part] + HOUR, h))
